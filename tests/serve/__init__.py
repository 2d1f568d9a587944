"""Tests of vecsv.serve."""
