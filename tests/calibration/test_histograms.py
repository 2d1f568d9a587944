from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from vecsv.calibration.counts import error_counts
from vecsv.calibration.evaluate import evaluate, evaluate_histograms
from vecsv.calibration.histograms import ScoreHistograms
from vecsv.errors import CalibrationError, UsageError

cosines = npst.arrays(np.float32, st.integers(2, 40), elements=st.floats(-1, 1, width=32))


def _simulated(seed: int, targets: int, non_targets: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.arange(targets + non_targets) < targets
    return np.clip(random.normal(0.6 * labels, 0.13), -1, 1).astype(np.float32), labels


@given(cosines, st.integers(1, 39))
def test_rates_at_the_edges_are_exact(values: np.ndarray, targets: int) -> None:
    labels = np.arange(values.size) < min(targets, values.size - 1)
    counts = ScoreHistograms.empty().add(values, labels).error_counts()
    for place, edge in enumerate(counts.thresholds):
        assert counts.misses[place] == np.count_nonzero(values[labels] < edge)
        assert counts.false_accepts[place] == np.count_nonzero(values[~labels] >= edge)
    assert counts.false_accepts[0] == counts.non_targets


@given(cosines, st.data())
def test_histograms_of_shards_add_up(values: np.ndarray, data: st.DataObject) -> None:
    labels = np.array(data.draw(st.lists(st.booleans(), min_size=values.size, max_size=values.size)))
    cut = data.draw(st.integers(0, values.size))
    empty = ScoreHistograms.empty(keep=5)
    whole = empty.add(values, labels)
    added = empty.add(values[:cut], labels[:cut]) + empty.add(values[cut:], labels[cut:])
    for name in ("targets", "non_targets", "highest_non_targets"):
        assert np.array_equal(getattr(whole, name), getattr(added, name))
    assert whole.highest_non_targets.tolist() == sorted(values[~labels].tolist(), reverse=True)[:5]


def test_errors_against_exact_are_those_of_narrow_bins() -> None:
    values, labels = _simulated(0, 50_000, 1_000_000)
    exact, binned = evaluate(values, labels), evaluate_histograms(ScoreHistograms.empty().add(values, labels))
    assert abs(binned.eer - exact.eer) < 1e-5
    assert abs(binned.auc - exact.auc) < 1e-6
    assert abs(binned.min_cllr - exact.min_cllr) < 1e-4
    assert abs(binned.eer_threshold - exact.eer_threshold) < 1e-4
    for one, other in zip(binned.min_dcf, exact.min_dcf, strict=True):
        assert 0 <= one.normalised - other.normalised < 1e-3
    for found, right in zip(binned.fnmr_at_fmr, exact.fnmr_at_fmr, strict=True):
        assert found.fmr <= found.asked
        assert abs(found.fnmr - right.fnmr) < 1e-3
    coarse = evaluate_histograms(ScoreHistograms.empty(bins=200).add(values, labels))
    assert abs(coarse.eer - exact.eer) > abs(binned.eer - exact.eer)


def test_threshold_in_the_tail_is_exact() -> None:
    values, labels = _simulated(1, 100, 100_000)
    exact, binned = evaluate(values, labels), evaluate_histograms(ScoreHistograms.empty().add(values, labels))
    for one, other in zip(binned.fnmr_at_fmr[1:], exact.fnmr_at_fmr[1:], strict=True):
        assert one.false_accepts == other.false_accepts
        assert np.count_nonzero(values[~labels] >= np.float32(one.threshold)) == one.false_accepts
        assert other.fnmr <= one.fnmr <= other.fnmr + 0.02


@given(cosines, st.sampled_from([0.5, 0.25, 0.1]))
def test_tail_threshold_keeps_to_its_rate_even_with_ties(values: np.ndarray, rate: float) -> None:
    found = ScoreHistograms.empty().add(values, np.zeros(values.size, bool)).tail_threshold(rate)
    assert found is not None
    threshold, accepted = found
    assert np.count_nonzero(values >= np.float32(threshold)) == accepted <= rate * values.size
    next_lower = max(value for value in values.tolist() if value < threshold)
    assert np.count_nonzero(values >= next_lower) > rate * values.size


def test_beyond_what_is_kept_there_is_no_exact_threshold() -> None:
    histograms = ScoreHistograms.empty(keep=3).add(np.linspace(0, 0.5, 100), np.zeros(100, bool))
    assert histograms.tail_threshold(0.02) is not None
    assert histograms.tail_threshold(0.03) is None


def test_scores_a_rounding_error_out_of_range_are_taken() -> None:
    beyond = np.array([1.0000002, -1.0000002], dtype=np.float32)
    counts = ScoreHistograms.empty().add(beyond, np.array([True, False])).error_counts()
    assert counts.misses.tolist() == [0, 0, 1]
    assert counts.false_accepts.tolist() == [1, 0, 0]
    assert counts.thresholds[0] <= beyond[1]


def test_another_range_holds_likelihood_ratios() -> None:
    random = np.random.default_rng(2)
    labels = np.arange(2000) < 500
    values = random.normal(6.0 * labels, 2.0).astype(np.float32)
    found = ScoreHistograms.empty(-20, 20).add(values, labels).error_counts()
    full = error_counts(values, labels)
    places = [full.index_of(float(edge)) for edge in found.thresholds]
    assert np.array_equal(found.misses, full.misses[places])
    assert np.array_equal(found.false_accepts, full.false_accepts[places])


def test_scores_out_of_range_are_an_error_that_names_the_first() -> None:
    with pytest.raises(CalibrationError, match=r"trial 1: 1 scores lie outside -1.0 to 1.0, the first is 1.5"):
        ScoreHistograms.empty().add([0.5, 1.5], np.array([True, False]))


def test_nan_is_an_error_that_names_the_first() -> None:
    with pytest.raises(CalibrationError, match="trial 1"):
        ScoreHistograms.empty().add([0.5, math.nan], np.array([True, False]))


def test_one_kind_of_trial_can_be_added_but_not_evaluated() -> None:
    histograms = ScoreHistograms.empty().add([0.5, 0.25], np.array([True, True]))
    with pytest.raises(CalibrationError, match="2 targets and 0 non-targets"):
        histograms.error_counts()


def test_only_histograms_alike_add_up() -> None:
    with pytest.raises(UsageError, match="same range"):
        ScoreHistograms.empty() + ScoreHistograms.empty(-2, 2)


@pytest.mark.parametrize("arguments", [(1.0, 1.0), (-1.0, 1.0, 0)])
def test_an_empty_range_is_an_error(arguments: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="no histogram"):
        ScoreHistograms.empty(*arguments)
