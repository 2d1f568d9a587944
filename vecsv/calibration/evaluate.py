"""Every figure people quote of a set of trials, in one object: from scores, from counts, or from histograms."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vecsv.calibration.corners import corner_counts
from vecsv.calibration.counts import (
    ErrorCounts,
    Floats,
    Number,
    checked_trials,
    nearest_rates,
    reported_threshold,
    threshold_at_fmr,
)
from vecsv.calibration.histograms import ScoreHistograms
from vecsv.calibration.metrics import (
    actual_dcf,
    auc,
    bayes_threshold,
    best_f1,
    best_precision,
    best_recall,
    cllr_of_kinds,
    eer,
    eer_hull,
    min_cllr,
    min_dcf,
    precision_recall_f1,
)
from vecsv.calibration.operating_points import FEW_ERRORS, RULE_OF_THREE

PRIOR = 0.01
FALSE_MATCH_RATES = (1e-2, 1e-3, 1e-4)

# Name, prior, cost of a miss, cost of a false accept: the points the published evaluations quote (NIST SRE; VoxSRC has
# 0.05; SRE 2008 had misses cost ten times as much).
COSTS: tuple[tuple[str, float, float, float], ...] = (
    ("p=0.01", 0.01, 1, 1),
    ("p=0.001", 0.001, 1, 1),
    ("p=0.05", 0.05, 1, 1),
    ("sre08", 0.01, 10, 1),
)


@dataclass(frozen=True)
class CostPoint:
    """Minimum of a detection cost, and where it is reached.

    Attributes
    ----------
    name : str
        ``p=0.01``, ``p=0.001``, ``p=0.05`` or ``sre08``.
    prior, c_miss, c_fa : float
        Of a target; costs of a miss and of a false accept.
    raw, normalised : float
        The cost; `normalised` never exceeds 1.
    threshold : float
        As handed out (`reported_threshold`), ``inf`` where nothing beats rejecting all.
    fmr, fnmr : float
        Error rates there.
    """

    name: str
    prior: float
    c_miss: float
    c_fa: float
    raw: float
    normalised: float
    threshold: float
    fmr: float
    fnmr: float


@dataclass(frozen=True)
class RatePoint:
    """FNMR at the lowest threshold that keeps to a false match rate.

    Attributes
    ----------
    asked : float
        The false match rate that was asked for.
    threshold, fmr, fnmr : float
        Where that is, and the error rates there.
    false_accepts : int
        Non-targets accepted there.
    supported : bool
        Whether there are non-targets enough to show such a rate at all: three over it (rule of 3).
    """

    asked: float
    threshold: float
    fmr: float
    fnmr: float
    false_accepts: int
    supported: bool


@dataclass(frozen=True)
class RetrievalPoint:
    """Precision, recall and F1 at one threshold and an explicit prior.

    Attributes
    ----------
    prior : float
        Of a target.
    threshold : float
        As handed out (`reported_threshold`).
    precision, recall, f1 : float
        There.
    """

    prior: float
    threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Metrics:
    """What a set of trials shows.

    Attributes
    ----------
    targets, non_targets : int
        How many trials of each kind there were.
    eer : float
        Equal error rate by interpolation, to compare with published figures.
    eer_threshold : float
        Where FMR and FNMR are closest.
    eer_hull : float
        Equal error rate on the convex hull of the ROC; at most `eer` and at most 0.5.
    auc : float
        P(target > non-target) + P(tie) / 2.
    min_cllr : float
        In bits, after the best monotone recalibration.
    cllr : float or None
        In bits; None unless the scores are natural log-likelihood ratios.
    act_dcf : dict of str to float, or None
        Normalised cost of deciding by the ratios, for each of the names of `min_dcf`; None unless the scores are
        log-likelihood ratios.
    min_dcf : tuple of CostPoint
        For priors 0.01, 0.001 and 0.05, and for the costs of SRE 2008.
    fnmr_at_fmr : tuple of RatePoint
        For false match rates of 1e-2, 1e-3 and 1e-4.
    best_precision, best_recall, best_f1 : RetrievalPoint
        At the prior that was given, 0.01 unless asked otherwise. Where several thresholds reach the highest
        precision (or recall) it is the one with the highest recall (or precision) of them.
    warnings : tuple of str
        What to know before quoting the figures.
    """

    targets: int
    non_targets: int
    eer: float
    eer_threshold: float
    eer_hull: float
    auc: float
    min_cllr: float
    cllr: float | None
    act_dcf: dict[str, float] | None
    min_dcf: tuple[CostPoint, ...]
    fnmr_at_fmr: tuple[RatePoint, ...]
    best_precision: RetrievalPoint
    best_recall: RetrievalPoint
    best_f1: RetrievalPoint
    warnings: tuple[str, ...]

    def cost(self, name: str) -> CostPoint:
        """Minimum cost by its name.

        Raises
        ------
        KeyError
            When there is none of that name.
        """
        return {point.name: point for point in self.min_dcf}[name]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; a threshold that rejects all becomes None.

        Examples
        --------
        >>> import json
        >>> values = evaluate(np.float32([0.2, 0.7]), np.array([True, False])).to_json()
        >>> json.loads(json.dumps(values, allow_nan=False))["min_dcf"][0]["threshold"] is None
        True
        """
        values: dict[str, Any] = _plain(asdict(self))
        return values


