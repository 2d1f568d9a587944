"""From a score to a log-likelihood ratio: how many times likelier it is from one speaker than from two.

Source: N. Brümmer and J. du Preez, "Application-independent evaluation of speaker detection", 2006 (prior-weighted
logistic regression); M. I. Mandasari et al., "Quality measure functions for calibration of speaker recognition
systems in various duration conditions", 2013 (quality measures as further inputs).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vecsv.calibration.counts import checked_trials
from vecsv.errors import CalibrationError

Column = NDArray[np.float64]

SCORE, LOG_SPEECH, SNR = "score", "log_speech_s", "snr_db"
#: Share of targets that the fit is weighted to: Cllr is the loss at even odds.
PRIOR = 0.5
# On inputs of unit variance: no more than a hair on data that overlap, and an end to the slope on data that do not.
_PENALTY = 1e-5


@dataclass(frozen=True)
class LinearMap:
    """``intercept + sum of weight * input``, in natural units: e-folds of the likelihood ratio.

    Attributes
    ----------
    intercept : float
    weights : mapping of str to float
        By input: ``score``, ``log_speech_s`` (natural logarithm of the seconds of speech on the side that has less),
        ``snr_db`` (of the side with the lower one).
    centres : mapping of str to float
        What stands in for an input that is unknown: its mean where the map was fitted.
    """

    intercept: float
    weights: Mapping[str, float]
    centres: Mapping[str, float]

    def __call__(self, inputs: Mapping[str, ArrayLike]) -> Column:
        """Log-likelihood ratios; an input that is NaN counts as the mean of those the map was fitted on."""
        total = np.asarray(self.intercept, np.float64)
        for name, weight in self.weights.items():
            column = np.asarray(inputs[name], np.float64)
            total = total + weight * np.where(np.isnan(column), self.centres[name], column)
        return total


def fit(inputs: Mapping[str, ArrayLike], labels: ArrayLike, *, prior: float = PRIOR) -> LinearMap:
    """Fit a linear map by prior-weighted logistic regression.

    The loss is ``p/T * sum softplus(-(llr + logit p))`` over targets plus ``(1-p)/N * sum softplus(llr + logit p)``
    over non-targets, plus a small L2 penalty on the weights, which keeps them finite on separable data.

    Parameters
    ----------
    inputs : mapping of str to array_like, shape (n,)
        The scores, under ``score``, and whatever else the ratio may depend on. NaN elsewhere than in the scores means
        that an input is unknown.
    labels : array_like of bool, shape (n,)
        True for targets.
    prior : float
        In (0, 1).

    Raises
    ------
    CalibrationError
        As `vecsv.calibration.counts.error_counts`.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> scores = np.concatenate([random.normal(1, 1, 20_000), random.normal(-1, 1, 20_000)])
    >>> found = fit({"score": scores}, np.arange(40_000) < 20_000)
    >>> round(found.weights["score"], 1), abs(found.intercept) < 0.05
    (2.0, True)
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    if not 0 < prior < 1:
        raise CalibrationError(f"the prior must lie between 0 and 1, it is {prior}")
    _, flags = checked_trials(inputs[SCORE], labels)
    targets = np.count_nonzero(flags)
    # Both classes weigh the same here, so that the scale does not hang on how many non-targets were drawn.
    even = np.where(flags, 0.5 / targets, 0.5 / (flags.size - targets))
    centres = {name: _mean(np.asarray(column, np.float64), even) for name, column in inputs.items()}
    columns = [np.asarray(column, np.float64) - centres[name] for name, column in inputs.items()]
    columns = [np.where(np.isnan(column), 0.0, column) for column in columns]
    scales = np.array([math.sqrt(float(even @ column**2)) or 1.0 for column in columns])
    design = np.stack([*(column / scale for column, scale in zip(columns, scales, strict=True)), np.ones(flags.size)])
    importance = even * np.where(flags, 2 * prior, 2 * (1 - prior))
    offset = math.log(prior / (1 - prior))
    sign = np.where(flags, -1.0, 1.0)
    penalty = np.append(np.full(len(columns), _PENALTY), 0.0)

    def loss(weights: Column) -> tuple[float, Column]:
        margin = sign * (weights @ design + offset)
        value = importance @ np.logaddexp(0, margin) + penalty @ weights**2 / 2
        return float(value), design @ (importance * sign * expit(margin)) + penalty * weights

    start = np.zeros(len(columns) + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"gtol": 1e-9, "ftol": 1e-15, "maxiter": 500}).x
    weights = {name: float(found[i] / scales[i]) for i, name in enumerate(inputs)}
    intercept = float(found[-1]) - sum(weights[name] * centres[name] for name in inputs)
    return LinearMap(intercept, MappingProxyType(weights), MappingProxyType(centres))


def _mean(column: Column, weights: Column) -> float:
    known = ~np.isnan(column)
    return float(weights[known] @ column[known] / weights[known].sum()) if known.any() else 0.0


@dataclass(frozen=True)
class LlrMapping:
    """How a calibration turns scores into log-likelihood ratios, and what that costs.

    Attributes
    ----------
    prior : float
        The fit was weighted to.
    score_only : LinearMap
        ``a * score + b``.
    with_quality : LinearMap or None
        Kept only where it did better on held-out speakers.
    cllr, min_cllr : float
        Of the map in use, in bits; the loss, and what of it no monotone calibration could avoid.
    cllr_score_only : float
        Of `score_only`, on the same trials.
    tried : mapping of str to float
        Cllr of each set of further inputs that was tried, on the same trials.
    held_out : bool
        Whether the figures are of speakers that the maps were not fitted on.
    """

    prior: float
    score_only: LinearMap
    with_quality: LinearMap | None
    cllr: float
    min_cllr: float
    cllr_score_only: float
    tried: Mapping[str, float]
    held_out: bool

    def llr(self, score: float, *, speech_s: float | None = None, snr_db: float | None = None) -> float:
        """Natural log-likelihood ratio of one score.

        Parameters
        ----------
        score : float
        speech_s, snr_db : float, optional
            The lower one of the two sides. Without both of them the score alone is used.

        Examples
        --------
        >>> plain = LinearMap(-6.0, {"score": 10.0}, {"score": 0.5})
        >>> LlrMapping(0.5, plain, None, 0.1, 0.1, 0.1, {}, True).llr(0.75)
        1.5
        """
        speech = math.log(speech_s) if speech_s else math.nan
        snr = math.nan if snr_db is None else snr_db
        known = {SCORE: score, LOG_SPEECH: speech, SNR: snr}
        quality = self.with_quality
        if quality is None or all(math.isnan(known[name]) for name in quality.weights if name != SCORE):
            return float(self.score_only(known))
        return float(quality(known))

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        plain = {name: value for name, value in vars(self).items() if name not in {"score_only", "with_quality"}}
        return plain | {
            "tried": dict(self.tried),
            "score_only": _map_to_json(self.score_only),
            "with_quality": None if self.with_quality is None else _map_to_json(self.with_quality),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> LlrMapping:
        """Read what `to_json` gave."""
        quality = values["with_quality"]
        maps = {
            "score_only": LinearMap(**values["score_only"]),
            "with_quality": None if quality is None else LinearMap(**quality),
        }
        return cls(**(dict(values) | maps))


def _map_to_json(found: LinearMap) -> dict[str, Any]:
    return {"intercept": found.intercept, "weights": dict(found.weights), "centres": dict(found.centres)}
