"""1:N: who is this?

The index gives the closest utterances; what a user wants are the closest *speakers*. A speaker with many utterances
could fill the whole list, so as many neighbours are fetched as it takes to see `k` speakers for certain: the rows of
the ``k - 1`` largest speakers, and one. Enrolments lie beside the index and are scored by brute force.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from vecsv.arrays import RowIds, Scores, Vectors
from vecsv.index.build import OpenIndex
from vecsv.index.protocol import NOTHING
from vecsv.store.enrolments import EnrolledVectors

_SHOWN = {"speaker", "utt_id", "path", "segment", "offset_s", "duration_s"}
_Described = dict[str, Any]
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
    segment : int
        Which window of the utterance scored; 0 for a whole one.
    offset_s : float
        Seconds from the utterance's start to that window's.
    duration_s : float or None
        Its length in seconds; None where it is not known.
    """

    rank: int
    speaker: str
    score: float
    utt_id: str
    path: str
    row_id: int
    enrolled: bool
    passes: bool | None = None
    segment: int = 0
    offset_s: float = 0.0
    duration_s: float | None = None


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
    """Find the `top_k` closest speakers, or utterances, for each query; the best window stands for its utterance.

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
    groups = _Groups(candidates, level)
    found: list[list[tuple[float, int]]] = []
    for query_scores, query_ids in zip(scores, row_ids, strict=True):
        found.append(_best(query_scores, query_ids, groups.of(query_ids), top_k))
    return _describe(candidates, found)


def _neighbours(candidates: Candidates, queries: Vectors, top_k: int, level: Level) -> tuple[Scores, RowIds]:
    """Scores and row ids of enough neighbours of each query, from the index and the enrolments together."""
    own_scores = queries @ candidates.enrolled.vectors.T
    own_ids = np.broadcast_to(candidates.enrolled.row_ids, own_scores.shape)
    if candidates.index is None:
        return own_scores, own_ids
    index, rows = candidates.index.vectors, candidates.index.rows
    by_speaker = level is Level.SPEAKER
    sizes = rows.speaker_sizes() if by_speaker else rows.utterance_sizes()
    enough = min(1 + int(sizes[: top_k - 1].sum()), index.ntotal)
    fetch = min(enough, max(_FIRST_FETCH, top_k))
    while True:
        scores, row_ids = index.search(queries, fetch)
        codes = rows.speaker_codes(row_ids) if by_speaker else rows.utterance_codes(row_ids)
        if fetch >= enough or _fewest_seen(codes) >= top_k:
            break
        fetch = min(enough, fetch * 4)
    return np.concatenate([scores, own_scores], axis=1), np.concatenate([row_ids, own_ids], axis=1)


def _fewest_seen(codes: RowIds) -> int:
    """The fewest different speakers, or utterances, among any query's neighbours."""
    return min((len(set(row.tolist()) - {-1}) for row in codes), default=0)


class _Groups:
    """One number per speaker, or per utterance, across index and enrolments."""

    def __init__(self, candidates: Candidates, level: Level) -> None:
        self._rows = None if candidates.index is None else candidates.index.rows
        self._by_speaker = level is Level.SPEAKER
        enrolled = candidates.enrolled
        if not self._by_speaker:
            # Numbers below those of any utterance: each enrolment is one of its own.
            self._enrolled = {row_id: row_id for row_id in enrolled.row_ids.tolist()}
            return
        names = [] if self._rows is None else self._rows.speaker_names()
        codes = {name: code for code, name in enumerate(names)} if enrolled.speakers else {}
        self._enrolled = {
            int(row_id): codes.setdefault(speaker, len(codes))
            for row_id, speaker in zip(enrolled.row_ids, enrolled.speakers, strict=True)
        }

    def of(self, row_ids: RowIds) -> list[int]:
        return [
            code if row_id >= 0 else self._enrolled.get(row_id, -1)
            for code, row_id in zip(self._indexed(row_ids).tolist(), row_ids.tolist(), strict=True)
        ]

    def _indexed(self, row_ids: RowIds) -> RowIds:
        if self._rows is None:
            return np.full(row_ids.shape, -1, np.int64)
        return self._rows.speaker_codes(row_ids) if self._by_speaker else self._rows.utterance_codes(row_ids)


def _best(scores: Scores, row_ids: RowIds, groups: Sequence[int], top_k: int) -> list[tuple[float, int]]:
    """The best `top_k` rows, one per group."""
    chosen: list[tuple[float, int]] = []
    seen: set[int] = set()
    for position in np.lexsort((row_ids, -scores)):
        row_id = int(row_ids[position])
        group = groups[position]
        if row_id == NOTHING or group in seen:
            continue
        seen.add(group)
        chosen.append((float(scores[position]), row_id))
        if len(chosen) == top_k:
            break
    return chosen


def _describe(candidates: Candidates, found: list[list[tuple[float, int]]]) -> list[list[Hit]]:
    """Names for row ids, read in one go for all queries."""
    wanted = sorted({row_id for hits in found for _, row_id in hits})
    described: dict[int, _Described] = {}
    stored = np.array([row_id for row_id in wanted if row_id >= 0], dtype=np.int64)
    if candidates.index is not None:
        for row_id, row in zip(stored.tolist(), candidates.index.rows.describe(stored), strict=True):
            # An index from before there were windows has no places.
            described[row_id] = {"offset_s": 0.0, "duration_s": None} | {name: row[name] for name in _SHOWN & set(row)}
    enrolled = candidates.enrolled
    for position, row_id in enumerate(enrolled.row_ids.tolist()):
        described[row_id] = {
            "speaker": enrolled.speakers[position],
            "utt_id": enrolled.utt_ids[position],
            "path": enrolled.paths[position],
        }
    return [
        [
            Hit(rank=rank, score=min(score, 1.0), row_id=row_id, enrolled=row_id < 0, **described[row_id])
            for rank, (score, row_id) in enumerate(hits, start=1)
        ]
        for hits in found
    ]
