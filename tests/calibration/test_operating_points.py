from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from tests.calibration.reference import counted, joined, trials
from vecsv.calibration.counts import error_counts
from vecsv.calibration.metrics import best_f1, eer, min_dcf
from vecsv.calibration.operating_points import OperatingPoint, operating_points, rate_interval
from vecsv.errors import CalibrationError

NAMES = ["eer", "min-dcf-0.01", "best-f1-0.01", "fmr-0.01", "fmr-0.001"]


def _normal(targets: int, non_targets: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return joined(random.normal(0.8, 0.06, targets), random.normal(0.5, 0.1, non_targets), np.float32)


def _named(scores: np.ndarray, labels: np.ndarray) -> dict[str, OperatingPoint]:
    return {point.name: point for point in operating_points(scores, labels)}


def test_the_five_points_come_in_their_order() -> None:
    assert [point.name for point in operating_points(*_normal(50, 500))] == NAMES


@given(trials)
def test_counts_of_each_point_are_those_of_deciding_with_its_threshold(
    pair: tuple[list[float], list[float]],
) -> None:
    scores, labels = joined(*pair, np.float32)
    for point in operating_points(scores, labels):
        accepted = scores >= np.float32(point.threshold)
        assert point.false_accepts == np.count_nonzero(accepted & ~labels)
        assert point.misses == np.count_nonzero(~accepted & labels)
        assert (point.targets, point.non_targets) == (labels.sum(), (~labels).sum())
        assert (point.fmr, point.fnmr) == (point.false_accepts / point.non_targets, point.misses / point.targets)


@given(trials)
def test_value_of_each_point_is_the_figure_of_its_criterion(pair: tuple[list[float], list[float]]) -> None:
    counts = counted(*pair, np.float32)
    points = _named(*joined(*pair, np.float32))
    assert points["eer"].value == eer(counts)
    assert points["min-dcf-0.01"].value == min_dcf(counts, 0.01).normalised
    assert points["best-f1-0.01"].value == best_f1(counts, 0.01).f1
    assert points["fmr-0.01"].value == 0.01
    assert points["fmr-0.001"].fmr <= 0.001


def test_eer_point_decides_where_the_rates_are_closest() -> None:
    scores, labels = _normal(300, 3000)
    counts = error_counts(scores, labels)
    point = _named(scores, labels)["eer"]
    assert abs(point.fmr - point.fnmr) == np.abs(counts.fmr - counts.fnmr).min()


def test_plenty_of_pairs_and_errors_leave_nothing_to_say() -> None:
    for point in operating_points(*_normal(2000, 198_000)):
        assert point.supported
        assert point.note is None


@pytest.mark.parametrize(("non_targets", "supported"), [(2999, False), (3000, True)])
def test_an_fmr_takes_three_over_it_non_targets(non_targets: int, supported: bool) -> None:
    point = _named(*_normal(100, non_targets))["fmr-0.001"]
    assert point.supported is supported
    assert (
        "not supported by 2999 non-target pairs: to show an FMR of 0.001 takes 3000" in str(point.note)
    ) != supported


@pytest.mark.parametrize(("targets", "supported"), [(29, False), (30, True)])
def test_an_eer_takes_thirty_targets_but_an_fmr_does_not(targets: int, supported: bool) -> None:
    points = _named(*_normal(targets, 5000))
    assert [points[name].supported for name in ("eer", "min-dcf-0.01", "best-f1-0.01")] == [supported] * 3
    assert points["fmr-0.01"].supported
    assert points["fmr-0.001"].supported


@pytest.mark.parametrize(("non_targets", "supported"), [(296, False), (297, True)])
def test_a_low_prior_takes_non_targets_in_proportion(non_targets: int, supported: bool) -> None:
    points = _named(*_normal(100, non_targets))
    assert points["min-dcf-0.01"].supported is supported
    assert points["best-f1-0.01"].supported is supported
    assert points["eer"].supported


def test_few_errors_are_said_with_their_interval() -> None:
    scores, labels = joined([0.9] * 100, [0.1] * 4990 + [0.95] * 10, np.float32)
    point = _named(scores, labels)["fmr-0.01"]
    assert point.supported
    assert point.note is not None
    assert "10 false accepts in 5000 pairs (FMR 0.0011 to 0.0034), 0 misses in 100 pairs (FNMR 0 to 0.03)" in point.note


@pytest.mark.parametrize(("errors", "said"), [(29, True), (30, False)])
def test_thirty_errors_need_no_remark(errors: int, said: bool) -> None:
    scores, labels = joined([0.1] * 40 + [0.9] * 400, [0.1] * (3000 - errors) + [0.95] * errors, np.float32)
    point = _named(scores, labels)["fmr-0.01"]
    assert (point.false_accepts, point.misses) == (errors, 40)
    assert (point.note is not None) is said


def test_rejecting_every_pair_is_said() -> None:
    point = _named(*joined([0.5] * 50, [0.9] * 5000, np.float32))["fmr-0.01"]
    assert point.threshold == math.inf
    assert "rejects every pair" in str(point.note)


def test_scores_the_wrong_way_round_are_not_supported() -> None:
    scores, labels = _normal(2000, 20_000)
    for point in operating_points(-scores, labels):
        assert not point.supported
        assert "check the speaker labels" in str(point.note)


@given(trials)
def test_a_point_survives_json(pair: tuple[list[float], list[float]]) -> None:
    for point in operating_points(*joined(*pair, np.float32)):
        text = json.dumps(point.to_json(), allow_nan=False)
        assert OperatingPoint.from_json(json.loads(text)) == point


def test_rejecting_all_is_null_in_json() -> None:
    point = _named(*joined([0.5], [0.9], np.float32))["fmr-0.01"]
    assert point.to_json()["threshold"] is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", "0.5"),
        ("threshold", -math.inf),
        ("threshold", True),
        ("fmr", None),
        ("fmr", math.nan),
        ("misses", 1.5),
        ("misses", -1),
        ("misses", True),
        ("supported", 1),
        ("name", None),
        ("note", 3),
    ],
)
def test_a_member_of_the_wrong_type_is_an_error(name: str, value: Any) -> None:
    values = operating_points(*_normal(50, 500))[0].to_json() | {name: value}
    with pytest.raises(CalibrationError, match=f"{name} is"):
        OperatingPoint.from_json(values)


