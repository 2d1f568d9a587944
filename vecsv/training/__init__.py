"""Training: labelled recordings in, a model bundle out. The only package that must have PyTorch."""
