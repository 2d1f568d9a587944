"""What recordings score against their own speaker and against strangers, in one set of embeddings.

Label errors are judged on a scale of the store's own: 0 is where two strangers score, 1 where a speaker scores
against themselves. So the same audit serves any model and any kind of recording.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import RowIds, Vectors

# The level of strangers is a median over pairs of speakers; two million of them place it to three digits.
_MOST_SPEAKERS = 2048
# Makes the median absolute deviation of a normal distribution its standard deviation.
_MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, eq=False)
class SpeakerMeans:
    """The speakers of a set of embeddings.

    Attributes
    ----------
    means : ndarray of float32, shape (speakers, dim)
        Mean of each speaker's unit vectors, *not* normalised: the inner product with it is the mean score over the
        speaker's recordings, however many there are.
    sizes : ndarray of int64, shape (speakers,)
        Recordings of each.
    cohesion : ndarray of float64, shape (speakers,)
        Mean score of a speaker's pairs of recordings; NaN for a single one.
    """

    means: Vectors
    sizes: RowIds
    cohesion: NDArray[np.float64]


@dataclass(frozen=True)
class Levels:
    """The two ends of the scale, each a mean of pair scores.

    Attributes
    ----------
    own : float or None
        What a speaker's recordings score against each other: the median over speakers. None when nobody has two.
    strangers : float or None
        What two speakers' recordings score against each other: the median over pairs of speakers. None when there
        is one speaker.
    spread : float
        Standard deviation of the latter, from the median absolute deviation.
    """

    own: float | None
    strangers: float | None
    spread: float

    @property
    def apart(self) -> float:
        """Distance of the two ends; 0 where there is no scale, or where speakers do not score above strangers."""
        if self.own is None or self.strangers is None:
            return 0.0
        return max(0.0, self.own - self.strangers)


def speaker_means(vectors: Vectors, speakers: RowIds) -> SpeakerMeans:
    """Means and cohesion of speakers numbered from 0.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dim)
        Unit rows.
    speakers : ndarray of int64, shape (n,)
        Every number from 0 to the highest occurs.

    Examples
    --------
    >>> vectors = np.float32([[1, 0], [0.6, 0.8], [0, 1]])
    >>> speaker_means(vectors, np.array([0, 0, 1])).cohesion.round(3).tolist()
    [0.6, nan]
    """
    sizes = np.bincount(speakers).astype(np.int64)
    order = np.argsort(speakers, kind="stable")
    starts = np.append(0, np.cumsum(sizes)[:-1])
    sums = np.add.reduceat(vectors[order], starts, axis=0, dtype=np.float64)
    pairs = sizes * (sizes - 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        # The sum over all ordered pairs is |sum|^2 less each vector with itself.
        cohesion = np.where(pairs > 0, (np.einsum("ij,ij->i", sums, sums) - sizes) / pairs, np.nan)
    return SpeakerMeans((sums / sizes[:, None]).astype(np.float32), sizes, cohesion)


def levels(speakers: SpeakerMeans) -> Levels:
    """Where one speaker's recordings score, and where strangers' do.

    Medians, so that some wrong labels do not move them. With more than 2,048 speakers the level of strangers is taken
    from that many, evenly spaced.

    Examples
    --------
    >>> vectors = np.float32([[1, 0], [0.6, 0.8], [0, 1], [0, 1]])
    >>> found = levels(speaker_means(vectors, np.array([0, 0, 1, 1])))
    >>> round(found.own, 3), round(found.strangers, 3), round(found.apart, 3)
    (0.8, 0.4, 0.4)
    """
    known = speakers.cohesion[np.isfinite(speakers.cohesion)]
    own = float(np.median(known)) if known.size else None
    count = len(speakers.sizes)
    if count < 2:
        return Levels(own, None, 0.0)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST_SPEAKERS)).astype(np.int64))
    means = speakers.means[chosen]
    scores = (means @ means.T)[np.triu_indices(len(chosen), 1)]
    strangers = float(np.median(scores))
    return Levels(own, strangers, _MAD_TO_SIGMA * float(np.median(np.abs(scores - strangers))))
