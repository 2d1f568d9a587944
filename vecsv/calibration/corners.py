"""Error counts at the corners of the ROC, from sorted scores: fifty million pairs cannot have an entry each."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import numpy as np

from vecsv.calibration.counts import ErrorCounts, Floats, Number, exact_number


def corner_counts(targets: Floats, non_targets: Floats, rates: Iterable[Number] = ()) -> ErrorCounts:
    """Count the errors at the thresholds that the metrics can depend on, and leave out the others.

    Between two neighbouring target scores only the false accepts change, so the ROC is a straight line there and its
    inner points decide nothing: not the areas, the crossings and the hull, and no cost is lowest at them. Kept are
    the distinct target scores, the scores next to them, those where FMR and FNMR are closest, and the places of the
    given false match rates.

    Parameters
    ----------
    targets, non_targets : ndarray, ascending, of one dtype
        Scores of the two kinds of trial; finite, at least one each.
    rates : iterable of float or Fraction
        False match rates whose thresholds will be asked for (`vecsv.calibration.counts.threshold_at_fmr`).

    Returns
    -------
    ErrorCounts
        Everything in `vecsv.calibration.metrics` gives with it what it gives with the full counts, at the same
        thresholds, and so do `nearest_rates` and `reported_threshold`. `index_of` does not: it holds for thresholds
        that are among these only.

    Examples
    --------
    >>> counts = corner_counts(np.float32([0.97]), np.linspace(0, 1, 10_001, dtype=np.float32))
    >>> counts.thresholds.size, counts.misses[-1].item(), counts.false_accepts[0].item()
    (8, 1, 10001)
    """
    if 3 * targets.size > non_targets.size:
        kept = np.unique(np.concatenate([targets, non_targets]))
    else:
        distinct = targets[np.append(True, targets[1:] != targets[:-1])]
        below = np.searchsorted(non_targets, distinct, side="left")
        above = np.searchsorted(non_targets, distinct, side="right")
        bounds = [_just_above(non_targets, rate) for rate in rates]
        positions = np.concatenate([[0], below[below > 0] - 1, above[above < non_targets.size], *bounds])
        kept = np.unique(np.concatenate([distinct, non_targets[positions.astype(np.intp)]]))
        kept = np.union1d(kept, _where_rates_meet(_counted(targets, non_targets, kept), non_targets))
    return _counted(targets, non_targets, kept)


def _counted(targets: Floats, non_targets: Floats, kept: Floats) -> ErrorCounts:
    misses = np.append(np.searchsorted(targets, kept, side="left"), targets.size)
    false_accepts = np.append(non_targets.size - np.searchsorted(non_targets, kept, side="left"), 0)
    thresholds = cast(Floats, np.append(kept, kept.dtype.type(np.inf)))
    for array in (thresholds, misses, false_accepts):
        array.setflags(write=False)
    return ErrorCounts(thresholds, misses, false_accepts, int(targets.size), int(non_targets.size))


def _where_rates_meet(corners: ErrorCounts, non_targets: Floats) -> Floats:
    """The scores around the place where FMR and FNMR are closest, which may lie between two corners."""
    gap = corners.misses * corners.non_targets - corners.false_accepts * corners.targets
    # From the corner before it on, the misses are those of the first corner at which FNMR is not the lower one.
    misses = int(corners.misses[np.searchsorted(gap, 0, side="left")])
    return _neighbours(non_targets, non_targets.size - misses * non_targets.size // corners.targets)


def _neighbours(scores: Floats, position: int) -> Floats:
    """Distinct scores around a position: itself, three below and three above."""
    middle = scores[min(max(position, 0), scores.size - 1)]
    found = [middle]
    lower = upper = middle
    for _ in range(3):
        below = int(np.searchsorted(scores, lower, side="left"))
        if below:
            lower = scores[below - 1]
            found.append(lower)
        above = int(np.searchsorted(scores, upper, side="right"))
        if above < scores.size:
            upper = scores[above]
            found.append(upper)
    positions = np.searchsorted(scores, np.unique(found))
    return scores[positions]


def _just_above(non_targets: Floats, rate: Number) -> list[int]:
    """Positions of the highest score that a rate forbids to accept, and of the next score above it."""
    allowed = math.floor(exact_number(rate, "the false match rate", below=1) * non_targets.size)
    forbidden = non_targets.size - 1 - allowed
    following = int(np.searchsorted(non_targets, non_targets[forbidden], side="right"))
    return [forbidden, following] if following < non_targets.size else [forbidden]
