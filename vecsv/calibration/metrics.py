"""Exact verification metrics: EER, AUC, detection cost, F1 and Cllr.

Each metric takes the integer counts of `vecsv.calibration.counts` and divides once, at the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vecsv.calibration.counts import ErrorCounts, Floats, Number, checked_trials, exact_number

# Float costs carry a relative error of a few 1e-16: whatever may be the exact optimum is within this.
_NEAR = 1e-12


def eer(counts: ErrorCounts) -> float:
    """Equal error rate by linear interpolation between ROC vertices, one for each distinct score.

    This is the figure to compare with published ones. It may exceed 0.5; `eer_hull` may not.

    Examples
    --------
    >>> from vecsv.calibration.counts import error_counts
    >>> eer(error_counts([0.5, 0.5, 0.8, 0.9, 0.5, 0.5, 0.2, 0.1], np.arange(8) < 4))
    0.25
    """
    return float(_diagonal_crossing(counts, np.arange(counts.thresholds.size)))


def eer_hull(counts: ErrorCounts) -> float:
    """Equal error rate on the convex hull of the ROC; at most `eer`, and at most 0.5.

    Source: N. Brümmer and E. de Villiers, "The BOSARIS Toolkit", 2013 (there: ROCCH-EER).

    Examples
    --------
    >>> from vecsv.calibration.counts import error_counts
    >>> eer_hull(error_counts([0.3, 0.7], np.array([True, False])))
    0.5
    """
    return float(_diagonal_crossing(counts, np.append(_hull_blocks(counts), counts.thresholds.size - 1)))


def _diagonal_crossing(counts: ErrorCounts, vertices: NDArray[np.intp]) -> Fraction:
    """Where the line through the vertices (positions, ascending) has FMR = FNMR."""
    targets, non_targets = counts.targets, counts.non_targets
    misses, false_accepts = counts.misses[vertices], counts.false_accepts[vertices]
    # (FNMR - FMR) * targets * non_targets; climbs strictly, from -1 to +1 in units of that product.
    gap = misses * non_targets - false_accepts * targets
    after = int(np.searchsorted(gap, 0, side="left"))
    before = max(after - 1, 0)
    gap_before, gap_after = int(gap[before]), int(gap[after])
    share = Fraction(0) if gap_after == 0 else Fraction(gap_after, gap_after - gap_before)
    miss_after, miss_before = int(misses[after]), int(misses[before])
    return (miss_after - share * (miss_after - miss_before)) / targets


def _hull_blocks(counts: ErrorCounts) -> NDArray[np.intp]:
    """First position of each pool-adjacent-violators block: the hull's vertices, except the last."""
    from scipy.optimize import isotonic_regression

    targets = np.diff(counts.misses)
    trials = targets - np.diff(counts.false_accepts)
    fit = isotonic_regression(targets / trials, weights=trials)
    return np.asarray(fit.blocks[:-1], dtype=np.intp)


def auc(counts: ErrorCounts) -> float:
    """Area under the ROC: P(target > non-target) + P(tie) / 2.

    Examples
    --------
    >>> from vecsv.calibration.counts import error_counts
    >>> auc(error_counts([0.5, 0.5, 0.7], np.array([True, False, True])))
    0.75
    """
    targets = np.diff(counts.misses)
    lower_or_tied_twice = 2 * counts.non_targets - counts.false_accepts[:-1] - counts.false_accepts[1:]
    return float(Fraction(int(targets @ lower_or_tied_twice), 2 * counts.targets * counts.non_targets))


@dataclass(frozen=True)
class MinimumCost:
    """The lowest detection cost and where it is reached.

    Attributes
    ----------
    raw : float
        ``c_miss * p * FNMR + c_fa * (1 - p) * FMR``.
    normalised : float
        `raw` over the cost of the better of accepting all and rejecting all; never above 1.
    threshold : float
        The score it is reached at, ``inf`` for rejecting all; see `reported_threshold`.
    index : int
        Position of `threshold` in the counts.
    """

    raw: float
    normalised: float
    threshold: float
    index: int


def min_dcf(counts: ErrorCounts, p: Number, c_miss: Number = 1, c_fa: Number = 1) -> MinimumCost:
    """Find the minimum of the detection cost function, at the highest threshold that reaches it.

    Parameters
    ----------
    counts : ErrorCounts
        The trials.
    p : float or Fraction
        Prior probability of a target, in (0, 1).
    c_miss, c_fa : float or Fraction
        Cost of a miss and of a false accept, above 0.

    Raises
    ------
    UsageError
        If a parameter is out of range.

    Notes
    -----
    Source: the evaluation plans of the NIST Speaker Recognition Evaluations (detection cost function).

    Examples
    --------
    >>> from vecsv.calibration.counts import error_counts
    >>> counts = error_counts([0.31, 0.6, 0.7, 0.2, 0.4], np.array([True, True, True, False, False]))
    >>> best = min_dcf(counts, 0.01)
    >>> round(best.normalised, 3), best.threshold
    (0.333, 0.6)
    """
    miss_weight, accept_weight = _weights(p, c_miss, c_fa)
    near = float(miss_weight) * counts.fnmr + float(accept_weight) * counts.fmr
    candidates = np.flatnonzero(near <= near.min() * (1 + _NEAR))
    costs = [
        miss_weight * Fraction(int(counts.misses[i]), counts.targets)
        + accept_weight * Fraction(int(counts.false_accepts[i]), counts.non_targets)
        for i in candidates
    ]
    raw = min(costs)
    index = _last(candidates, costs, raw)
    return MinimumCost(float(raw), float(raw / min(miss_weight, accept_weight)), float(counts.thresholds[index]), index)


