"""Tests of vecsv.audio."""
