from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsv.calibration import bootstrap
from vecsv.calibration.bootstrap import Interval, paired_bootstrap, speaker_bootstrap
from vecsv.calibration.evaluate import evaluate
from vecsv.calibration.speaker_pairs import choose_grid, from_trials
from vecsv.errors import CalibrationError, UsageError

Trials = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def simulated(speakers: int, utterances: int = 5, seed: int = 0, noise: float = 1.0) -> Trials:
    random = np.random.default_rng(seed)
    codes = np.repeat(np.arange(speakers), utterances)
    vectors = random.standard_normal((speakers, 12))[codes] + noise * random.standard_normal((codes.size, 12))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    first, second = np.triu_indices(codes.size, 1)
    scores = (vectors @ vectors.T)[first, second].astype(np.float32)
    return codes[first], codes[second], scores, codes[first] == codes[second]


def weighted_rates(trials: Trials, weights: np.ndarray, threshold: float) -> tuple[float, float]:
    """FMR and FNMR as the definition reads."""
    first, second, scores, labels = trials
    weight = np.where(labels, weights[first], weights[first] * weights[second])
    accepted = scores >= np.float32(threshold)
    fmr = weight[~labels & accepted].sum() / weight[~labels].sum()
    return fmr, weight[labels & ~accepted].sum() / weight[labels].sum()


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.low, interval.value, interval.high


@given(st.integers(0, 1000), st.integers(3, 8), st.floats(0.05, 1))
@settings(max_examples=30)
def test_rates_of_weighted_speakers_are_those_of_the_definition(seed: int, speakers: int, kept: float) -> None:
    random = np.random.default_rng(seed)
    first, second, scores, labels = simulated(speakers, 4, seed)
    chosen = labels | (random.random(labels.size) < kept)
    chosen[np.flatnonzero(~labels)[:1]] = True
    trials = first[chosen], second[chosen], scores[chosen], labels[chosen]
    grid = choose_grid(np.sort(trials[2][trials[3]]), np.sort(trials[2][~trials[3]]), [0.3])
    weights = random.exponential(size=(speakers, 3)).astype(np.float32)
    fmr, fnmr = from_trials(*trials, speakers, grid).rates(weights)
    for column in range(3):
        expected = [weighted_rates(trials, weights[:, column], threshold) for threshold in grid]
        assert np.allclose(np.column_stack([fmr, fnmr])[:, [column, 3 + column]], expected, rtol=1e-5, atol=1e-7)


def test_spread_is_the_sum_of_squared_residuals() -> None:
    first, second, scores, labels = trials = simulated(7, 4)
    grid = np.float32([0.2, 0.5])
    spread = from_trials(*trials, 7, grid).spread()
    for place, threshold in enumerate(grid):
        accepted, non_targets = scores >= threshold, ~labels
        residual = np.where(non_targets, accepted - accepted[non_targets].mean(), 0.0)
        total = non_targets.sum()
        pairs = np.zeros((7, 7))
        np.add.at(pairs, (first, second), residual)
        pairs += pairs.T
        assert spread.fmr_speakers[place] == pytest.approx((pairs.sum(0) ** 2).sum() / total**2)
        assert spread.fmr_pairs[place] == pytest.approx((pairs**2).sum() / 2 / total**2)
        # Everybody has the same share of the trials' sides here.
        assert spread.fmr_left_out[place] == pytest.approx(spread.fmr_speakers[place] / (6 / 7) ** 2)
        sums = pairs.sum(0)
        kurtosis = 7 * (sums**4).sum() / (sums**2).sum() ** 2
        assert spread.fmr_freedom[place] == pytest.approx(min(max(14 / (kurtosis - 1), 2), 6))
        missed = np.array([(labels & (first == speaker) & ~accepted).sum() for speaker in range(7)])
        assert spread.fnmr_speakers[place] == pytest.approx(((missed - missed.mean()) ** 2).sum() / labels.sum() ** 2)
        assert spread.fnmr_left_out[place] == pytest.approx(spread.fnmr_speakers[place] / (6 / 7) ** 2)


