from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calibration.reference import joined, trials
from vecsv.calibration.rates import Rates, count_errors


@given(trials, st.floats(-2, 2, width=32))
def test_errors_are_those_of_deciding_every_trial(pair: tuple[list[float], list[float]], threshold: float) -> None:
    rates = count_errors(threshold, *joined(*pair, np.float32))
    assert rates.misses == sum(score < threshold for score in pair[0])
    assert rates.false_accepts == sum(score >= threshold for score in pair[1])
    assert (rates.targets, rates.non_targets) == (len(pair[0]), len(pair[1]))
    assert (rates.fnmr, rates.fmr) == (rates.misses / rates.targets, rates.false_accepts / rates.non_targets)


def test_rejecting_all_misses_every_target() -> None:
    rates = count_errors(np.inf, *joined([0.5], [0.9], np.float32))
    assert (rates.fmr, rates.fnmr) == (0, 1)


def test_no_trial_of_a_kind_has_no_rate() -> None:
    rates = count_errors(0.5, np.float32([0.1, 0.9]), np.array([True, True]))
    assert (rates.fmr, rates.fnmr) == (None, 0.5)


def test_a_score_at_the_threshold_is_accepted_in_float32() -> None:
    assert count_errors(0.1, np.float32([0.1]), np.array([True])).misses == 0


@pytest.mark.parametrize("interval", [None, (0.25, 0.75)])
def test_rates_survive_json(interval: tuple[float, float] | None) -> None:
    rates = Rates(1, 2, 4, 8, 0.125, 0.5, interval, interval)
    assert Rates.from_json(json.loads(json.dumps(rates.to_json()))) == rates
