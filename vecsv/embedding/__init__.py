"""The batch pipeline: a manifest in, a store of embeddings out."""
