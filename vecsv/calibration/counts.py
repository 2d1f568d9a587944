"""How many errors each threshold makes: the one object all verification metrics are computed from.

The counts are integers, so whatever follows from them does not depend on the order of the trials, on ties, or
on rounding. A pair is accepted iff ``score >= threshold``.

Where a prior, a cost or a rate is taken as a float, its decimal notation is what is meant: ``0.01`` is one
hundredth. A `fractions.Fraction` is taken as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vecsv.arrays import Flags
from vecsv.errors import CalibrationError, UsageError

Floats: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
Counts: TypeAlias = NDArray[np.int64]
Number: TypeAlias = float | Fraction


@dataclass(frozen=True, eq=False)
class ErrorCounts:
    """Errors at every threshold that gives a different set of decisions.

    Attributes
    ----------
    thresholds : ndarray, shape (distinct scores + 1,)
        The distinct scores, ascending, then ``+inf``. The first accepts every trial, the last none.
    misses : ndarray of int64, same shape
        Targets below each threshold; ascending from 0 to `targets`.
    false_accepts : ndarray of int64, same shape
        Non-targets at or above each threshold; descending from `non_targets` to 0.
    targets, non_targets : int
        How many trials of each kind there are, each at least 1.
    """

    thresholds: Floats
    misses: Counts
    false_accepts: Counts
    targets: int
    non_targets: int

    @property
    def fmr(self) -> NDArray[np.float64]:
        """False match rate at each threshold."""
        return self.false_accepts / self.non_targets

    @property
    def fnmr(self) -> NDArray[np.float64]:
        """False non-match rate at each threshold."""
        return self.misses / self.targets

    def index_of(self, threshold: float) -> int:
        """Position whose decisions are those of `threshold`, which need not be one of the scores.

        The threshold is compared in the dtype of the scores, as it is when serving.

        Examples
        --------
        >>> counts = error_counts(np.float32([0.1, 0.5, 0.9]), np.array([False, True, True]))
        >>> counts.index_of(0.3), counts.index_of(2.0)
        (1, 3)
        """
        if math.isnan(threshold):
            raise UsageError("a threshold must be a number, not NaN")
        # Beyond the largest float32 the conversion gives infinity, which is what such a threshold means.
        with np.errstate(over="ignore"):
            served = self.thresholds.dtype.type(threshold)
        return int(np.searchsorted(self.thresholds, served, side="left"))


def error_counts(scores: ArrayLike, labels: ArrayLike) -> ErrorCounts:
    """Count the errors at every threshold, in O(n log n).

    Parameters
    ----------
    scores : array_like of float32, shape (n,)
        Higher means more alike. Served scores are float32; anything else is taken as float64, which is meant
        for tests only.
    labels : array_like of bool, shape (n,)
        True for target trials (the same speaker).

    Returns
    -------
    ErrorCounts
        Its thresholds have the dtype of the scores.

    Raises
    ------
    CalibrationError
        If there is no target or no non-target, or if a score is NaN or infinite; it names the first such
        trial, counted from 0.

    Examples
    --------
    >>> counts = error_counts(np.float32([0.25, 0.5, 0.75]), np.array([False, True, True]))
    >>> counts.misses.tolist(), counts.false_accepts.tolist()
    ([0, 0, 1, 2], [1, 0, 0, 0])
    """
    values, flags = checked_trials(scores, labels)
    target, non_target = np.sort(values[flags]), np.sort(values[~flags])
    distinct = np.unique(values)
    misses = np.append(np.searchsorted(target, distinct, side="left"), target.size)
    false_accepts = np.append(non_target.size - np.searchsorted(non_target, distinct, side="left"), 0)
    thresholds = np.append(distinct, values.dtype.type(np.inf))
    arrays = thresholds, misses.astype(np.int64), false_accepts.astype(np.int64)
    for array in arrays:
        array.setflags(write=False)
    return ErrorCounts(*arrays, targets=int(target.size), non_targets=int(non_target.size))


def checked_trials(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Flags]:
    """Scores and labels as arrays, or the error that `error_counts` documents."""
    values, flags = np.asarray(scores), np.asarray(labels)
    if values.dtype != np.float32:
        values = values.astype(np.float64)
    if flags.dtype != np.bool_ or values.ndim != 1 or values.shape != flags.shape:
        raise CalibrationError(
            f"scores {values.shape} and labels {flags.shape} of type {flags.dtype} do not go together",
            hint="give one boolean label for each score",
        )
    unusable = ~np.isfinite(values)
    if unusable.any():
        first = int(np.argmax(unusable))
        count = int(np.count_nonzero(unusable))
        raise CalibrationError(
            f"{count} of {values.size} scores are not finite, the first is {values[first]}",
            where=f"trial {first}",
            hint="find out which embedding of that pair is broken",
        )
    targets = int(np.count_nonzero(flags))
    if targets == 0 or targets == values.size:
        raise CalibrationError(
            f"{targets} targets and {values.size - targets} non-targets: both kinds of pair are needed",
            hint="give at least two speakers, one of them with at least two recordings",
        )
    return values, flags


def threshold_at_fmr(counts: ErrorCounts, target: Number) -> int:
    """Position of the lowest threshold whose FMR does not exceed `target`.

    There always is one: rejecting all has FMR 0. Whether the trials can *show* such a rate is another
    question, which `vecsv.calibration.operating_points` answers.

    Raises
    ------
    UsageError
        If `target` is not in (0, 1).

    Examples
    --------
    >>> counts = error_counts([0.1, 0.2, 0.3, 0.5], np.array([False, False, False, True]))
    >>> float(counts.thresholds[threshold_at_fmr(counts, 0.5)])
    0.3
    """
    allowed = math.floor(exact_number(target, "the false match rate", below=1) * counts.non_targets)
    return int(np.argmax(counts.false_accepts <= allowed))


def nearest_rates(counts: ErrorCounts) -> int:
    """Position of the threshold where FMR and FNMR are closest; the higher one where two are equally close.

    The equal error rate itself usually lies between two thresholds; this is the one to decide with.

    Examples
    --------
    >>> nearest_rates(error_counts([0.5, 0.5, 0.8, 0.9, 0.5, 0.5, 0.2, 0.1], np.arange(8) < 4))
    3
    """
    gap = np.abs(counts.misses * counts.non_targets - counts.false_accepts * counts.targets)
    return int(gap.size - 1 - np.argmin(gap[::-1]))


def reported_threshold(counts: ErrorCounts, index: int) -> float:
    """Threshold to hand out for a position: halfway to the next lower distinct score, as a float32 value.

    It decides on these trials as the position does, and leaves room on both sides for unseen scores. Where
    the midpoint, rounded to float32, would accept the lower score too, the upper score itself is handed out;
    so is the lowest score, which has nothing below it. Rejecting all stays ``inf``.

    Examples
    --------
    >>> counts = error_counts(np.float32([0.25, 0.75]), np.array([False, True]))
    >>> [reported_threshold(counts, i) for i in range(3)]
    [0.25, 0.5, inf]
    """
    upper = float(counts.thresholds[index])
    if index == 0 or math.isinf(upper):
        return upper
    lower = float(counts.thresholds[index - 1])
    middle = float(np.float32(lower + (upper - lower) / 2))
    # Scores in float64 may lie so close together that rounding leaves the interval on either side.
    return middle if lower < middle <= upper else upper


def exact_number(value: Number, name: str, *, below: int | None = None) -> Fraction:
    """Read a number above 0 (and below `below`) by its decimal notation.

    Raises
    ------
    UsageError
        If it is not a number, or out of range.

    Examples
    --------
    >>> exact_number(0.01, "the prior", below=1)
    Fraction(1, 100)
    """
    try:
        number = Fraction(str(value))
    except ValueError:
        number = Fraction(0)
    if number <= 0 or (below is not None and number >= below):
        limits = "above 0" if below is None else f"above 0 and below {below}"
        raise UsageError(f"{name} must be {limits}, not {value}")
    return number