@dataclass(frozen=True)
class BestF1:
    """The highest F1 at a prior and where it is reached.

    Attributes
    ----------
    f1, precision, recall : float
        At `threshold`.
    threshold : float
        The score it is reached at, never ``inf``; see `reported_threshold`.
    index : int
        Position of `threshold` in the counts.
    """

    f1: float
    precision: float
    recall: float
    threshold: float
    index: int


def best_f1(counts: ErrorCounts, prior: Number) -> BestF1:
    """Find the maximum of F1 at an explicit prior, at the highest threshold that reaches it.

    The prior stands in for the ratio of targets among the trials, so the figure does not depend on how pairs
    were sampled.

    Raises
    ------
    UsageError
        If the prior is not in (0, 1).

    Examples
    --------
    >>> from vecsv.calibration.counts import error_counts
    >>> counts = error_counts([0.31, 0.6, 0.7, 0.2, 0.4], np.array([True, True, True, False, False]))
    >>> best = best_f1(counts, 0.01)
    >>> round(best.f1, 3), best.precision, round(best.recall, 3), best.threshold
    (0.8, 1.0, 0.667, 0.6)
    """
    p = exact_number(prior, "the prior", below=1)
    hits = float(p) * (1 - counts.fnmr)
    near = 2 * hits / (hits + float(1 - p) * counts.fmr + float(p))
    candidates = np.flatnonzero(near >= near.max() * (1 - _NEAR))
    values = [_precision_recall_f1(counts, int(i), p) for i in candidates]
    f1 = max(value[2] for value in values)
    index = _last(candidates, [value[2] for value in values], f1)
    recall = Fraction(counts.targets - int(counts.misses[index]), counts.targets)
    # F1 is the harmonic mean of the two. It is above 0 here, since accepting all already has one above 0.
    precision = f1 * recall / (2 * recall - f1)
    return BestF1(float(f1), float(precision), float(recall), float(counts.thresholds[index]), index)


def precision_recall_f1(counts: ErrorCounts, index: int, prior: Number) -> tuple[float | None, float, float]:
    """Precision, recall and F1 at one threshold and an explicit prior.

    Where nothing is accepted the precision is None and F1 is 0.

    Examples
    --------
    >>> from vecsv.calibration.counts import error_counts
    >>> counts = error_counts([0.1, 0.5], np.array([False, True]))
    >>> precision_recall_f1(counts, 0, 0.25)
    (0.25, 1.0, 0.4)
    >>> precision_recall_f1(counts, 2, 0.25)
    (None, 0.0, 0.0)
    """
    precision, recall, f1 = _precision_recall_f1(counts, index, exact_number(prior, "the prior", below=1))
    return None if precision is None else float(precision), float(recall), float(f1)


def _precision_recall_f1(
    counts: ErrorCounts, index: int, prior: Fraction
) -> tuple[Fraction | None, Fraction, Fraction]:
    recall = Fraction(counts.targets - int(counts.misses[index]), counts.targets)
    hits = prior * recall
    accepted = hits + (1 - prior) * Fraction(int(counts.false_accepts[index]), counts.non_targets)
    return (hits / accepted if accepted else None), recall, 2 * hits / (accepted + prior)


def best_precision(counts: ErrorCounts, prior: Number) -> int:
    """Position of the highest precision at an explicit prior; where several reach it, the one of highest recall.

    Without that rule the answer would be the highest score alone, accepted whenever it is a target's.

    Raises
    ------
    UsageError
        If the prior is not in (0, 1).

    Examples
    --------
    >>> from vecsv.calibration.counts import error_counts
    >>> counts = error_counts([0.31, 0.6, 0.7, 0.2, 0.4], np.array([True, True, True, False, False]))
    >>> float(counts.thresholds[best_precision(counts, 0.01)])
    0.6
    """
    # The prior decides how high the precision is, and not where it is highest.
    exact_number(prior, "the prior", below=1)
    hits = counts.targets - counts.misses[:-1]
    odds = hits / np.maximum(counts.false_accepts[:-1], 1)
    clean = (counts.false_accepts[:-1] == 0) & (hits > 0)
    if clean.any():
        return int(np.argmax(clean))
    candidates = np.flatnonzero(odds >= odds.max() * (1 - _NEAR))
    exact = [Fraction(int(hits[i]), int(counts.false_accepts[i])) for i in candidates]
    return int(candidates[exact.index(max(exact))])


