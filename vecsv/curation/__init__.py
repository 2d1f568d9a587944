"""Data care: likely label errors and near-duplicate recordings, out of the embeddings a store holds already."""
