"""Made-up speakers as vectors, and searches for them by the book: one comparison after the other."""

from __future__ import annotations

import numpy as np

from vecsv.arrays import Vectors
from vecsv.calibration.utterances import Utterances


def people(speakers: int, utterances: int, seed: int = 0, *, spread: float = 0.6, dim: int = 16) -> Utterances:
    """Utterances of speakers around a direction of their own each, shuffled."""
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((speakers, dim)) / np.sqrt(dim)
    codes = rng.permutation(np.repeat(np.arange(speakers), utterances))
    noise = spread * rng.standard_normal((codes.size, dim)) / np.sqrt(dim)
    return utterances_of(means[codes] + noise, codes)


def utterances_of(vectors: np.ndarray, speakers: np.ndarray, **changes: np.ndarray) -> Utterances:
    """Whole recordings of their own each, of unknown sessions, unless `changes` says otherwise."""
    count = len(speakers)
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    values = {
        "row_ids": np.arange(count),
        "vectors": unit,
        "speakers": np.asarray(speakers, np.int64),
        "sessions": np.full(count, -1),
        "recordings": np.arange(count),
        "start_s": np.zeros(count),
        "end_s": np.full(count, np.inf),
    }
    return Utterances(**(values | changes))


def best_scores(utterances: Utterances, probe: int) -> dict[int, float]:
    """Each speaker's best score with a probe, which meets neither itself nor an overlapping cut of its recording."""
    best: dict[int, float] = {}
    for other in range(len(utterances.speakers)):
        same_recording = utterances.recordings[other] == utterances.recordings[probe]
        starts, ends = utterances.start_s[[probe, other]], utterances.end_s[[probe, other]]
        if other == probe or (same_recording and starts.max() < ends.min()):
            continue
        score = float(utterances.vectors[probe] @ utterances.vectors[other])
        speaker = int(utterances.speakers[other])
        best[speaker] = max(best.get(speaker, -2.0), score)
    return best
