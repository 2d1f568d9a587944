"""Error rates of trials whose speakers were drawn again.

A replicate gives every speaker a weight; a target trial counts its speaker's weight, a non-target trial the product of
its two speakers' weights (A. Owen, "The pigeonhole bootstrap", 2007). Products of weights vary up to three times as
much as the pairs themselves do, and few speakers vary less than many: so the replicates' deviations are stretched, at
each threshold, to the variance that the residuals show. For FNMR that is the jackknife's. For FMR it is the
jackknife's less *half* of what it counts twice, the noise of single pairs: less all of it is right for speakers who are
alike (P. Aronow et al., "Cluster-robust variance estimation for dyadic data", 2015) and too narrow where few carry the
errors; ``benchmarks/coverage.py`` has populations of both kinds.
"""

from __future__ import annotations

import math

import numpy as np

from vecsv.calibration.speaker_pairs import Rates, SpeakerPairs, Weights
from vecsv.errors import UsageError

# Weights are 1 + _PACE * (Exp(1) - 1): never 0, so every replicate has trials, and near enough to 1 for their effect
# to be nearly linear; the stretching undoes the pace.
_PACE = 0.5
_PAIR_NOISE_TAKEN = 0.5


def draw(speakers: int, replicates: int, seed: int) -> Weights:
    """Weights of the speakers in each replicate, shape (speakers, replicates)."""
    random = np.random.default_rng(seed)
    weights: Weights = 1 - _PACE + _PACE * random.standard_exponential((speakers, replicates), dtype=np.float32)
    return weights


class Replicates:
    """Error rates of the trials and of the replicates, from accepting all to rejecting all.

    The grid's thresholds have positions from 1; 0 accepts every trial, the last rejects every trial.

    Attributes
    ----------
    fmr, fnmr : ndarray of float64, shape (positions,)
        Measured rates.
    fmr_variance, fnmr_variance, fmr_freedom, fnmr_freedom : ndarray of float64, shape (positions,)
        Of those, and the variances' degrees of freedom.
    all_fmr, all_fnmr : ndarray of float64, shape (positions, replicates)
        Rates of the replicates.
    """

    def __init__(self, system: SpeakerPairs, weights: Weights) -> None:
        spread, fewest = system.spread(), 1e-300
        fmr_variance = np.maximum(spread.fmr_left_out - _PAIR_NOISE_TAKEN * spread.fmr_pairs, spread.fmr_pairs)
        drawn_variance = _PACE**2 * spread.fmr_speakers + _PACE**4 * spread.fmr_pairs
        fmr, fnmr = (rates[:, 0] for rates in system.rates(np.ones((system.speakers, 1), np.float32)))
        all_fmr, all_fnmr = system.rates(weights)
        fmr_stretch = np.sqrt(fmr_variance / np.maximum(drawn_variance, fewest))
        fnmr_stretch = np.sqrt(spread.fnmr_left_out / np.maximum(_PACE**2 * spread.fnmr_speakers, fewest))
        self._grid = system.grid
        self.fmr, self.fnmr = _ends(fmr, 1.0), _ends(fnmr, 0.0)
        self.fmr_variance, self.fnmr_variance = _ends(fmr_variance, 0.0, 0.0), _ends(spread.fnmr_left_out, 0.0, 0.0)
        certain = float(system.speakers - 1)
        self.fmr_freedom = _ends(spread.fmr_freedom, certain, certain)
        self.fnmr_freedom = _ends(spread.fnmr_freedom, certain, certain)
        self.all_fmr = _ends(_stretched(fmr, all_fmr, fmr_stretch), 1.0)
        self.all_fnmr = _ends(_stretched(fnmr, all_fnmr, fnmr_stretch), 0.0)

    def at(self, threshold: float) -> int:
        """Position of a threshold that is in the grid, or of the first or last one."""
        if math.isnan(threshold):
            raise UsageError("a threshold must be a number, not NaN")
        if threshold == -math.inf:
            return 0
        with np.errstate(over="ignore"):
            return int(np.searchsorted(self._grid, self._grid.dtype.type(threshold), side="left")) + 1

    def freedom_where_rates_meet(self) -> float:
        """Degrees of freedom of the less certain of the two rates, where they are closest."""
        place = int(np.argmin(np.abs(self.fmr - self.fnmr)))
        return float(min(self.fmr_freedom[place], self.fnmr_freedom[place]))

    def freedom_at_lowest_cost(self, odds: float) -> float:
        """The same where the cost is lowest."""
        place = int(np.argmin(self.fnmr + odds * self.fmr))
        return float(min(self.fmr_freedom[place], self.fnmr_freedom[place]))

    def eer(self) -> Rates:
        """Of each replicate, by interpolation."""
        gap = self.all_fnmr - self.all_fmr
        after = np.argmax(gap >= 0, axis=0)
        column = np.arange(gap.shape[1])
        before = np.maximum(after - 1, 0)
        width = gap[after, column] - gap[before, column]
        share = np.divide(gap[after, column], width, out=np.zeros_like(width), where=width > 0)
        rates: Rates = self.all_fnmr[after, column] - share * (
            self.all_fnmr[after, column] - self.all_fnmr[before, column]
        )
        return rates

    def min_dcf(self, odds: float) -> Rates:
        """Of each replicate, normalised; `odds` is what a false accept costs against a miss, at the prior."""
        costs: Rates = (self.all_fnmr + odds * self.all_fmr).min(axis=0) / min(1.0, odds)
        return costs


def _ends(rates: Rates, accepting_all: float, rejecting_all: float | None = None) -> Rates:
    """Rates with a row more at either end."""
    shape = (1, *rates.shape[1:])
    last = 1 - accepting_all if rejecting_all is None else rejecting_all
    return np.concatenate([np.full(shape, accepting_all), rates, np.full(shape, last)])


def _stretched(rates: Rates, replicates: Rates, by: Rates) -> Rates:
    """Replicates moved away from the rates, or towards them, on the logit scale."""
    from scipy.special import expit, logit

    inside = (rates > 0) & (rates < 1)
    centre = logit(rates[inside])[:, None]
    tiny = np.finfo(np.float64).tiny
    moved = centre + by[inside, None] * (logit(np.clip(replicates[inside], tiny, 1 - 2**-53)) - centre)
    result = np.repeat(rates[:, None], replicates.shape[1], axis=1)
    result[inside] = expit(moved)
    return result
