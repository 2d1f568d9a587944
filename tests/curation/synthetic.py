"""Unit vectors of made-up speakers."""

import numpy as np


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length one, float32."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def speakers_at_random(
    speakers: int, each: int, *, seed: int, noise: float = 0.6, dim: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """`each` recordings of each speaker: a random direction, and noise of `noise` times its length."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(speakers), each)
    means = unit(rng.normal(size=(speakers, dim)))
    return unit(means[labels] + noise / np.sqrt(dim) * rng.normal(size=(len(labels), dim))), labels