@pytest.mark.parametrize("size", [(20, 5), (60, 20)])
def test_replicates_on_the_grid_are_near_those_of_every_threshold(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    trials = simulated(*size, noise=0.5)
    thinned = speaker_bootstrap(*trials, thresholds=[0.4], replicates=40)
    monkeypatch.setattr(
        bootstrap,
        "choose_grid",
        lambda targets, non_targets, asked: np.union1d(
            np.concatenate([targets, non_targets])[:: max(1, (targets.size + non_targets.size) // 20_000)],
            np.float32(asked),
        ),
    )
    full = speaker_bootstrap(*trials, thresholds=[0.4], replicates=40)
    assert _ends(thinned.eer) == pytest.approx(_ends(full.eer), rel=0.01)
    assert _ends(thinned.min_dcf) == pytest.approx(_ends(full.min_dcf), rel=0.03)
    assert _ends(thinned.fmr[0]) == pytest.approx(_ends(full.fmr[0]), rel=1e-6)
    assert _ends(thinned.fnmr[0]) == pytest.approx(_ends(full.fnmr[0]), rel=1e-6)


def test_values_are_the_measured_ones_and_lie_inside() -> None:
    first, second, scores, labels = simulated(30, noise=0.8)
    found = speaker_bootstrap(first, second, scores, labels, thresholds=[0.2, 0.6])
    metrics = evaluate(scores, labels)
    assert found.eer.value == metrics.eer
    assert found.min_dcf.value == metrics.cost("p=0.01").normalised
    for place, threshold in enumerate([0.2, 0.6]):
        accepted = scores >= np.float32(threshold)
        assert found.fmr[place].value == pytest.approx(accepted[~labels].mean(), rel=1e-6)
        assert found.fnmr[place].value == pytest.approx((~accepted)[labels].mean(), rel=1e-6)
    for interval in (found.eer, found.min_dcf, *found.fmr, *found.fnmr):
        assert 0 <= interval.low < interval.value < interval.high <= 1


def test_a_seed_gives_the_same_intervals_again_and_another_seed_others() -> None:
    trials = simulated(12)
    one = speaker_bootstrap(*trials, replicates=50, seed=4)
    assert one == speaker_bootstrap(*trials, replicates=50, seed=4)
    assert one.eer.high != speaker_bootstrap(*trials, replicates=50, seed=5).eer.high


def test_numbers_and_order_of_speakers_and_trials_do_not_matter() -> None:
    first, second, scores, labels = simulated(12)
    order = np.random.default_rng(0).permutation(labels.size)
    one = speaker_bootstrap(first, second, scores, labels, thresholds=[0.5], replicates=50)
    other = speaker_bootstrap(
        1000 + 7 * second[order], 1000 + 7 * first[order], scores[order], labels[order], thresholds=[0.5], replicates=50
    )
    for interval, again in zip((one.eer, *one.fmr, *one.fnmr), (other.eer, *other.fmr, *other.fnmr), strict=True):
        assert _ends(interval) == pytest.approx(_ends(again), rel=1e-5)


def test_more_speakers_and_lower_levels_make_narrower_intervals() -> None:
    few, many = speaker_bootstrap(*simulated(10)), speaker_bootstrap(*simulated(90, 3))
    assert many.eer.high - many.eer.low < few.eer.high - few.eer.low
    lower = speaker_bootstrap(*simulated(10), level=0.5)
    assert few.eer.low < lower.eer.low < lower.eer.high < few.eer.high


def test_trials_repeated_do_not_make_intervals_narrower() -> None:
    first, second, scores, labels = simulated(15)
    one = speaker_bootstrap(first, second, scores, labels, thresholds=[0.4], replicates=60)
    four = speaker_bootstrap(
        *(np.tile(values, 4) for values in (first, second, scores, labels)), thresholds=[0.4], replicates=60
    )
    assert _ends(four.fmr[0]) == pytest.approx(_ends(one.fmr[0]), rel=1e-5)
    assert _ends(four.fnmr[0]) == pytest.approx(_ends(one.fnmr[0]), rel=1e-5)


def test_no_errors_are_bounded_by_how_many_speakers_made_none() -> None:
    first, second, _, labels = simulated(12)
    found = speaker_bootstrap(first, second, np.where(labels, 0.9, 0.1), labels, thresholds=[0.5], replicates=20)
    assert _ends(found.fnmr[0]) == pytest.approx((0, 0, 1 - 0.05 ** (1 / 12)))
    assert _ends(found.fmr[0]) == pytest.approx((0, 0, 1 - 0.05 ** (1 / 66)))
    assert found.eer.low == found.eer.value == 0 < found.eer.high < 0.25


def test_rejecting_and_accepting_all_are_certain() -> None:
    found = speaker_bootstrap(*simulated(6), thresholds=[float("inf")], replicates=20)
    assert (_ends(found.fmr[0]), _ends(found.fnmr[0])) == ((0, 0, 0), (1, 1, 1))


def test_a_system_that_cannot_tell_speakers_apart_has_an_interval_up_to_one() -> None:
    first, second, scores, labels = simulated(10)
    found = speaker_bootstrap(first, second, np.zeros_like(scores), labels, replicates=20)
    assert found.eer.value == 0.5
    assert _ends(found.min_dcf) == (1, 1, 1)


def test_differences_of_a_system_and_itself_are_nothing() -> None:
    first, second, scores, labels = simulated(10)
    found = paired_bootstrap(first, second, scores, 2 * scores, labels, thresholds=[(0.25, 0.5)], replicates=20)
    for interval in (found.eer, found.min_dcf, *found.fmr, *found.fnmr):
        assert _ends(interval) == (0, 0, 0)


def test_differences_of_paired_systems_are_surer_than_of_strangers() -> None:
    first, second, scores, labels = simulated(25, 6)
    noise = np.random.default_rng(1).normal(0, 0.02, scores.size).astype(np.float32)
    paired = paired_bootstrap(first, second, scores, scores + noise, labels, thresholds=[(0.4, 0.4)])
    alone = speaker_bootstrap(first, second, scores, labels, thresholds=[0.4])
    assert paired.eer.high - paired.eer.low < 0.5 * (alone.eer.high - alone.eer.low)
    assert paired.fnmr[0].high - paired.fnmr[0].low < 0.5 * (alone.fnmr[0].high - alone.fnmr[0].low)
    difference = evaluate(scores + noise, labels).eer - evaluate(scores, labels).eer
    assert paired.eer.value == pytest.approx(difference)


def test_a_clearly_better_system_has_a_difference_below_nothing() -> None:
    first, second, scores, labels = simulated(25, 6)
    found = paired_bootstrap(first, second, scores, scores + np.float32(0.3) * labels, labels)
    assert found.eer.high < 0
    assert found.min_dcf.high < 0


def test_differences_mirror_each_other() -> None:
    first, second, scores, labels = simulated(8)
    other = (scores + 0.2 * np.sin(np.arange(scores.size))).astype(np.float32)
    one = paired_bootstrap(first, second, scores, other, labels, replicates=30)
    two = paired_bootstrap(first, second, other, scores, labels, replicates=30)
    assert one.eer.value == -two.eer.value
    assert one.eer.low == pytest.approx(-two.eer.high)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    # A small check that nothing is off by a factor; benchmarks/coverage.py is the measurement.
    truth = evaluate(*simulated(600, 2, seed=99)[2:]).eer
    held = 0
    for seed in range(60):
        found = speaker_bootstrap(*simulated(20, 4, seed), replicates=60, seed=seed)
        held += found.eer.low <= truth <= found.eer.high
    assert 46 <= held <= 60


def test_labels_that_contradict_the_speakers_are_an_error() -> None:
    first, second, scores, labels = simulated(5)
    wrong = labels.copy()
    wrong[np.flatnonzero(~labels)[0]] = True
    with pytest.raises(CalibrationError, match=f"trial {np.flatnonzero(~labels)[0]}: a target with two speakers"):
        speaker_bootstrap(first, second, scores, wrong)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [({"level": 1.0}, "level"), ({"replicates": 1}, "replicates"), ({"prior": 0}, "prior"), ({"seed": -1}, "seed")],
)
def test_settings_out_of_range_are_an_error(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        speaker_bootstrap(*simulated(5), **keywords)


def test_two_speakers_are_too_few() -> None:
    with pytest.raises(CalibrationError, match="2 speakers"):
        speaker_bootstrap(*simulated(2))


def test_nan_is_an_error() -> None:
    first, second, scores, labels = simulated(5)
    scores[3] = np.nan
    with pytest.raises(CalibrationError, match="trial 3"):
        speaker_bootstrap(first, second, scores, labels)
