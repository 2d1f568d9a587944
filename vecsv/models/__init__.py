"""Speaker models: bundles, where they come from, and one file per family."""
