"""Whether a model is the one it says it is, and fit for use: what `vecsv models check` shows."""
