from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests.calibration.reference import counted, joined, roc, trials
from vecsv.calibration.counts import (
    error_counts,
    exact_number,
    nearest_rates,
    reported_threshold,
    threshold_at_fmr,
)
from vecsv.errors import CalibrationError, UsageError

finite32 = st.floats(-4, 4, width=32)


@given(trials)
def test_counts_are_those_of_trying_every_threshold(pair: tuple[list[float], list[float]]) -> None:
    counts = counted(*pair, np.float32)
    for (threshold, fmr, fnmr), index in zip(roc(*pair), range(counts.thresholds.size), strict=True):
        assert counts.thresholds[index] == threshold
        assert Fraction(int(counts.false_accepts[index]), counts.non_targets) == fmr
        assert Fraction(int(counts.misses[index]), counts.targets) == fnmr


def test_rates_are_counts_over_trials() -> None:
    counts = counted([0.5, 0.75], [0.25, 0.5, 0.5])
    assert counts.thresholds.tolist() == [0.25, 0.5, 0.75, math.inf]
    assert counts.fmr.tolist() == [1, 2 / 3, 0, 0]
    assert counts.fnmr.tolist() == [0, 0, 0.5, 1]


@given(trials, st.randoms(use_true_random=False))
def test_counts_do_not_depend_on_the_order_of_trials(
    pair: tuple[list[float], list[float]], random: np.random.Generator
) -> None:
    values, labels = joined(*pair)
    order = list(range(values.size))
    random.shuffle(order)
    one, other = error_counts(values, labels), error_counts(values[order], labels[order])
    for name in ("thresholds", "misses", "false_accepts"):
        assert np.array_equal(getattr(one, name), getattr(other, name))


@given(trials)
def test_counts_of_swapped_classes_and_negated_scores_mirror_each_other(pair: tuple[list[float], list[float]]) -> None:
    targets, non_targets = pair
    counts = counted(targets, non_targets)
    mirrored = counted([-score for score in non_targets], [-score for score in targets])
    assert np.array_equal(mirrored.misses, counts.false_accepts[::-1])
    assert np.array_equal(mirrored.false_accepts, counts.misses[::-1])


def test_served_dtype_is_kept() -> None:
    assert error_counts(np.float32([0.1, 0.9]), np.array([False, True])).thresholds.dtype == np.float32
    assert error_counts([0.1, 0.9], np.array([False, True])).thresholds.dtype == np.float64


def test_counts_cannot_be_changed() -> None:
    counts = counted([0.5], [0.25])
    with pytest.raises(ValueError, match="read-only"):
        counts.misses[0] = 7


@given(trials, st.floats(-2, 2, width=32) | st.sampled_from([math.inf, -math.inf, 1e300]))
def test_any_threshold_decides_as_its_position_does(pair: tuple[list[float], list[float]], threshold: float) -> None:
    counts = counted(*pair, np.float32)
    index = counts.index_of(threshold)
    assert counts.misses[index] == sum(score < threshold for score in pair[0])
    assert counts.false_accepts[index] == sum(score >= threshold for score in pair[1])


def test_threshold_is_compared_in_float32() -> None:
    counts = counted([0.1], [0.0], np.float32)
    assert float(np.float32(0.1)) > 0.1
    assert counts.misses[counts.index_of(0.1)] == 0
    assert counts.misses[counts.index_of(0.1 + 2e-9)] == 0


def test_nan_is_no_threshold() -> None:
    with pytest.raises(UsageError, match="NaN"):
        counted([0.1], [0.0]).index_of(math.nan)


