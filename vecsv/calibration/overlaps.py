"""Cuts or windows of one recording that share some of its time: no comparison of two voices, so never a pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecsv.calibration.populations import Positions, ranges
from vecsv.errors import CalibrationError

# 100 million pairs take several gigabytes, and no honest list of cuts overlaps that often.
MOST_OVERLAPS = 100_000_000


def overlapping_cuts(
    recordings: Positions, start: NDArray[np.float64], end: NDArray[np.float64]
) -> tuple[Positions, Positions]:
    """List all pairs of cuts of one recording that share some of its time.

    Parameters
    ----------
    recordings : ndarray of int64, shape (n,)
        Which recording each cut is from; negative for cuts that overlap nothing.
    start, end : ndarray of float64, shape (n,)
        In seconds, ``start < end``. Cuts that only touch do not overlap.

    Returns
    -------
    tuple of two ndarray of int64
        Both members of each pair, the smaller first, ascending.

    Raises
    ------
    CalibrationError
        If there are more than `MOST_OVERLAPS`.

    Examples
    --------
    >>> start, end = np.array([0.0, 2.0, 1.0]), np.array([2.0, 3.0, 2.5])
    >>> np.transpose(overlapping_cuts(np.array([0, 0, 0]), start, end)).tolist()
    [[0, 2], [1, 2]]
    """
    known = np.flatnonzero(recordings >= 0)
    order = known[np.lexsort((start[known], recordings[known]))]
    moments, moment = np.unique(start[order], return_inverse=True)
    recording = np.unique(recordings[order], return_inverse=True)[1].astype(np.int64) * (moments.size + 1)
    # Of the cuts that start later in the same recording, those that start before this one ends come right after it.
    end_moment = np.searchsorted(moments, end[order], side="left")
    first_free = np.searchsorted(recording + moment, recording + end_moment, side="left")
    following = np.arange(1, order.size + 1)
    count = first_free - following
    total = int(count.sum())
    if total > MOST_OVERLAPS:
        raise CalibrationError(
            f"{total} pairs of utterances overlap within a recording",
            hint="give the start and end of each utterance, and list each stretch of a recording once",
        )
    one, other = order[np.repeat(following - 1, count)], order[ranges(following, count)]
    lower, upper = np.minimum(one, other), np.maximum(one, other)
    ascending = np.lexsort((upper, lower))
    return lower[ascending], upper[ascending]
