"""What searches of a store would score: every utterance asked of the others, with and without its own speaker.

An utterance of a speaker who is left out of the gallery is a *non-mated* probe, a stranger; with the speaker's other
utterances in the gallery it is a *mated* one. A speaker's score is that of their best utterance, as in a search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Flags, Scores, Vectors
from vecsv.calibration.overlaps import overlapping_cuts
from vecsv.calibration.utterances import Utterances
from vecsv.errors import CalibrationError

Codes = NDArray[np.int64]

#: Scores held at once: 64 MiB of float32.
_SCORES_PER_STEP = 1 << 24


@dataclass(frozen=True, eq=False)
class SearchScores:
    """Best scores of one search per probe, in galleries of several sizes.

    Attributes
    ----------
    gallery_sizes : tuple of int
        Speakers in the gallery, ascending.
    speakers : int64 ``(probes,)``
        Whose utterance each probe is, as a number from 0.
    stranger : float32 ``(probes, sizes)``
        Best score in a gallery of so many others: of a non-mated search.
    closest : int64 ``(probes, sizes)``
        The speaker who scored it.
    rival : float32 ``(probes, sizes)``
        Best score in a gallery of so many less one, the place the mate takes in a mated search; -inf for size 1.
    mate : float32 ``(probes,)``
        Best score of the speaker's other utterances; -inf where there are none, so that no mated search is possible.
    mate_of_session : bool ``(probes,)``
        Whether that utterance is known to be of the probe's own session, which flatters.
    """

    gallery_sizes: tuple[int, ...]
    speakers: Codes
    stranger: Scores
    closest: Codes
    rival: Scores
    mate: Scores
    mate_of_session: Flags

    @property
    def mated(self) -> Flags:
        """Probes with which a mated search is possible."""
        return np.isfinite(self.mate)


def search_scores(
    utterances: Utterances,
    gallery_sizes: Sequence[int],
    *,
    seed: int,
    probes_per_speaker: int,
    progress: Callable[[int, int], None] | None = None,
) -> SearchScores:
    """Search every utterance in galleries of other speakers, in O(probes * utterances) time and bounded memory.

    Each probe has a gallery of its own: speakers in a random order, of which the first N are the gallery of size N.
    An utterance never meets itself, nor a cut of its recording that overlaps it.

    Parameters
    ----------
    utterances : Utterances
    gallery_sizes : sequence of int
        Each at least 1 and less than the number of speakers.
    seed : int
        Of the galleries, and of the probes where a speaker has too many.
    probes_per_speaker : int
        Utterances of one speaker that are taken as probes at most, so that no speaker dominates.
    progress : callable, optional
        Called with probes searched and probes in all.

    Raises
    ------
    CalibrationError
        If there are too few speakers, or an embedding is not finite.
    """
    rng = np.random.default_rng(seed)
    gallery = _Gallery(utterances)
    sizes = tuple(sorted(set(gallery_sizes)))
    if not sizes or sizes[0] < 1 or sizes[-1] >= gallery.speakers:
        raise CalibrationError(
            f"{gallery.speakers} speakers give galleries of up to {gallery.speakers - 1} others, "
            f"not of {sizes[-1] if sizes else 0}",
            hint="ask for a smaller --gallery-size, or embed more speakers",
        )
    probes = _probes(gallery, rng, probes_per_speaker)
    result = SearchScores(
        gallery_sizes=sizes,
        speakers=gallery.codes[probes],
        stranger=np.empty((probes.size, len(sizes)), np.float32),
        closest=np.empty((probes.size, len(sizes)), np.int64),
        rival=np.empty((probes.size, len(sizes)), np.float32),
        mate=np.empty(probes.size, np.float32),
        mate_of_session=np.zeros(probes.size, np.bool_),
    )
    step = max(1, _SCORES_PER_STEP // gallery.codes.size)
    for start in range(0, probes.size, step):
        scores = gallery.scores(probes[start : start + step])
        best = np.maximum.reduceat(scores, gallery.first, axis=1)
        for row, probe in enumerate(probes[start : start + step].tolist()):
            _search_one(gallery, probe, scores[row], best[row], rng, result, start + row)
        if progress is not None:
            progress(min(start + step, probes.size), probes.size)
    return result


class _Gallery:
    """Utterances sorted by speaker, and the pairs of them that are no comparison of two voices."""

    def __init__(self, utterances: Utterances) -> None:
        broken = np.flatnonzero(~np.isfinite(utterances.vectors).all(axis=1))
        if broken.size:
            raise CalibrationError(
                f"{broken.size} embeddings are not finite",
                where=f"row {utterances.row_ids[broken[0]]}",
                hint="erase that speaker and embed the recordings again",
            )
        order = np.argsort(utterances.speakers, kind="stable")
        self.vectors: Vectors = utterances.vectors[order]
        self.sessions: Codes = utterances.sessions[order]
        _, self.first, self.codes = np.unique(utterances.speakers[order], return_index=True, return_inverse=True)
        self.end = np.append(self.first[1:], order.size)
        self.speakers = int(self.first.size)
        one, other = overlapping_cuts(utterances.recordings[order], utterances.start_s[order], utterances.end_s[order])
        itself = np.arange(order.size)
        barred = np.concatenate([itself, one, other]), np.concatenate([itself, other, one])
        by_probe = np.argsort(barred[0], kind="stable")
        self._barred = barred[1][by_probe]
        self._barred_until = np.append(0, np.cumsum(np.bincount(barred[0], minlength=order.size)))

    def scores(self, probes: Codes) -> Scores:
        """Scores of probes (positions) with all utterances, float32; -inf where the two must not be compared."""
        # No higher than a search reports them.
        scores: Scores = np.minimum(self.vectors[probes] @ self.vectors.T, np.float32(1))
        for row, probe in enumerate(probes.tolist()):
            scores[row, self._barred[self._barred_until[probe] : self._barred_until[probe + 1]]] = -np.inf
        return scores


def _probes(gallery: _Gallery, rng: np.random.Generator, per_speaker: int) -> Codes:
    """Positions of the utterances to search for, ascending."""
    chosen = []
    for first, end in zip(gallery.first.tolist(), gallery.end.tolist(), strict=True):
        few = end - first <= per_speaker
        chosen.append(np.arange(first, end) if few else first + rng.choice(end - first, per_speaker, replace=False))
    return np.sort(np.concatenate(chosen))


def _search_one(
    gallery: _Gallery, probe: int, scores: Scores, best: Scores, rng: np.random.Generator, into: SearchScores, row: int
) -> None:
    """Search one probe in galleries of all sizes; `scores` has all utterances, `best` all speakers."""
    own = int(gallery.codes[probe])
    others = rng.permutation(gallery.speakers - 1)
    others += others >= own
    shuffled = best[others]
    for column, size in enumerate(into.gallery_sizes):
        closest = int(shuffled[:size].argmax())
        into.stranger[row, column] = shuffled[closest]
        into.closest[row, column] = others[closest]
        into.rival[row, column] = shuffled[: size - 1].max(initial=-np.inf)
    mate = int(gallery.first[own] + scores[gallery.first[own] : gallery.end[own]].argmax())
    into.mate[row] = scores[mate]
    session = gallery.sessions[probe]
    into.mate_of_session[row] = np.isfinite(scores[mate]) and session >= 0 and session == gallery.sessions[mate]
