"""1:N: who is this?

The index gives the closest utterances; what a user wants are the closest *speakers*. A speaker with many utterances
could fill the whole list, so as many neighbours are fetched as it takes to see `k` speakers for certain: the rows of
the ``k - 1`` largest speakers, and one. Enrolments lie beside the index and are scored by brute force.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from vecsv.arrays import RowIds, Scores, Vectors
from vecsv.index.build import OpenIndex
from vecsv.index.protocol import NOTHING
from vecsv.store.enrolments import EnrolledVectors

#: Neighbours fetched at first; enough for most stores, so that one call of the index serves a whole batch.
_FIRST_FETCH = 1024


class Level(StrEnum):
    """What a hit stands for."""

    SPEAKER = "speaker"
    UTTERANCE = "utterance"


@dataclass(frozen=True)
class Hit:
    """One answer to "who is this?".

    Attributes
    ----------
    rank : int
        From 1.
    speaker : str
    score : float
        Cosine with the best utterance.
    utt_id, path : str
        That utterance, and its recording.
    row_id : int
        Its row in the store; negative for an enrolment.
    enrolled : bool
        Whether it is an enrolment.
    passes : bool or None
        Whether the score is at or above the search threshold; None where none is calibrated.
    """

    rank: int
    speaker: str
    score: float
    utt_id: str
    path: str
    row_id: int
    enrolled: bool
    passes: bool | None = None


@dataclass(frozen=True)
class Candidates:
    """What a search looks through.

    Attributes
    ----------
    index : OpenIndex or None
        None when nothing but enrolments is there.
    enrolled : EnrolledVectors
    """

    index: OpenIndex | None
    enrolled: EnrolledVectors

    @property
    def speakers(self) -> int:
        """How many different people there are in it."""
        indexed = [] if self.index is None else self.index.rows.speaker_names()
        enrolled = set(self.enrolled.speakers)
        return len(indexed) + (len(enrolled.difference(indexed)) if enrolled else 0)


def search(candidates: Candidates, queries: Vectors, top_k: int, level: Level = Level.SPEAKER) -> list[list[Hit]]:
    """Find the `top_k` closest speakers, or utterances, for each query.

    Parameters
    ----------
    candidates : Candidates
    queries : float32 ``(n, dim)``
        Unit rows.
    top_k : int
        At least 1.
    level : Level

    Returns
    -------
    list of list of Hit
        Best first; of equal scores the smaller row id first. Fewer than `top_k` where there are no more.
    """
    scores, row_ids = _neighbours(candidates, queries, top_k, level)
    speakers = _SpeakerCodes(candidates)
    found: list[list[tuple[float, int]]] = []
    for query_scores, query_ids in zip(scores, row_ids, strict=True):
        found.append(_best(query_scores, query_ids, speakers.of(query_ids), top_k, level))
    return _describe(candidates, found)


def _neighbours(candidates: Candidates, queries: Vectors, top_k: int, level: Level) -> tuple[Scores, RowIds]:
    """Scores and row ids of enough neighbours of each query, from the index and the enrolments together."""
    own_scores = queries @ candidates.enrolled.vectors.T
    own_ids = np.broadcast_to(candidates.enrolled.row_ids, own_scores.shape)
    if candidates.index is None:
        return own_scores, own_ids
    index, rows = candidates.index.vectors, candidates.index.rows
    enough = top_k if level is Level.UTTERANCE else 1 + int(rows.speaker_sizes()[: top_k - 1].sum())
    enough = min(enough, index.ntotal)
    fetch = min(enough, max(_FIRST_FETCH, top_k))
    while True:
        scores, row_ids = index.search(queries, fetch)
        if fetch >= enough or _speakers_seen(rows.speaker_codes(row_ids)) >= top_k:
            break
        fetch = min(enough, fetch * 4)
    return np.concatenate([scores, own_scores], axis=1), np.concatenate([row_ids, own_ids], axis=1)


def _speakers_seen(codes: RowIds) -> int:
    """The fewest different speakers among any query's neighbours."""
    return min((len(set(row.tolist()) - {-1}) for row in codes), default=0)


class _SpeakerCodes:
    """One number per speaker across index and enrolments."""

    def __init__(self, candidates: Candidates) -> None:
        self._rows = None if candidates.index is None else candidates.index.rows
        names = [] if self._rows is None else self._rows.speaker_names()
        codes = {name: code for code, name in enumerate(names)} if candidates.enrolled.speakers else {}
        self._enrolled = {
            int(row_id): codes.setdefault(speaker, len(codes))
            for row_id, speaker in zip(candidates.enrolled.row_ids, candidates.enrolled.speakers, strict=True)
        }

    def of(self, row_ids: RowIds) -> list[int]:
        known = np.full(row_ids.shape, -1, np.int64) if self._rows is None else self._rows.speaker_codes(row_ids)
        return [
            code if row_id >= 0 else self._enrolled.get(row_id, -1)
            for code, row_id in zip(known.tolist(), row_ids.tolist(), strict=True)
        ]


def _best(
    scores: Scores, row_ids: RowIds, speakers: Sequence[int], top_k: int, level: Level
) -> list[tuple[float, int]]:
    """The best `top_k` rows, one per speaker unless utterances are asked for."""
    chosen: list[tuple[float, int]] = []
    seen: set[int] = set()
    for position in np.lexsort((row_ids, -scores)):
        row_id = int(row_ids[position])
        speaker = speakers[position]
        if row_id == NOTHING or (level is Level.SPEAKER and speaker in seen):
            continue
        seen.add(speaker)
        chosen.append((float(scores[position]), row_id))
        if len(chosen) == top_k:
            break
    return chosen


def _describe(candidates: Candidates, found: list[list[tuple[float, int]]]) -> list[list[Hit]]:
    """Names for row ids, read in one go for all queries."""
    wanted = sorted({row_id for hits in found for _, row_id in hits})
    described: dict[int, tuple[str, str, str]] = {}
    stored = np.array([row_id for row_id in wanted if row_id >= 0], dtype=np.int64)
    if candidates.index is not None:
        for row_id, row in zip(stored.tolist(), candidates.index.rows.describe(stored), strict=True):
            described[row_id] = (str(row["speaker"]), str(row["utt_id"]), str(row["path"]))
    enrolled = candidates.enrolled
    for position, row_id in enumerate(enrolled.row_ids.tolist()):
        described[row_id] = (enrolled.speakers[position], enrolled.utt_ids[position], enrolled.paths[position])
    return [
        [
            Hit(rank, speaker, min(score, 1.0), utt_id, path, row_id, enrolled=row_id < 0)
            for rank, (score, row_id) in enumerate(hits, start=1)
            for speaker, utt_id, path in [described[row_id]]
        ]
        for hits in found
    ]
