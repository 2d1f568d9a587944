"""Who is in a store: embedded speakers and enrolled ones, as one list."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vecsv.arrays import Vectors
from vecsv.errors import UnknownSpeakerError
from vecsv.store import enrolments
from vecsv.store.enrolments import EnrolledVectors
from vecsv.store.reader import Snapshot, read_consistently


@dataclass(frozen=True)
class Speaker:
    """One speaker of a store.

    Attributes
    ----------
    speaker : str
    utterances : int
        Embedded recordings, however many windows they are stored as.
    enrolments : int
        Recordings the speaker was enrolled with.
    speech_s : float
        Seconds of speech in both; in windows that overlap, some of it counts more than once.
    """

    speaker: str
    utterances: int
    enrolments: int
    speech_s: float


def speakers(folder: Path) -> list[Speaker]:
    """Everybody in the store, by name."""
    return read_consistently(
        folder,
        lambda snapshot: with_enrolled(embedded_speakers(snapshot), enrolments.read(folder, snapshot.generation.dim)),
    )


def embedded_speakers(snapshot: Snapshot) -> dict[str, Speaker]:
    """The speakers of a store's shards, by name; those that were enrolled are not in them."""
    utterances: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    # An utterance's windows are all in one shard.
    windows = snapshot.generation.has_window_rows
    name, how = ("utt_id", "count_distinct") if windows else ("speech_s", "count")
    for table in snapshot.iterate(["speaker", "speech_s", *({name} - {"speech_s"})]):
        grouped = table.group_by("speaker").aggregate([("speech_s", "sum"), (name, how)])
        for row in grouped.to_pylist():
            utterances[row["speaker"]] += row[f"{name}_{how}"]
            seconds[row["speaker"]] += row["speech_s_sum"]
    return {name: Speaker(name, utterances[name], 0, seconds[name]) for name in utterances}


def with_enrolled(embedded: Mapping[str, Speaker], enrolled: EnrolledVectors) -> list[Speaker]:
    """Embedded and enrolled speakers as one list, by name."""
    counts = Counter(enrolled.speakers)
    seconds: defaultdict[str, float] = defaultdict(float)
    for speaker, speech in zip(enrolled.speakers, enrolled.speech_s, strict=True):
        seconds[speaker] += speech
    nobody = Speaker("", 0, 0, 0.0)
    return [
        Speaker(name, known.utterances, counts[name], known.speech_s + seconds[name])
        for name in sorted(embedded.keys() | counts.keys())
        for known in (embedded.get(name, nobody),)
    ]


def vectors_of_speaker(folder: Path, speaker: str) -> Vectors:
    """All embeddings a store has of one speaker, embedded and enrolled; float32 ``(n, dim)``.

    Raises
    ------
    UnknownSpeakerError
        When it has none.
    """

    def read(snapshot: Snapshot) -> Vectors:
        enrolled = enrolments.read(folder, snapshot.generation.dim, speaker=speaker).vectors
        return np.concatenate([snapshot.vectors_of_speaker(speaker), enrolled])

    vectors = read_consistently(folder, read)
    if not len(vectors):
        raise UnknownSpeakerError(
            f"no speaker is called {speaker!r}", where=str(folder), hint="vecsv speakers lists them"
        )
    return vectors
