"""The page in a real browser, asking the real service."""
