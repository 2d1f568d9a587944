"""Tests of what a store promises whatever happens: kills, faults, two writers, bad input, erasure."""
