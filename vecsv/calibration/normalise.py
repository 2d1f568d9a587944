"""Adaptive score normalisation: how far a score stands out from those against strangers who sound alike.

Source: P. Matějka et al., "Analysis of score normalization in multilingual speaker recognition", 2017 (AS-norm: mean
and deviation over the top of the cohort, of each side, averaged).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Flags, Scores, Vectors
from vecsv.calibration.counts import error_counts
from vecsv.calibration.metrics import eer, min_dcf
from vecsv.calibration.operating_points import PRIOR
from vecsv.errors import CalibrationError

Column = NDArray[np.float64]

#: Closest cohort speakers that the statistics are taken over.
TOP_K = 200
#: Of fewer, mean and deviation say next to nothing.
FEWEST_SPEAKERS = 10
# Deviations of cosines are some hundredths: below this the cohort is one voice many times over.
_SMALLEST_DEVIATION = 1e-3
_ROWS_PER_STEP = 4096


@dataclass(frozen=True, eq=False)
class Cohort:
    """Speakers that are nobody's match, to measure scores against.

    Attributes
    ----------
    means : ndarray
        float32 ``(speakers, dim)``: each speaker's mean embedding, of unit length.
    top_k : int
        How many of them, the closest ones, count.
    """

    means: Vectors
    top_k: int = TOP_K

    def __post_init__(self) -> None:
        if len(self.means) < FEWEST_SPEAKERS or self.top_k < FEWEST_SPEAKERS:
            raise CalibrationError(
                f"a cohort of {len(self.means)} speakers, {self.top_k} of which count, is too small",
                hint=f"it takes {FEWEST_SPEAKERS}; some hundreds are better",
            )

    def statistics(self, vectors: Vectors) -> tuple[Column, Column]:
        """Mean and standard deviation of each row's scores against its closest cohort speakers."""
        count = min(self.top_k, len(self.means))
        means, deviations = np.empty(len(vectors)), np.empty(len(vectors))
        for start in range(0, len(vectors), _ROWS_PER_STEP):
            step = slice(start, start + _ROWS_PER_STEP)
            scores = vectors[step] @ self.means.T
            closest = np.partition(scores, -count, axis=1)[:, -count:].astype(np.float64)
            means[step], deviations[step] = closest.mean(axis=1), closest.std(axis=1)
        return means, np.maximum(deviations, _SMALLEST_DEVIATION)

    def score(self, first: Vectors, second: Vectors) -> float:
        """Mean normalised score over all pairs of a row of one side and a row of the other, as float32."""
        scores = first.astype(np.float64) @ second.astype(np.float64).T
        one, other = self.statistics(first), self.statistics(second)
        both = (scores - one[0][:, None]) / one[1][:, None] + (scores - other[0]) / other[1]
        return float(np.float32(both.mean() / 2))

    def score_pairs(
        self, vectors: Vectors, first: NDArray[np.int64], second: NDArray[np.int64], cosines: Scores
    ) -> Scores:
        """Normalised scores of pairs of rows whose cosines are known; float32."""
        mean, deviation = self.statistics(vectors)
        total = (cosines - mean[first]) / deviation[first]
        total += (cosines - mean[second]) / deviation[second]
        return (total / 2).astype(np.float32)


def cohort_of(vectors: Vectors, speakers: NDArray[np.int64], *, top_k: int = TOP_K) -> Cohort:
    """A cohort of the speakers' mean embeddings.

    Raises
    ------
    CalibrationError
        When there are too few speakers.
    """
    names, codes = np.unique(speakers, return_inverse=True)
    sums = np.zeros((names.size, vectors.shape[1]))
    np.add.at(sums, codes, vectors)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return Cohort((sums / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32), top_k)


@dataclass(frozen=True)
class Normalisation:
    """Whether normalised scores are in use, and what that was decided by.

    Attributes
    ----------
    cohort : str
        The store the cohort is of.
    cohort_speakers, top_k : int
    kept : bool
        Whether scores are normalised: only where EER and minimum cost on held-out speakers are both no worse for it
        and one is better.
    eer_cosine, eer_normalised, min_dcf_cosine, min_dcf_normalised : float or None
        On the held-out speakers; None where there are none.
    """

    cohort: str
    cohort_speakers: int
    top_k: int
    kept: bool
    eer_cosine: float | None = None
    eer_normalised: float | None = None
    min_dcf_cosine: float | None = None
    min_dcf_normalised: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Normalisation:
        """Read what `to_json` gave."""
        return cls(**values)


def decide(cohort: Cohort, name: str, cosines: Scores, normalised: Scores, labels: Flags) -> Normalisation:
    """Keep the normalisation if it wins on these trials, which nothing was fitted on; without trials it is not kept."""
    size, top_k = len(cohort.means), min(cohort.top_k, len(cohort.means))
    if not labels.size:
        return Normalisation(name, size, top_k, kept=False)
    before, after = error_counts(cosines, labels), error_counts(normalised, labels)
    figures = (eer(before), eer(after)), (min_dcf(before, PRIOR).normalised, min_dcf(after, PRIOR).normalised)
    no_worse = all(new <= old for old, new in figures)
    return Normalisation(
        name, size, top_k, no_worse and any(new < old for old, new in figures), *figures[0], *figures[1]
    )
