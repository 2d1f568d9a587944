from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsv.calibration.llr import LOG_SPEECH, SCORE, SNR, LinearMap, LlrMapping, fit
from vecsv.calibration.metrics import cllr
from vecsv.errors import CalibrationError


def gaussian(targets: int, non_targets: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose log-likelihood ratio is 2.5 s - 3.125, and their labels."""
    random = np.random.default_rng(seed)
    scores = np.concatenate([random.normal(2.5, 1, targets), random.normal(0, 1, non_targets)])
    return scores, np.arange(scores.size) < targets


@pytest.mark.parametrize("prior", [0.5, 0.1, 0.01])
def test_the_true_ratio_of_two_gaussians_is_found_whatever_the_prior(prior: float) -> None:
    scores, labels = gaussian(20_000, 200_000)
    found = fit({SCORE: scores}, labels, prior=prior)
    assert found.weights[SCORE] == pytest.approx(2.5, rel=0.05)
    assert found.intercept == pytest.approx(-3.125, abs=0.15)


def test_cllr_of_the_golden_recipe_is_that_of_the_true_ratio(golden: dict[str, Any]) -> None:
    random = np.random.RandomState(20240)
    targets = random.normal(2.5, 1, 2000)
    scores = np.concatenate([targets, random.normal(0, 1, 198_000)])
    labels = np.arange(scores.size) < 2000
    expected = golden["large"]["L1_gaussian"]["theory"]["cllr_of_true_llr"]
    assert cllr(fit({SCORE: scores}, labels)({SCORE: scores}), labels) == pytest.approx(expected, abs=0.01)


def test_the_fit_is_where_the_weighted_loss_is_lowest() -> None:
    scores, labels = gaussian(300, 3000, seed=4)
    found = fit({SCORE: scores}, labels)
    best = cllr(found({SCORE: scores}), labels)
    for slope, shift in ((1.02, 0), (0.98, 0), (1, 0.05), (1, -0.05)):
        other = slope * found.weights[SCORE] * scores + found.intercept + shift
        assert cllr(other, labels) > best


def test_separable_scores_give_a_finite_map() -> None:
    scores = np.concatenate([np.linspace(0.8, 0.9, 20), np.linspace(0.1, 0.2, 200)])
    found = fit({SCORE: scores}, np.arange(220) < 20)
    assert 0 < found.weights[SCORE] < 200
    assert 0.2 < -found.intercept / found.weights[SCORE] < 0.8


def test_scores_all_equal_say_nothing() -> None:
    found = fit({SCORE: np.full(50, 0.3)}, np.arange(50) < 10)
    assert float(found({SCORE: 0.3})) == pytest.approx(0, abs=1e-6)


@settings(deadline=None)
@given(st.floats(0.1, 10), st.floats(-3, 3))
def test_scores_on_another_scale_give_the_same_ratios(scale: float, shift: float) -> None:
    scores, labels = gaussian(100, 300, seed=2)
    one = fit({SCORE: scores}, labels)({SCORE: scores})
    other = fit({SCORE: scale * scores + shift}, labels)({SCORE: scale * scores + shift})
    assert np.allclose(one, other, atol=1e-3)


def test_a_further_input_that_moves_the_scores_is_used() -> None:
    scores, labels = gaussian(2000, 20_000)
    moved = np.random.default_rng(1).normal(0, 2, scores.size)
    found = fit({SCORE: scores + moved, SNR: moved}, labels)
    assert found.weights[SCORE] == pytest.approx(2.5, rel=0.1)
    assert found.weights[SNR] == pytest.approx(-2.5, rel=0.1)


def test_an_unknown_input_counts_as_the_mean_one() -> None:
    scores, labels = gaussian(200, 2000)
    speech = np.random.default_rng(1).normal(1.0, 0.5, scores.size)
    speech[::3] = np.nan
    found = fit({SCORE: scores, LOG_SPEECH: speech}, labels)
    known = {SCORE: 1.0, LOG_SPEECH: found.centres[LOG_SPEECH]}
    assert float(found({SCORE: 1.0, LOG_SPEECH: math.nan})) == pytest.approx(float(found(known)))


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [([0.1, math.nan], [True, False], "not finite"), ([0.1, 0.2], [True, True], "2 targets and 0 non-targets")],
)
def test_what_cannot_be_fitted_is_an_error(scores: list[float], labels: list[bool], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        fit({SCORE: scores}, np.array(labels))


@pytest.mark.parametrize("prior", [0.0, 1.0, math.nan])
def test_a_prior_out_of_range_is_an_error(prior: float) -> None:
    with pytest.raises(CalibrationError, match="prior"):
        fit({SCORE: [0.1, 0.9]}, np.array([False, True]), prior=prior)


def mapping() -> LlrMapping:
    plain = LinearMap(-6.0, {SCORE: 10.0}, {SCORE: 0.5})
    quality = LinearMap(-7.0, {SCORE: 10.0, LOG_SPEECH: 1.0}, {SCORE: 0.5, LOG_SPEECH: 1.2})
    return LlrMapping(0.5, plain, quality, 0.2, 0.15, 0.3, {LOG_SPEECH: 0.2}, True)


def test_duration_is_used_where_it_is_known_and_the_score_alone_where_not() -> None:
    assert mapping().llr(0.75, speech_s=math.e) == pytest.approx(1.5)
    assert mapping().llr(0.75, snr_db=10.0) == pytest.approx(1.5)
    assert mapping().llr(0.75, speech_s=math.e**2) == pytest.approx(2.5)


def test_a_mapping_survives_json() -> None:
    text = json.dumps(mapping().to_json(), allow_nan=False)
    assert LlrMapping.from_json(json.loads(text)) == mapping()
