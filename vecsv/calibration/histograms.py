"""Score histograms that add up: for pairs that are too many to keep."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vecsv.calibration.counts import Counts, ErrorCounts, Number, checked_trials, exact_number
from vecsv.errors import CalibrationError, UsageError

BINS = 65_536
HIGHEST = 1024
# Inner products of unit vectors in float32 exceed 1 by a rounding error.
_SLACK = 1e-5


@dataclass(frozen=True, eq=False)
class ScoreHistograms:
    """How many targets and non-targets fell into each of many narrow bins, and the highest non-targets exactly.

    Bin k holds the scores from ``edges[k]`` up to, not including, ``edges[k + 1]``, compared in float32; so the error
    rates at an edge are exact. Histograms of parts of the pairs add up to that of all of them.

    Attributes
    ----------
    low, high : float
        Range of the scores. Scores of cosines stay in [-1, 1]; normalised scores and likelihood ratios do not.
    targets, non_targets : ndarray of int64, shape (bins,)
        How many scores of each kind are in each bin.
    highest_non_targets : ndarray of float32, shape (at most `keep`,)
        The highest non-target scores, descending.
    keep : int
        How many of those are kept.

    Examples
    --------
    >>> one = ScoreHistograms.empty().add(np.float32([0.9, 0.1]), np.array([True, False]))
    >>> two = ScoreHistograms.empty().add(np.float32([0.8, 0.2]), np.array([True, False]))
    >>> (one + two).error_counts().false_accepts.tolist()
    [2, 1, 0, 0, 0]
    """

    low: float
    high: float
    targets: Counts
    non_targets: Counts
    highest_non_targets: NDArray[np.float32]
    keep: int = HIGHEST

    @classmethod
    def empty(cls, low: float = -1.0, high: float = 1.0, bins: int = BINS, keep: int = HIGHEST) -> ScoreHistograms:
        """No scores yet.

        Raises
        ------
        UsageError
            If the range is empty or there is no bin.
        """
        if not low < high or bins < 1 or keep < 0:
            raise UsageError(f"{bins} bins from {low} to {high} are no histogram")
        nothing = np.zeros(bins, np.int64)
        return cls(low, high, nothing, nothing.copy(), np.empty(0, np.float32), keep)

    @property
    def edges(self) -> NDArray[np.float32]:
        """Lower edge of each bin, as scores are compared with them."""
        steps = np.arange(self.targets.size, dtype=np.float64) * ((self.high - self.low) / self.targets.size)
        return (self.low + steps).astype(np.float32)

    def add(self, scores: ArrayLike, labels: ArrayLike) -> ScoreHistograms:
        """These histograms with some more trials.

        Raises
        ------
        CalibrationError
            If a score is not finite or out of range; it names the first such trial.
        """
        values = np.asarray(scores, dtype=np.float32)
        flags = np.asarray(labels)
        if values.size == 0:
            return self
        _check(values, flags)
        slack = _SLACK * (self.high - self.low)
        outside = (values < self.low - slack) | (values > self.high + slack)
        if outside.any():
            first = int(np.argmax(outside))
            problem = f"{int(outside.sum())} scores lie outside {self.low} to {self.high}, the first is {values[first]}"
            raise CalibrationError(problem, where=f"trial {first}", hint="give the histogram a wider range")
        bins = np.maximum(np.searchsorted(self.edges, values, side="right") - 1, 0)
        size = self.targets.size
        added = ScoreHistograms(
            self.low,
            self.high,
            np.bincount(bins[flags], minlength=size),
            np.bincount(bins[~flags], minlength=size),
            highest(values[~flags], self.keep),
            self.keep,
        )
        return self + added

    def __add__(self, other: ScoreHistograms) -> ScoreHistograms:
        """Histograms of the trials of both."""
        if self._layout() != other._layout():
            raise UsageError("only histograms of the same range and bins add up")
        return ScoreHistograms(
            self.low,
            self.high,
            self.targets + other.targets,
            self.non_targets + other.non_targets,
            highest(np.concatenate([self.highest_non_targets, other.highest_non_targets]), self.keep),
            self.keep,
        )

    def tail_threshold(self, rate: Number) -> tuple[float, int] | None:
        """Lowest threshold that keeps to a false match rate, and its false accepts, not rounded to a bin.

        Returns
        -------
        tuple of float and int, or None
            None where more non-targets than are kept may be accepted: there a bin is fine enough. The threshold is
            halfway between the last non-target it rejects and the first it accepts.

        Examples
        --------
        >>> scores = np.linspace(0, 0.00001, 101, dtype=np.float32)
        >>> found = ScoreHistograms.empty().add(scores, np.zeros(101, dtype=bool)).tail_threshold(0.05)
        >>> found is not None and (round(found[0], 8), found[1])
        (9.55e-06, 5)
        """
        allowed = math.floor(exact_number(rate, "the false match rate", below=1) * int(self.non_targets.sum()))
        if allowed >= self.highest_non_targets.size:
            return None
        forbidden = self.highest_non_targets[allowed]
        accepted = int(np.count_nonzero(self.highest_non_targets > forbidden))
        upper = self.highest_non_targets[accepted - 1] if accepted else np.nextafter(forbidden, np.float32(np.inf))
        middle = np.float32((float(forbidden) + float(upper)) / 2)
        return float(middle if middle > forbidden else upper), accepted

    def misses_below(self, threshold: float) -> int:
        """Targets below a threshold, counting all of its bin: at most so many."""
        return int(self.targets[: int(np.searchsorted(self.edges, np.float32(threshold), side="right"))].sum())

    def _layout(self) -> tuple[float, float, int, int]:
        return self.low, self.high, self.targets.size, self.keep

    def error_counts(self) -> ErrorCounts:
        """Errors at the lower edge of every bin that holds a score, and for rejecting all.

        Raises
        ------
        CalibrationError
            If there is no target or no non-target.
        """
        targets, non_targets = int(self.targets.sum()), int(self.non_targets.sum())
        if targets == 0 or non_targets == 0:
            raise CalibrationError(f"{targets} targets and {non_targets} non-targets: both kinds of pair are needed")
        held = np.flatnonzero(self.targets + self.non_targets)
        edges = self.edges
        # What lies a rounding error below the range is in the first bin.
        edges[0] = self.low - _SLACK * (self.high - self.low)
        misses = np.append(0, np.cumsum(self.targets))[np.append(held, self.targets.size)]
        rejected = np.append(0, np.cumsum(self.non_targets))[np.append(held, self.targets.size)]
        thresholds = np.append(edges[held], np.float32(np.inf))
        return ErrorCounts(thresholds, misses, non_targets - rejected, targets, non_targets)


def highest(scores: NDArray[np.float32], keep: int) -> NDArray[np.float32]:
    """The highest `keep` scores, descending.

    Examples
    --------
    >>> highest(np.float32([0.5, 0.25, 0.75]), 2).tolist()
    [0.75, 0.5]
    """
    if scores.size > keep:
        scores = np.partition(scores, scores.size - keep)[scores.size - keep :] if keep else scores[:0]
    return np.sort(scores)[::-1]


def _check(values: NDArray[np.float32], flags: NDArray[np.bool_]) -> None:
    """Raise what `checked_trials` raises, but let a part of the trials be of one kind."""
    if flags.dtype == np.bool_ and flags.shape == values.shape and np.isfinite(values).all():
        return
    checked_trials(values, flags)
