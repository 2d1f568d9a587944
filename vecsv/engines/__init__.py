"""Engines: what runs a network. Each in its own file, all behind `vecsv.engines.protocol.Network`."""
