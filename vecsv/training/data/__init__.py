"""The data of a training: which recordings, which crops of them, in which order."""