def evaluate(scores: ArrayLike, labels: ArrayLike, *, llr: bool = False, prior: Number = PRIOR) -> Metrics:
    """Work out every metric of a list of trials, in O(n log n) time and little more memory than the scores.

    Parameters
    ----------
    scores : array_like of float32, shape (n,)
        Higher means more alike. Anything but float32 is taken as float64.
    labels : array_like of bool, shape (n,)
        True for target trials.
    llr : bool
        Whether the scores are natural log-likelihood ratios: then Cllr and actDCF mean something.
    prior : float or Fraction
        Of a target, for precision, recall and F1.

    Returns
    -------
    Metrics

    Raises
    ------
    CalibrationError
        If there is no target or no non-target, or if a score is NaN or infinite; it names the first such trial.

    Examples
    --------
    >>> scores = np.float32([0.9, 0.8, 0.3, 0.4, 0.2, 0.1])
    >>> metrics = evaluate(scores, np.array([True, True, True, False, False, False]))
    >>> round(metrics.eer, 4), round(metrics.eer_hull, 4), metrics.cost("p=0.01").threshold
    (0.3333, 0.1667, 0.6000000238418579)
    """
    values, flags = checked_trials(scores, labels)
    return evaluate_kinds(values[flags], values[~flags], llr=llr, prior=prior)


def evaluate_kinds(targets: Floats, non_targets: Floats, *, llr: bool = False, prior: Number = PRIOR) -> Metrics:
    """`evaluate` of targets and non-targets apart, which it **sorts in place** instead of copying them.

    They must be finite, of one dtype, and at least one each.
    """
    targets.sort()
    non_targets.sort()
    ratios: dict[str, float] | None = None
    cost: float | None = None
    if llr:
        ratios = {name: _actual(targets, non_targets, p, miss, accept) for name, p, miss, accept in COSTS}
        cost = cllr_of_kinds(targets, non_targets)
    counts = corner_counts(targets, non_targets, FALSE_MATCH_RATES)
    return _metrics(counts, prior, cost, ratios)


def evaluate_counts(counts: ErrorCounts, *, prior: Number = PRIOR) -> Metrics:
    """Work out every metric that counts are enough for; Cllr needs the scores, so it is None."""
    return _metrics(counts, prior, None, None)


def evaluate_histograms(histograms: ScoreHistograms, *, prior: Number = PRIOR) -> Metrics:
    """Work out every metric of pairs that were counted in histograms, to within a bin.

    Raises
    ------
    CalibrationError
        If there is no target or no non-target.
    """
    metrics = _metrics(histograms.error_counts(), prior, None, None)
    return replace(metrics, fnmr_at_fmr=tuple(_in_tail(point, histograms) for point in metrics.fnmr_at_fmr))


def _in_tail(point: RatePoint, histograms: ScoreHistograms) -> RatePoint:
    """The point at the exact scores that are kept, where it lies among them."""
    tail = histograms.tail_threshold(point.asked)
    if tail is None:
        return point
    threshold, accepts = tail
    fmr, fnmr = accepts / int(histograms.non_targets.sum()), histograms.misses_below(threshold)
    return replace(
        point, threshold=threshold, fmr=fmr, fnmr=fnmr / int(histograms.targets.sum()), false_accepts=accepts
    )


