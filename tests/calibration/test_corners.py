from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given

from tests.calibration.reference import counted, trials
from vecsv.calibration.corners import corner_counts
from vecsv.calibration.counts import ErrorCounts, nearest_rates, reported_threshold, threshold_at_fmr
from vecsv.calibration.metrics import auc, best_f1, best_precision, best_recall, eer, eer_hull, min_cllr, min_dcf

RATES = (0.5, 0.3, 0.01)


def _corners(targets: list[float], non_targets: list[float]) -> ErrorCounts:
    # Many copies of the non-targets, so that the thinning path is taken.
    return corner_counts(np.sort(np.float32(targets)), np.sort(np.float32(non_targets * 40)), RATES)


@given(trials)
def test_every_metric_and_threshold_is_that_of_the_full_counts(pair: tuple[list[float], list[float]]) -> None:
    targets, non_targets = pair
    thin, full = _corners(targets, non_targets), counted(targets, non_targets * 40, np.float32)
    assert eer(thin) == eer(full)
    assert auc(thin) == auc(full)
    assert eer_hull(thin) == pytest.approx(eer_hull(full), abs=1e-14)
    assert min_cllr(thin) == pytest.approx(min_cllr(full), abs=1e-12)
    places: list[Callable[[ErrorCounts], int]] = [
        nearest_rates,
        best_recall,
        lambda counts: best_precision(counts, 0.01),
        lambda counts: min_dcf(counts, 0.01).index,
        lambda counts: best_f1(counts, 0.01).index,
        *(lambda counts, rate=rate: threshold_at_fmr(counts, rate) for rate in RATES),
    ]
    for place in places:
        at_thin, at_full = place(thin), place(full)
        assert reported_threshold(thin, at_thin) == reported_threshold(full, at_full)
        assert thin.misses[at_thin] == full.misses[at_full]
        assert thin.false_accepts[at_thin] == full.false_accepts[at_full]


def test_a_million_non_targets_leave_a_few_corners_for_a_few_targets() -> None:
    random = np.random.default_rng(0)
    targets, non_targets = np.sort(random.random(50, np.float32)), np.sort(random.random(1_000_000, np.float32))
    assert corner_counts(targets, non_targets).thresholds.size <= 3 * 50 + 9
