"""The embedding store on disk: what a store consists of, and how it changes without ever being half-changed."""
