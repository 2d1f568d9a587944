"""Vector indexes: what a search runs on."""