@pytest.mark.parametrize(("labels", "message"), [([True, True], "2 targets and 0 non"), ([False, False], "0 targets")])
def test_one_kind_of_trial_is_an_error_with_the_counts(labels: list[bool], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        error_counts([0.1, 0.2], np.array(labels))


def test_no_trial_at_all_is_an_error() -> None:
    with pytest.raises(CalibrationError, match="0 targets and 0 non-targets"):
        error_counts([], np.array([], dtype=bool))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_an_error_with_the_first_place(bad: float) -> None:
    values = np.array([0.1, 0.2, bad, bad, 0.3], dtype=np.float32)
    with pytest.raises(CalibrationError, match=r"trial 2: 2 of 5 scores are not finite"):
        error_counts(values, np.array([True, False, True, False, True]))


@pytest.mark.parametrize("labels", [np.array([1, 0]), np.array([True]), np.array([[True, False]])])
def test_labels_that_do_not_fit_are_an_error(labels: np.ndarray) -> None:
    with pytest.raises(CalibrationError, match="do not go together"):
        error_counts([0.1, 0.2], labels)


@given(trials, st.sampled_from([0.5, 0.25, 0.1, 0.01, Fraction(1, 3)]))
def test_threshold_at_fmr_is_the_lowest_that_keeps_to_it(
    pair: tuple[list[float], list[float]], rate: float | Fraction
) -> None:
    counts = counted(*pair)
    lowest = min(t for t, fmr, _ in roc(*pair) if fmr <= Fraction(str(rate)))
    assert counts.thresholds[threshold_at_fmr(counts, rate)] == lowest


def test_threshold_at_fmr_takes_the_rate_at_its_word() -> None:
    # 0.07 * 100 is 7.000000000000001 in floating point and 0.29 * 100 is 28.999999999999996.
    counts = counted([2.0], [k / 100 for k in range(100)])
    for rate, allowed in ((0.07, 7), (0.29, 29), (0.57, 57)):
        assert counts.false_accepts[threshold_at_fmr(counts, rate)] == allowed


def test_threshold_at_fmr_may_be_rejecting_all() -> None:
    counts = counted([0.1], [0.9])
    assert counts.thresholds[threshold_at_fmr(counts, 0.5)] == math.inf


@given(trials)
def test_nearest_rates_are_the_closest_and_of_ties_the_higher(pair: tuple[list[float], list[float]]) -> None:
    counts = counted(*pair)
    _, best = min((abs(fmr - fnmr), -threshold) for threshold, fmr, fnmr in roc(*pair))
    assert counts.thresholds[nearest_rates(counts)] == -best


@given(
    npst.arrays(np.float32, st.integers(2, 12), elements=finite32),
    st.data(),
)
def test_reported_threshold_decides_like_its_position(values: np.ndarray, data: st.DataObject) -> None:
    labels = np.arange(values.size) < data.draw(st.integers(1, values.size - 1))
    counts = error_counts(values, labels)
    for index in range(counts.thresholds.size):
        threshold = reported_threshold(counts, index)
        assert counts.index_of(threshold) == index
        accepted = values >= np.float32(threshold)
        assert np.count_nonzero(accepted & ~labels) == counts.false_accepts[index]
        assert np.count_nonzero(~accepted & labels) == counts.misses[index]
        assert float(np.float32(threshold)) == threshold


def test_reported_threshold_lies_halfway() -> None:
    counts = counted([0.75], [0.25], np.float32)
    assert reported_threshold(counts, 1) == 0.5


def test_reported_threshold_of_neighbours_is_the_upper_one() -> None:
    # Halfway between neighbours float32 rounds to the even one: once to the lower, once to the upper.
    for lower in (np.float32(0.5), np.float32(np.nextafter(np.float32(0.5), np.float32(1)))):
        upper = np.nextafter(lower, np.float32(1))
        counts = counted([float(upper)], [float(lower)], np.float32)
        assert reported_threshold(counts, 1) == upper


def test_reported_threshold_of_scores_finer_than_float32_is_the_upper_one() -> None:
    counts = counted([0.1 + 2e-10], [0.1 + 1e-10])
    assert reported_threshold(counts, 1) == 0.1 + 2e-10


def test_reported_threshold_of_accepting_all_is_the_lowest_score() -> None:
    assert reported_threshold(counted([0.75], [0.25]), 0) == 0.25


@pytest.mark.parametrize("value", [0, -0.1, 1, 1.5, math.nan, math.inf])
def test_a_number_out_of_range_is_an_error(value: float) -> None:
    with pytest.raises(UsageError, match=f"the prior must be above 0 and below 1, not {value}"):
        exact_number(value, "the prior", below=1)


@given(st.fractions(min_value=Fraction(1, 1000), max_value=1000))
def test_a_fraction_is_taken_as_it_is(value: Fraction) -> None:
    assert exact_number(value, "the cost") == value
