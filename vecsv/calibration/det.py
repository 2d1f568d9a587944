"""The detection error trade-off (DET) curve, for drawing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecsv.calibration.counts import ErrorCounts, Floats
from vecsv.calibration.operating_points import FEW_ERRORS


@dataclass(frozen=True, eq=False)
class DetCurve:
    """Points of a detection error trade-off curve, few enough to draw.

    Attributes
    ----------
    fmr, fnmr : ndarray of float64, shape (points,)
        Rates, FMR falling and FNMR climbing; 0 and 1 are half a trial away from themselves, since a probit axis
        has no place for them.
    thresholds : ndarray, shape (points,)
        The thresholds, ascending; the last may be ``inf``.
    fmr_at_30_errors, fnmr_at_30_errors : float or None
        The rates below which fewer than 30 errors are behind a point, or None with fewer than 30 trials.
    """

    fmr: NDArray[np.float64]
    fnmr: NDArray[np.float64]
    thresholds: Floats
    fmr_at_30_errors: float | None
    fnmr_at_30_errors: float | None


def det_points(counts: ErrorCounts, *, most: int = 2000) -> DetCurve:
    """Thin a DET curve for drawing: corners only, and no two points closer than the eye can tell on probit axes.

    Parameters
    ----------
    counts : ErrorCounts
        The trials.
    most : int
        How finely to thin: a curve has about this many points at most.

    Examples
    --------
    >>> from vecsv.calibration.counts import error_counts
    >>> curve = det_points(error_counts([0.1, 0.2, 0.3, 0.4], np.array([False, False, True, True])))
    >>> curve.fmr.tolist(), curve.fnmr.tolist()
    ([0.75, 0.25, 0.25], [0.25, 0.25, 0.75])
    """
    from scipy.special import ndtri

    fmr, fnmr = _inside(counts.fmr, counts.non_targets), _inside(counts.fnmr, counts.targets)
    # A point on a straight stretch of the curve adds nothing to it.
    corner = np.ones(fmr.size, dtype=bool)
    flat = (fmr[1:-1] == fmr[:-2]) & (fmr[1:-1] == fmr[2:]) | (fnmr[1:-1] == fnmr[:-2]) & (fnmr[1:-1] == fnmr[2:])
    corner[1:-1] = ~flat
    kept = np.flatnonzero(corner)
    length = np.append(0, np.cumsum(np.abs(np.diff(ndtri(fmr[kept]))) + np.abs(np.diff(ndtri(fnmr[kept])))))
    if kept.size > most and length[-1] > 0:
        cells = np.floor(length / length[-1] * (most // 2))
        edge = np.append(True, cells[1:] != cells[:-1])
        kept = kept[edge | np.append(edge[1:], True)]
    return DetCurve(
        fmr[kept],
        fnmr[kept],
        counts.thresholds[kept],
        _rate_of_30(counts.non_targets),
        _rate_of_30(counts.targets),
    )


def _inside(rates: NDArray[np.float64], trials: int) -> NDArray[np.float64]:
    return np.clip(rates, 0.5 / trials, 1 - 0.5 / trials)


def _rate_of_30(trials: int) -> float | None:
    return FEW_ERRORS / trials if trials >= FEW_ERRORS else None
