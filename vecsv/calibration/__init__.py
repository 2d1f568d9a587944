"""Thresholds from the user's own pairs: which to score, what the scores say, where to cut."""
