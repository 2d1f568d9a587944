"""Recordings that are in a set of embeddings twice: copies, and the same sound encoded again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import RowIds, Scores, Vectors

# Another encoding pads, or cuts, up to about two MP3 frames at either end.
_PADDING_S = 0.25
_STRETCH = 0.02

# What is usual between two recordings of one speaker is the measure of distances (1 - score). Of 40 recordings and
# their MP3 and Vorbis encodings nine in ten are within a fiftieth of it; of 1,600 pairs of different recordings of
# one speaker none is within a tenth.
_SHARE_OF_OWN_DISTANCE = 1 / 20
_USUAL_BOUND = 0.995

_ROWS = 1024
_COLUMNS = 8192


@dataclass(frozen=True, eq=False)
class Twins:
    """Pairs of recordings that are nearly the same; every recording with a twin is in one.

    Attributes
    ----------
    first, second : ndarray of int64, shape (pairs,)
        Rows; each is the `second` of one pair at most. Of its several twins `first` is the closest, one of another
        speaker before one of the same; a shorter one where it has one.
    scores : ndarray of float32, shape (pairs,)
    """

    first: RowIds
    second: RowIds
    scores: Scores


@dataclass(frozen=True, eq=False)
class Places:
    """Where rows lie in utterances that are stored as several windows.

    Attributes
    ----------
    utterances : ndarray of int64, shape (n,)
        Numbers that are equal where the utterance is.
    start_s, end_s : ndarray of float64, shape (n,)
        The window.
    """

    utterances: RowIds
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]

    def share(self, one: RowIds, other: RowIds) -> NDArray[np.bool_]:
        """Whether two windows share some of their time; of two arrays that are broadcast together."""
        meanwhile = (self.start_s[one] < self.end_s[other]) & (self.start_s[other] < self.end_s[one])
        shared: NDArray[np.bool_] = meanwhile & (self.utterances[one] == self.utterances[other])
        return shared


def twin_bound(own: float | None) -> float:
    """Score from which on two recordings are twins, given the level of a speaker's recordings among each other.

    Examples
    --------
    >>> round(twin_bound(0.86), 4), twin_bound(None)
    (0.993, 0.995)
    """
    return _USUAL_BOUND if own is None else max(0.98, 1.0 - (1.0 - own) * _SHARE_OF_OWN_DISTANCE)


def twins(
    vectors: Vectors,
    speakers: RowIds,
    duration_s: NDArray[np.float64],
    bound: float,
    *,
    places: Places | None = None,
) -> Twins:
    """Find pairs that score at least `bound` and are about equally long, exactly, in bounded memory.

    Only recordings of about the same duration are compared: sorted by it, each block meets those up to 2% and a
    quarter of a second longer. Equal durations throughout are the worst case, all pairs: 50,000 rows of 256 take
    about half a minute on two cores.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dim)
        Unit rows.
    speakers : ndarray of int64, shape (n,)
    duration_s : ndarray of float64, shape (n,)
    bound : float
    places : Places, optional
        Where rows are windows: two that share some of an utterance's time are no twins.

    Examples
    --------
    >>> vectors = np.float32([[1, 0], [0, 1], [1, 0]])
    >>> found = twins(vectors, np.array([0, 0, 1]), np.array([3.0, 3.0, 3.1]), 0.99)
    >>> found.first.tolist(), found.second.tolist(), found.scores.tolist()
    ([0], [2], [1.0])
    """
    order = np.argsort(duration_s, kind="stable")
    sound, names, lengths = vectors[order], speakers[order], duration_s[order]
    reach = np.searchsorted(lengths, lengths * (1 + _STRETCH) + _PADDING_S, side="right")
    count = len(order)
    shorter, longer = _Closest(count), _Closest(count)
    for top in range(0, count, _ROWS):
        rows = np.arange(top, min(top + _ROWS, count))
        for left in range(top, int(reach[rows[-1]]), _COLUMNS):
            columns = np.arange(left, min(left + _COLUMNS, int(reach[rows[-1]])))
            scores = sound[rows] @ sound[columns].T
            # The block's tail may belong to nobody but its last row.
            scores[(columns <= rows[:, None]) | (columns >= reach[rows][:, None])] = -np.inf
            close = np.flatnonzero((scores >= bound).any(axis=0))
            if not close.size:
                continue
            scores, near = scores[:, close], columns[close]
            if places is not None:
                scores[places.share(order[rows][:, None], order[near])] = -np.inf
            others = names[rows][:, None] != names[near]
            shorter.meet(near, rows, scores.T, others.T)
            longer.meet(rows, near, scores, others)
    second, first, highest = shorter.chosen(bound)
    # Whose only twins are longer ones that are paired with somebody closer is in no pair yet.
    alone, twin, score = longer.chosen(bound)
    unpaired = ~np.isin(alone, np.append(first, second))
    return Twins(
        order[np.append(first, twin[unpaired])],
        order[np.append(second, alone[unpaired])],
        np.append(highest, score[unpaired]),
    )


class _Closest:
    """The closest recording met so far: of another speaker, and of the same."""

    def __init__(self, count: int) -> None:
        self._score = np.full((2, count), -np.inf, np.float32)
        self._row = np.zeros((2, count), np.int64)

    def meet(self, rows: RowIds, others: RowIds, scores: Scores, of_another: NDArray[np.bool_]) -> None:
        """Show each of `rows` the `others`, with their scores and speakers, ``(rows, others)``."""
        place = np.arange(rows.size)
        for side, wanted in enumerate((of_another, ~of_another)):
            candidates = np.where(wanted, scores, np.float32(-np.inf))
            closest = candidates.argmax(axis=1)
            highest = candidates[place, closest]
            better = highest > self._score[side, rows]
            self._score[side, rows[better]] = highest[better]
            self._row[side, rows[better]] = others[closest[better]]

    def chosen(self, bound: float) -> tuple[RowIds, RowIds, Scores]:
        """Rows that met one at or above `bound`, that one, and its score; another speaker's before the same one's."""
        kind = np.where(self._score[0] >= bound, 0, 1)
        rows = np.flatnonzero(self._score[kind, np.arange(kind.size)] >= bound)
        return rows, self._row[kind[rows], rows], self._score[kind[rows], rows]
