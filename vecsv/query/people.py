"""Who is in a store: embedded speakers and enrolled ones, as one list."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vecsv.arrays import Vectors
from vecsv.errors import StoreError
from vecsv.store import enrolments
from vecsv.store.reader import Snapshot, read_consistently


@dataclass(frozen=True)
class Speaker:
    """One speaker of a store.

    Attributes
    ----------
    speaker : str
    utterances : int
        Embedded recordings.
    enrolments : int
        Recordings the speaker was enrolled with.
    speech_s : float
        Seconds of speech in both.
    """

    speaker: str
    utterances: int
    enrolments: int
    speech_s: float


def speakers(folder: Path) -> list[Speaker]:
    """Everybody in the store, by name."""

    def read(snapshot: Snapshot) -> list[Speaker]:
        utterances: Counter[str] = Counter()
        seconds: defaultdict[str, float] = defaultdict(float)
        for table in snapshot.iterate(["speaker", "speech_s"]):
            grouped = table.group_by("speaker").aggregate([("speech_s", "sum"), ("speech_s", "count")])
            for row in grouped.to_pylist():
                utterances[row["speaker"]] += row["speech_s_count"]
                seconds[row["speaker"]] += row["speech_s_sum"]
        enrolled = enrolments.read(folder, snapshot.generation.dim)
        counts = Counter(enrolled.speakers)
        for speaker, speech in zip(enrolled.speakers, enrolled.speech_s, strict=True):
            seconds[speaker] += speech
        return [Speaker(name, utterances[name], counts[name], seconds[name]) for name in sorted(utterances | counts)]

    return read_consistently(folder, read)


def vectors_of_speaker(folder: Path, speaker: str) -> Vectors:
    """All embeddings a store has of one speaker, embedded and enrolled; float32 ``(n, dim)``.

    Raises
    ------
    StoreError
        When it has none.
    """

    def read(snapshot: Snapshot) -> Vectors:
        enrolled = enrolments.read(folder, snapshot.generation.dim, speaker=speaker).vectors
        return np.concatenate([snapshot.vectors_of_speaker(speaker), enrolled])

    vectors = read_consistently(folder, read)
    if not len(vectors):
        raise StoreError(f"no speaker is called {speaker!r}", where=str(folder), hint="vecsv speakers lists them")
    return vectors
