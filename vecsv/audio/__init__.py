"""Recordings: decoding, resampling, voice activity and quality."""
