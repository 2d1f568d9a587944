"""Front ends: what a model's network sees of a waveform, described by a spec of `vecsv.frontend.spec`."""
