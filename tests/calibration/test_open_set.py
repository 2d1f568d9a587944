from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsv.calibration.open_set import (
    bound_in_larger_gallery,
    false_negatives,
    false_positives,
    fmr_bound,
    probes_needed,
    search_rate,
    speakers_to_trust,
    threshold_at_fpir,
)
from vecsv.calibration.operating_points import rate_interval
from vecsv.errors import CalibrationError, UsageError

SCORES = st.lists(st.floats(-1, 1, width=32), min_size=20, max_size=120)
RATES = st.sampled_from([Fraction(1, 20), Fraction(1, 10), Fraction(1, 3), 0.07, 0.5])


@given(scores=SCORES, fpir=RATES)
def test_the_threshold_stands_just_above_the_order_statistic(scores: list[float], fpir: float | Fraction) -> None:
    strangers = np.array(scores, np.float32)
    threshold = np.float32(threshold_at_fpir(strangers, fpir))
    rate = Fraction(str(fpir))
    rank = -int(-((1 - rate) * (len(scores) + 1)) // 1)
    statistic = np.sort(strangers)[rank - 1]
    assert not false_positives(np.array([statistic]), float(threshold)).any()
    assert np.nextafter(threshold, np.float32(-2)) == statistic
    assert false_positives(strangers, float(threshold)).mean() <= rate


@settings(deadline=None)
@given(scores=SCORES, fpir=RATES)
def test_of_exchangeable_searches_no_more_than_the_fpir_pass_the_threshold_of_the_others(
    scores: list[float], fpir: float | Fraction
) -> None:
    strangers = np.array(scores, np.float32)
    passing = 0
    for left_out in range(len(scores)):
        others = np.delete(strangers, left_out)
        try:
            threshold = threshold_at_fpir(others, fpir)
        except CalibrationError:
            continue
        passing += int(false_positives(strangers[left_out : left_out + 1], threshold).sum())
    assert passing <= Fraction(str(fpir)) * len(scores)


@pytest.mark.parametrize(("fpir", "needed"), [(0.01, 99), (0.001, 999), (0.03, 33), (0.5, 1)])
def test_one_search_too_few_is_an_error_that_says_what_it_takes(fpir: float, needed: int) -> None:
    assert probes_needed(fpir) == needed
    threshold_at_fpir(np.zeros(needed, np.float32), fpir)
    with pytest.raises(CalibrationError, match=rf"not supported.* {needed - 1} .*at least {needed} "):
        threshold_at_fpir(np.zeros(needed - 1, np.float32), fpir)
    assert speakers_to_trust(fpir) == int(np.ceil(round(30 / fpir, 9)))


@pytest.mark.parametrize("fpir", [0, 1, -0.1, 2, float("nan"), float("inf")])
def test_a_rate_out_of_range_is_refused(fpir: float) -> None:
    with pytest.raises(UsageError):
        threshold_at_fpir(np.zeros(1000, np.float32), fpir)


def test_all_scores_alike_let_nobody_pass() -> None:
    strangers = np.full(200, 0.5, np.float32)
    assert not false_positives(strangers, threshold_at_fpir(strangers, 0.05)).any()


def test_a_mate_who_ties_with_somebody_else_is_missed() -> None:
    mates, rivals = np.array([0.9, 0.9, 0.9, 0.4], np.float32), np.array([0.8, 0.9, 0.95, 0.1], np.float32)
    assert false_negatives(mates, rivals, 0.5).tolist() == [False, True, True, True]
    # 0.9 as a float64 is below the float32 score of that name: the comparison is made in float32.
    assert false_negatives(mates[:1], rivals[:1], 0.9).tolist() == [False]


def test_independent_searches_have_nearly_the_interval_of_clopper_and_pearson() -> None:
    rate = search_rate(np.arange(3000) < 30, np.arange(3000))
    low, high = rate_interval(30, 3000)
    assert (rate.errors, rate.searches, rate.speakers, rate.rate) == (30, 3000, 3000, 0.01)
    assert rate.low == pytest.approx(low, rel=0.01)
    assert rate.high == pytest.approx(high, rel=0.01)


def test_searches_by_one_speaker_tell_no_more_than_one() -> None:
    errors = np.repeat(np.arange(300) < 3, 10)
    repeated = search_rate(errors, np.repeat(np.arange(300), 10))
    once = search_rate(np.arange(300) < 3, np.arange(300))
    assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high), rel=0.02)


def test_false_alarms_that_all_find_one_speaker_tell_less() -> None:
    errors, speakers = np.arange(1000) < 20, np.arange(1000)
    many = search_rate(errors, speakers, np.arange(1000)[::-1].copy())
    one = search_rate(errors, speakers, np.full(1000, 7))
    assert one.high - one.low > 1.5 * (many.high - many.low)


@pytest.mark.parametrize(("errors", "low", "high"), [(0, 0.0, 0.06), (50, 0.94, 1.0)])
def test_no_error_and_nothing_but_errors_have_an_open_end(errors: int, low: float, high: float) -> None:
    rate = search_rate(np.arange(50) < errors, np.arange(50))
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=0.002)
    assert rate.low in (0.0, rate.low) and 0 <= rate.low <= rate.rate <= rate.high <= 1


def test_one_speaker_alone_shows_next_to_nothing() -> None:
    rate = search_rate(np.arange(100) < 0, np.zeros(100, np.int64))
    assert rate.high > 0.9


@given(
    data=st.data(),
    speakers=st.lists(st.integers(0, 9), min_size=1, max_size=60),
)
def test_the_interval_holds_the_rate(data: st.DataObject, speakers: list[int]) -> None:
    size = len(speakers)
    errors = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    closest = np.array(data.draw(st.lists(st.integers(0, 9), min_size=size, max_size=size)))
    for found in (None, closest):
        rate = search_rate(errors, np.array(speakers), found)
        assert 0 <= rate.low <= rate.rate <= rate.high <= 1


@given(fpir=st.floats(1e-6, 0.5), size=st.integers(1, 10_000), times=st.integers(1, 50))
def test_the_bounds_are_those_of_independent_comparisons(fpir: float, size: int, times: int) -> None:
    assert bound_in_larger_gallery(fmr_bound(fpir, size), 1, size) == pytest.approx(fpir, rel=1e-9)
    assert bound_in_larger_gallery(fpir, size, size * times) == pytest.approx(1 - (1 - fpir) ** times, rel=1e-6)