def best_recall(counts: ErrorCounts) -> int:
    """Position of the highest recall, which is 1, with the fewest false accepts.

    Examples
    --------
    >>> from vecsv.calibration.counts import error_counts
    >>> counts = error_counts([0.4, 0.6, 0.2], np.array([True, True, False]))
    >>> float(counts.thresholds[best_recall(counts)])
    0.4
    """
    return int(np.searchsorted(counts.misses, 0, side="right") - 1)


def bayes_threshold(p: Number, c_miss: Number = 1, c_fa: Number = 1) -> float:
    """Log-likelihood ratio from which on accepting is the cheaper decision.

    Examples
    --------
    >>> round(bayes_threshold(0.01), 4)
    4.5951
    """
    miss_weight, accept_weight = _weights(p, c_miss, c_fa)
    return math.log(accept_weight / miss_weight)


def actual_dcf(counts: ErrorCounts, index: int, p: Number, c_miss: Number = 1, c_fa: Number = 1) -> tuple[float, float]:
    """Detection cost at one threshold, raw and normalised.

    With the counts of log-likelihood ratios, at ``counts.index_of(bayes_threshold(p, c_miss, c_fa))``, this is the
    cost of deciding by them: actDCF. It may exceed 1.

    Raises
    ------
    UsageError
        If a parameter is out of range.

    Examples
    --------
    >>> from vecsv.calibration.counts import error_counts
    >>> counts = error_counts([6.0, 1.0, -3.0, 4.7], np.array([True, True, False, False]))
    >>> [round(cost, 4) for cost in actual_dcf(counts, counts.index_of(bayes_threshold(0.01)), 0.01)]
    [0.5, 50.0]
    """
    miss_weight, accept_weight = _weights(p, c_miss, c_fa)
    raw = miss_weight * Fraction(int(counts.misses[index]), counts.targets)
    raw += accept_weight * Fraction(int(counts.false_accepts[index]), counts.non_targets)
    return float(raw), float(raw / min(miss_weight, accept_weight))


def _weights(p: Number, c_miss: Number, c_fa: Number) -> tuple[Fraction, Fraction]:
    """What FNMR and FMR are multiplied by in the detection cost."""
    prior = exact_number(p, "the prior", below=1)
    miss_weight = prior * exact_number(c_miss, "the cost of a miss")
    return miss_weight, (1 - prior) * exact_number(c_fa, "the cost of a false accept")


def min_cllr(counts: ErrorCounts) -> float:
    """Cllr after the best monotone recalibration (pool adjacent violators), in bits; in [0, 1].

    Source: N. Brümmer and J. du Preez, "Application-independent evaluation of speaker detection", 2006.

    Examples
    --------
    >>> from vecsv.calibration.counts import error_counts
    >>> min_cllr(error_counts([0.5, 0.5], np.array([True, False])))
    1.0
    """
    starts = _hull_blocks(counts)
    targets = np.add.reduceat(np.diff(counts.misses), starts) / counts.targets
    non_targets = np.add.reduceat(-np.diff(counts.false_accepts), starts) / counts.non_targets
    # A block of one kind only has an infinite ratio, and costs nothing.
    mixed = (targets > 0) & (non_targets > 0)
    targets, non_targets = targets[mixed], non_targets[mixed]
    bits = targets * np.log2(1 + non_targets / targets) + non_targets * np.log2(1 + targets / non_targets)
    return float(bits.sum() / 2)


def cllr(log_likelihood_ratios: ArrayLike, labels: ArrayLike) -> float:
    """Cost of natural log-likelihood ratios in bits: 0 is perfect, 1 is what always saying "even odds" costs.

    Takes the same input, and raises the same errors, as `error_counts`. Source: as for `min_cllr`.

    Examples
    --------
    >>> cllr([0.0, 0.0], np.array([True, False]))
    1.0
    """
    values, flags = checked_trials(log_likelihood_ratios, labels)
    return cllr_of_kinds(values[flags], values[~flags])


def cllr_of_kinds(targets: Floats, non_targets: Floats) -> float:
    """`cllr` of targets and non-targets apart, with no copy of either.

    Examples
    --------
    >>> cllr_of_kinds(np.zeros(1), np.zeros(3))
    1.0
    """
    missed = math.fsum(float(np.logaddexp(0, -part).sum()) for part in _parts(targets)) / targets.size
    accepted = math.fsum(float(np.logaddexp(0, part).sum()) for part in _parts(non_targets)) / non_targets.size
    return (missed + accepted) / (2 * math.log(2))


def _parts(ratios: Floats) -> Iterator[NDArray[np.float64]]:
    for start in range(0, ratios.size, 1 << 20):
        yield ratios[start : start + (1 << 20)].astype(np.float64)


def _last(candidates: NDArray[np.intp], values: Sequence[Fraction], best: Fraction) -> int:
    """Position of the highest threshold that reaches the optimum."""
    return max(int(i) for i, value in zip(candidates, values, strict=True) if value == best)