def test_missing_members_are_named() -> None:
    values = operating_points(*_normal(50, 500))[0].to_json()
    del values["threshold"], values["misses"]
    with pytest.raises(CalibrationError, match="operating point 'eer': threshold, misses missing"):
        OperatingPoint.from_json(values)


def test_whole_numbers_in_json_are_read_as_rates() -> None:
    values = operating_points(*_normal(50, 500))[0].to_json() | {"threshold": 1, "fmr": 0}
    point = OperatingPoint.from_json(values)
    assert (point.threshold, point.fmr) == (1.0, 0.0)
    assert isinstance(point.threshold, float)


@pytest.mark.parametrize(("errors", "trials"), [(0, 40), (1, 40), (12, 400), (40, 40)])
def test_interval_ends_are_where_the_binomial_tails_are_five_percent(errors: int, trials: int) -> None:
    def tail(counts: Iterable[int], rate: float) -> float:
        return math.fsum(math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in counts)

    low, high = rate_interval(errors, trials)
    assert low <= errors / trials <= high
    if errors > 0:
        assert tail(range(errors, trials + 1), low) == pytest.approx(0.05)
    else:
        assert low == 0
    if errors < trials:
        assert tail(range(errors + 1), high) == pytest.approx(0.05)
    else:
        assert high == 1


def test_interval_of_thirty_errors_is_thirty_percent_either_way() -> None:
    low, high = rate_interval(30, 100_000)
    assert low == pytest.approx(30e-5 * 0.7, rel=0.06)
    assert high == pytest.approx(30e-5 * 1.3, rel=0.06)
