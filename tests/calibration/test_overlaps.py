from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.calibration.overlaps import overlapping_cuts
from vecsv.errors import CalibrationError

cuts = st.lists(
    st.tuples(st.integers(-1, 3), st.integers(0, 6), st.integers(1, 4)).map(
        lambda c: (c[0], c[1] / 2, (c[1] + c[2]) / 2)
    ),
    max_size=14,
)


def _listed(content: list[tuple[int, float, float]]) -> list[tuple[int, int]]:
    recordings = np.array([cut[0] for cut in content], dtype=np.int64)
    start, end = (np.array([cut[k] for cut in content], dtype=np.float64) for k in (1, 2))
    one, other = overlapping_cuts(recordings, start, end)
    return list(zip(one.tolist(), other.tolist(), strict=True))


@given(cuts)
def test_overlaps_are_those_of_comparing_all_pairs(content: list[tuple[int, float, float]]) -> None:
    expected = [
        (i, j)
        for (i, a), (j, b) in itertools.combinations(enumerate(content), 2)
        if a[0] == b[0] >= 0 and max(a[1], b[1]) < min(a[2], b[2])
    ]
    assert _listed(content) == expected


def test_cuts_that_touch_do_not_overlap() -> None:
    assert _listed([(0, 0, 1), (0, 1, 2)]) == []


def test_whole_recordings_overlap_everything_of_theirs() -> None:
    assert _listed([(5, 0, np.inf), (5, 900, 901), (6, 0, 1)]) == [(0, 1)]


def test_too_many_overlaps_are_an_error_before_they_are_listed() -> None:
    size = 15_000
    with pytest.raises(CalibrationError, match="112492500 pairs of utterances overlap"):
        overlapping_cuts(np.zeros(size, dtype=np.int64), np.zeros(size), np.ones(size))
