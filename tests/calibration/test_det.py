from __future__ import annotations

import numpy as np
from hypothesis import given

from tests.calibration.reference import counted, trials
from vecsv.calibration.counts import error_counts
from vecsv.calibration.det import det_points

Trials = tuple[list[float], list[float]]


@given(trials)
def test_det_points_lie_on_the_curve_and_inside_the_axes(pair: Trials) -> None:
    counts = counted(*pair)
    curve = det_points(counts)
    assert np.all(np.diff(curve.thresholds) > 0)
    for threshold, fmr, fnmr in zip(curve.thresholds, curve.fmr, curve.fnmr, strict=True):
        place = counts.index_of(float(threshold))
        assert fmr == np.clip(counts.fmr[place], 0.5 / counts.non_targets, 1 - 0.5 / counts.non_targets)
        assert fnmr == np.clip(counts.fnmr[place], 0.5 / counts.targets, 1 - 0.5 / counts.targets)
    assert curve.fmr_at_30_errors is None


def test_det_of_many_trials_is_thinned_without_moving() -> None:
    random = np.random.default_rng(1)
    labels = np.arange(200_000) < 20_000
    counts = error_counts(random.normal(2.0 * labels).astype(np.float32), labels)
    curve = det_points(counts, most=500)
    assert 100 < curve.fmr.size <= 510
    assert curve.fmr_at_30_errors == 30 / 180_000
    assert curve.fnmr_at_30_errors == 30 / 20_000
    drawn = np.interp(counts.thresholds[1:-1], curve.thresholds[:-1], curve.fnmr[:-1])
    assert np.abs(drawn - counts.fnmr[1:-1]).max() < 0.01
