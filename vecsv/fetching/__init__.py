"""Fetching files that are known by their SHA-256: from the hub, and wheels from the package index."""
