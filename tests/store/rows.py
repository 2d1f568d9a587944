"""Rows and generations for tests of the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vecsv.store.generation import Generation, commit
from vecsv.store.parts import write_embeddings, write_failures
from vecsv.store.schema import EmbeddedRow, FailedRow

DIM = 8
FINGERPRINT = "ab" * 32


def unit_vectors(count: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embedded(number: int, speaker: str = "ann", **changes: object) -> EmbeddedRow:
    values: dict[str, object] = {
        "utt_id": f"utt-{number}",
        "segment": 0,
        "speaker": speaker,
        "session": None,
        "path": f"/audio/{speaker}/{number}.wav",
        "channel": None,
        "start_s": None,
        "end_s": None,
        "offset_s": 0.0,
        "duration_s": 3.0,
        "speech_s": 2.5,
        "snr_db": 12.5,
        "clipped": 0.0,
        "audio_sha256": f"{number:064x}",
        "extra": (("device", "phone"),),
        "embedding": unit_vectors(1, seed=number)[0],
    }
    return EmbeddedRow(**(values | changes))  # type: ignore[arg-type]


def failed(number: int, speaker: str | None = "ann", **changes: object) -> FailedRow:
    values: dict[str, object] = {
        "key": number.to_bytes(16, "big"),
        "manifest": "/lists/train.tsv",
        "line": number,
        "utt_id": None if speaker is None else f"bad-{number}",
        "speaker": speaker,
        "path": None if speaker is None else f"/audio/bad-{number}.wav",
        "code": "missing",
        "reason": "no such file",
    }
    return FailedRow(**(values | changes))  # type: ignore[arg-type]


def make_store(folder: Path, *shards: list[EmbeddedRow], failures: list[FailedRow] | None = None) -> Generation:
    """A committed store with one shard for each list of rows."""
    generation = Generation(1, model="test", fingerprint=FINGERPRINT, dim=DIM)
    parts, next_row_id = [], 0
    for number, rows in enumerate(shards):
        parts.append(write_embeddings(folder, generation, rows, first_row_id=next_row_id, part=number))
        next_row_id += len(rows)
    ledgers = (write_failures(folder, failures, part=len(shards)),) if failures else ()
    generation = Generation(
        1,
        model="test",
        fingerprint=FINGERPRINT,
        dim=DIM,
        next_row_id=next_row_id,
        next_part=len(shards) + 1,
        shards=tuple(parts),
        failures=ledgers,
    )
    commit(folder, generation)
    return generation
