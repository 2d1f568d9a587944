"""Likely label errors: an utterance of somebody else, two speakers who are one, one speaker who is two.

Each finding has a score on the scale of `vecsv.curation.levels`, moved so that 0 is where it becomes more likely
than not and 1 is as plain as a swapped label of two usual speakers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Flags, RowIds, Vectors
from vecsv.curation.levels import Levels, SpeakerMeans

# Recordings of one person from two sessions score 0.93 to 0.96 on the scale (LibriSpeech, two chapters of three
# readers), which is a score of 0.86 and more here; strangers reach 0.7 where the model hardly tells people apart.
_SAME_PERSON = 0.7
# And they must stand out among all pairs of speakers, in standard deviations: of a thousand pairs one does by chance.
_STANDS_OUT = 3.0
# Two clusters of one.
_LEAST_TO_SPLIT = 4
_MOST_STEPS = 50

_ROWS = 1024


@dataclass(frozen=True, eq=False)
class Misplaced:
    """Utterances that score higher against another speaker than against the rest of their own.

    Attributes
    ----------
    rows, nearest : ndarray of int64, shape (found,)
        The utterance, and the number of the speaker it is closest to.
    own, other : ndarray of float64, shape (found,)
        Mean score over the other recordings of its own speaker, and over those of the nearest.
    scores : ndarray of float64, shape (found,)
        ``(other - own) / (own level - strangers' level)``, above 0.
    """

    rows: RowIds
    nearest: RowIds
    own: NDArray[np.float64]
    other: NDArray[np.float64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Alike:
    """Pairs of speakers whose recordings score against each other as one speaker's do.

    Attributes
    ----------
    first, second : ndarray of int64, shape (found,)
        Numbers of speakers, ``first < second``.
    cross : ndarray of float64, shape (found,)
        Mean score over all pairs of a recording of one and a recording of the other.
    scores : ndarray of float64, shape (found,)
        1 where `cross` is as high as their own recordings score, and at least as is usual; 0 half-way to strangers.
    """

    first: RowIds
    second: RowIds
    cross: NDArray[np.float64]
    scores: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Split:
    """One speaker's recordings in two clusters that score against each other like two people.

    Attributes
    ----------
    speaker : int
    rows, other_rows : ndarray of int64
        The smaller cluster and the larger, each with its most typical recording first.
    within, between : float
        Mean score of pairs inside the clusters and across them.
    score : float
        1 where `between` is at the strangers' level, 0 half-way to it.
    """

    speaker: int
    rows: RowIds
    other_rows: RowIds
    within: float
    between: float
    score: float


def misplaced(vectors: Vectors, speakers: RowIds, known: SpeakerMeans, scale: Levels) -> Misplaced:
    """Find utterances whose nearest speaker is another one than their label, by speaker means leaving them out.

    Speakers with one recording have nothing to be held against and are not judged.

    Examples
    --------
    >>> from vecsv.curation.levels import levels, speaker_means
    >>> vectors = np.float32([[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]])
    >>> labels = np.array([0, 0, 0, 1, 1])
    >>> known = speaker_means(vectors, labels)
    >>> found = misplaced(vectors, labels, known, levels(known))
    >>> found.rows.tolist(), found.nearest.tolist()
    ([2], [1])
    """
    pieces: list[tuple[NDArray[np.int64], ...]] = []
    figures: list[tuple[NDArray[np.float64], ...]] = []
    several = np.flatnonzero(known.sizes[speakers] > 1)
    for start in range(0, several.size if scale.apart else 0, _ROWS):
        rows = several[start : start + _ROWS]
        labels, sizes = speakers[rows], known.sizes[speakers[rows]]
        scores = (vectors[rows] @ known.means.T).astype(np.float64)
        place = np.arange(rows.size)
        own = (scores[place, labels] * sizes - 1.0) / (sizes - 1)
        scores[place, labels] = -np.inf
        nearest = scores.argmax(axis=1)
        other = scores[place, nearest]
        found = other > own
        pieces.append((rows[found], nearest[found]))
        figures.append((own[found], other[found]))
    if not pieces:
        none, nothing = np.empty(0, np.int64), np.empty(0)
        return Misplaced(none, none, nothing, nothing, nothing)
    rows, nearest = (np.concatenate(column) for column in zip(*pieces, strict=True))
    own, other = (np.concatenate(column) for column in zip(*figures, strict=True))
    return Misplaced(rows, nearest, own, other, (other - own) / scale.apart)


def alike(known: SpeakerMeans, scale: Levels, *, limit: int) -> Alike:
    """Find pairs of speakers who are likely one person; the `limit` highest where there are more.

    Examples
    --------
    >>> from vecsv.curation.levels import levels, speaker_means
    >>> vectors = np.float32(np.repeat(np.eye(4)[[0, 1, 2, 3, 0]], 2, axis=0))
    >>> known = speaker_means(vectors, np.repeat(np.arange(5), 2))
    >>> found = alike(known, levels(known), limit=10)
    >>> found.first.tolist(), found.second.tolist(), found.scores.tolist()
    ([0], [4], [1.0])
    """
    first, second = np.empty(0, np.int64), np.empty(0, np.int64)
    cross, scores = np.empty(0), np.empty(0)
    if not scale.apart or scale.own is None or scale.strangers is None:
        return Alike(first, second, cross, scores)
    cohesion = np.where(np.isnan(known.cohesion), scale.own, known.cohesion)
    stands_out = scale.strangers + _STANDS_OUT * scale.spread
    count = len(cohesion)
    for top in range(0, count, _ROWS):
        rows = np.arange(top, min(top + _ROWS, count))
        # From the block's own columns on; what lies below the diagonal is another block's.
        block = (known.means[rows] @ known.means[top:].T).astype(np.float64)
        # Two speakers who hardly resemble themselves are not one for resembling each other as little.
        usual = np.maximum((cohesion[rows][:, None] + cohesion[top:]) / 2, scale.own)
        evidence = np.minimum(2 * (block - scale.strangers) / (usual - scale.strangers) - 1, 1.0)
        listed = (evidence >= _SAME_PERSON) & (block > stands_out) & (np.arange(top, count) > rows[:, None])
        i, j = np.nonzero(listed)
        first, second = np.append(first, rows[i]), np.append(second, j + top)
        cross, scores = np.append(cross, block[i, j]), np.append(scores, evidence[i, j])
        if first.size > limit:
            kept = np.sort(np.argsort(-scores, kind="stable")[:limit])
            first, second, cross, scores = first[kept], second[kept], cross[kept], scores[kept]
    return Alike(first, second, cross, scores)


def splits(vectors: Vectors, speakers: RowIds, known: SpeakerMeans, scale: Levels) -> list[Split]:
    """Find speakers whose recordings fall into two clusters of two and more that score like two people.

    Examples
    --------
    >>> from vecsv.curation.levels import levels, speaker_means
    >>> vectors = np.float32(np.repeat(np.eye(4), 3, axis=0))
    >>> labels = np.array([0] * 6 + [1] * 3 + [2] * 3)
    >>> known = speaker_means(vectors, labels)
    >>> (found,) = splits(vectors, labels, known, levels(known))
    >>> found.speaker, sorted([sorted(found.rows.tolist()), sorted(found.other_rows.tolist())])
    (0, [[0, 1, 2], [3, 4, 5]])
    """
    if not scale.apart or scale.strangers is None:
        return []
    found = []
    order = np.argsort(speakers, kind="stable")
    ends = np.cumsum(known.sizes)
    for speaker in np.flatnonzero(known.sizes >= _LEAST_TO_SPLIT):
        rows = order[ends[speaker] - known.sizes[speaker] : ends[speaker]]
        # In an order of their own, so that sums, and with them every close call, do not depend on that of the store.
        rows = rows[np.lexsort(vectors[rows].T)]
        candidates = (_judge(int(speaker), rows, vectors[rows], cut, scale) for cut in _two_means(vectors[rows]))
        best = max((one for one in candidates if one is not None), key=lambda one: one.score, default=None)
        if best is not None and best.score > 0:
            found.append(best)
    return found


def _two_means(vectors: Vectors) -> list[Flags]:
    """Lloyd's algorithm from two deterministic starts: along the principal axis, and the recording least typical."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    odd = centred[np.argmax(np.einsum("ij,ij->i", centred, centred))]
    starts = centred @ axis > 0, centred @ odd > float(odd @ odd) / 2
    return [cut for cut in (_lloyd(centred, start) for start in starts) if min(cut.sum(), (~cut).sum()) >= 2]


def _lloyd(points: NDArray[np.float64], cut: Flags) -> Flags:
    for _ in range(_MOST_STEPS):
        if cut.all() or not cut.any():
            break
        one, other = points[cut].mean(axis=0), points[~cut].mean(axis=0)
        # Closer to `one`: on its side of the plane half-way between the two.
        moved = points @ (one - other) > float((one - other) @ (one + other)) / 2
        if (moved == cut).all():
            break
        cut = moved
    return cut


def _judge(speaker: int, rows: RowIds, vectors: Vectors, cut: Flags, scale: Levels) -> Split | None:
    smaller, larger = (cut, ~cut) if cut.sum() <= (~cut).sum() else (~cut, cut)
    sums = [vectors[part].sum(axis=0, dtype=np.float64) for part in (smaller, larger)]
    sizes = [int(part.sum()) for part in (smaller, larger)]
    pairs = [size * (size - 1) for size in sizes]
    squares = [float(total @ total) - size for total, size in zip(sums, sizes, strict=True)]
    within = sum(squares) / sum(pairs)
    between = float(sums[0] @ sums[1]) / (sizes[0] * sizes[1])
    if scale.strangers is None:
        return None
    # Clusters that hardly hold together themselves are no two people.
    room = max(within - scale.strangers, scale.apart / 2)
    keys = [-(vectors[part] @ total) for part, total in zip((smaller, larger), sums, strict=True)]
    typical = [rows[part][np.argsort(key, kind="stable")] for part, key in zip((smaller, larger), keys, strict=True)]
    return Split(speaker, typical[0], typical[1], within, between, 2 * (within - between) / room - 1)
