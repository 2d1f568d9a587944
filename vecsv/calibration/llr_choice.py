"""Which map from scores to log-likelihood ratios to keep: the score alone, or with speech duration and noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Flags, Scores
from vecsv.calibration.counts import error_counts
from vecsv.calibration.llr import LOG_SPEECH, PRIOR, SCORE, SNR, Column, LinearMap, LlrMapping, fit
from vecsv.calibration.metrics import cllr, min_cllr

#: Share of the score's own Cllr that further inputs must save on held-out speakers before they are kept.
MARGIN = 0.02
#: And so they must in this share of the draws of a bootstrap by speaker.
CONFIDENCE = 0.9
_REPLICATES = 500
_CANDIDATES = ((LOG_SPEECH,), (SNR,), (LOG_SPEECH, SNR))


@dataclass(frozen=True, eq=False)
class LlrTrials:
    """Trials as a likelihood ratio sees them, as arrays of one length.

    Attributes
    ----------
    score : float32
    target : bool
    quality : mapping of str to float64
        See `vecsv.calibration.trials.Sides`.
    first_speaker, second_speaker : int64
    """

    score: Scores
    target: Flags
    quality: Mapping[str, Column]
    first_speaker: NDArray[np.int64]
    second_speaker: NDArray[np.int64]

    def inputs(self, names: tuple[str, ...]) -> dict[str, Column]:
        """The score and further inputs of these names."""
        return {SCORE: self.score.astype(np.float64), **{name: self.quality[name] for name in names}}


def choose_llr(to_fit: LlrTrials, held_out: LlrTrials | None, *, seed: int) -> LlrMapping:
    """Fit the maps on some trials and keep the one that others favour.

    Duration and noise are kept when they lower the Cllr of the held-out trials by more than `MARGIN` of it, and by
    anything at all in `CONFIDENCE` of the draws of a bootstrap by speaker. Without held-out trials nothing but the
    score is used.
    """
    score_only = fit(to_fit.inputs(()), to_fit.target)
    reported = held_out or to_fit
    plain = score_only(reported.inputs(()))
    costs = {SCORE: cllr(plain, reported.target)}
    maps: dict[str, tuple[LinearMap, Column]] = {}
    if held_out is not None:
        for names in _CANDIDATES:
            if all(_varies(to_fit.quality[name]) for name in names):
                found = fit(to_fit.inputs(names), to_fit.target)
                ratios = found(held_out.inputs(names))
                key = ", ".join(names)
                maps[key] = found, ratios
                costs[key] = cllr(ratios, held_out.target)
    best = min(costs, key=lambda key: costs[key])
    kept = SCORE
    if held_out is not None and best != SCORE:
        surely = largest_change(held_out, plain, maps[best][1], seed=seed) < 0
        if surely and costs[best] < (1 - MARGIN) * costs[SCORE]:
            kept = best
    in_use = plain if kept == SCORE else maps[kept][1]
    return LlrMapping(
        prior=PRIOR,
        score_only=score_only,
        with_quality=None if kept == SCORE else maps[kept][0],
        cllr=costs[kept],
        min_cllr=min_cllr(error_counts(in_use, reported.target)),
        cllr_score_only=costs[SCORE],
        tried={key: cost for key, cost in costs.items() if key != SCORE},
        held_out=held_out is not None,
    )


def _varies(column: Column) -> bool:
    known = column[~np.isnan(column)]
    return bool(known.size > 0 and known.min() < known.max())


def largest_change(trials: LlrTrials, before: Column, after: Column, *, seed: int) -> float:
    """Upper end of the change in Cllr from one set of ratios to another, by a bootstrap of the speakers, in bits."""
    from scipy.sparse import csr_array

    sign = np.where(trials.target, -1.0, 1.0)
    change = np.logaddexp(0, sign * after) - np.logaddexp(0, sign * before)
    names, codes = np.unique(np.concatenate([trials.first_speaker, trials.second_speaker]), return_inverse=True)
    first, second = codes[: change.size], codes[change.size :]
    speakers, target = names.size, trials.target
    weights = np.random.default_rng(seed).multinomial(speakers, np.full(speakers, 1 / speakers), _REPLICATES)
    weights = weights.astype(np.float64)

    def of_targets(values: Column) -> Column:
        return np.asarray(weights @ np.bincount(first[target], values[target], speakers))

    def of_non_targets(values: Column) -> Column:
        pairs = csr_array((values[~target], (first[~target], second[~target])), shape=(speakers, speakers))
        return np.asarray(np.einsum("sr,rs->r", pairs @ weights.T, weights))

    counts = np.ones(change.size)
    missed, accepted = of_targets(counts), of_non_targets(counts)
    # A draw that leaves no trial of a kind says nothing.
    usable = (missed > 0) & (accepted > 0)
    if not usable.any():
        return math.inf
    bits = of_targets(change)[usable] / missed[usable] + of_non_targets(change)[usable] / accepted[usable]
    return float(np.quantile(bits, CONFIDENCE) / (2 * math.log(2)))