def _metrics(counts: ErrorCounts, prior: Number, cllr: float | None, act_dcf: dict[str, float] | None) -> Metrics:
    f1 = best_f1(counts, prior)
    area = auc(counts)
    points = tuple(_cost_point(counts, *cost) for cost in COSTS)
    rates = tuple(_rate_point(counts, rate) for rate in FALSE_MATCH_RATES)
    return Metrics(
        targets=counts.targets,
        non_targets=counts.non_targets,
        eer=eer(counts),
        eer_threshold=reported_threshold(counts, nearest_rates(counts)),
        eer_hull=eer_hull(counts),
        auc=area,
        min_cllr=min_cllr(counts),
        cllr=cllr,
        act_dcf=act_dcf,
        min_dcf=points,
        fnmr_at_fmr=rates,
        best_precision=_retrieval_point(counts, best_precision(counts, prior), prior),
        best_recall=_retrieval_point(counts, best_recall(counts), prior),
        best_f1=_retrieval_point(counts, f1.index, prior),
        warnings=tuple(_warnings(counts, area, rates)),
    )


def _cost_point(counts: ErrorCounts, name: str, prior: float, c_miss: float, c_fa: float) -> CostPoint:
    cost = min_dcf(counts, prior, c_miss, c_fa)
    fmr, fnmr = _rates(counts, cost.index)
    threshold = reported_threshold(counts, cost.index)
    return CostPoint(name, prior, c_miss, c_fa, cost.raw, cost.normalised, threshold, fmr, fnmr)


def _rate_point(counts: ErrorCounts, rate: float) -> RatePoint:
    index = threshold_at_fmr(counts, rate)
    supported = counts.non_targets * rate >= RULE_OF_THREE
    accepts = int(counts.false_accepts[index])
    return RatePoint(rate, reported_threshold(counts, index), *_rates(counts, index), accepts, supported)


def _retrieval_point(counts: ErrorCounts, index: int, prior: Number) -> RetrievalPoint:
    precision, recall, f1 = precision_recall_f1(counts, index, prior)
    # None of the three places that are asked for rejects all.
    return RetrievalPoint(float(prior), reported_threshold(counts, index), precision or 0.0, recall, f1)


def _rates(counts: ErrorCounts, index: int) -> tuple[float, float]:
    return int(counts.false_accepts[index]) / counts.non_targets, int(counts.misses[index]) / counts.targets


def _actual(targets: Floats, non_targets: Floats, prior: float, c_miss: float, c_fa: float) -> float:
    # The threshold is compared in the dtype of the ratios, as when serving.
    threshold = targets.dtype.type(bayes_threshold(prior, c_miss, c_fa))
    misses = np.searchsorted(targets, [threshold], side="left")
    accepts = non_targets.size - np.searchsorted(non_targets, [threshold], side="left")
    counts = ErrorCounts(np.array([threshold]), misses, accepts, int(targets.size), int(non_targets.size))
    return actual_dcf(counts, 0, prior, c_miss, c_fa)[1]


def _warnings(counts: ErrorCounts, area: float, rates: tuple[RatePoint, ...]) -> list[str]:
    found = []
    if area < 0.5:
        found.append(f"targets score lower than non-targets (AUC {area:.3f}): check the speaker labels")
    errors = counts.non_targets, counts.targets
    for kind, trials in zip(("non-target", "target"), errors, strict=True):
        if trials < FEW_ERRORS:
            found.append(f"only {trials} {kind} trials: no rate can be told from so few")
    unsupported = [f"{point.asked:g}" for point in rates if not point.supported]
    if unsupported:
        found.append(f"{counts.non_targets} non-targets cannot show a false match rate of {', '.join(unsupported)}")
    few = [point for point in rates if point.supported and point.asked * counts.non_targets < FEW_ERRORS]
    if few:
        asked = ", ".join(f"{point.asked:g}" for point in few)
        found.append(f"the threshold for a false match rate of {asked} rests on fewer than {FEW_ERRORS} false accepts")
    return found


def _plain(value: Any) -> Any:
    """The value with an infinite number as None, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
