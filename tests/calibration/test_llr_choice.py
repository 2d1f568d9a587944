from __future__ import annotations

import numpy as np
import pytest

from vecsv.calibration.llr import LOG_SPEECH, SCORE, SNR
from vecsv.calibration.llr_choice import CONFIDENCE, LlrTrials, choose_llr, largest_change


def simulated(seed: int, *, effect: float, speakers: int = 40, utterances: int = 8) -> LlrTrials:
    """Pairs whose scores drop by `effect` for every halving of the speech, whoever is speaking."""
    random = np.random.default_rng(seed)
    speaker = np.repeat(np.arange(speakers), utterances)
    i, j = np.triu_indices(speaker.size, 1)
    target = speaker[i] == speaker[j]
    chosen = target | (random.random(target.size) < 0.1)
    i, j, target = i[chosen], j[chosen], target[chosen]
    log_speech = random.uniform(0, 3, speaker.size)
    shorter = np.minimum(log_speech[i], log_speech[j])
    score = random.normal(np.where(target, 2.0, 0.0), 1.0) + effect * shorter / np.log(2)
    snr = random.uniform(5, 30, target.size)
    return LlrTrials(score.astype(np.float32), target, {LOG_SPEECH: shorter, SNR: snr}, speaker[i], speaker[j])


def test_duration_that_moves_the_scores_is_kept() -> None:
    found = choose_llr(simulated(1, effect=1.0), simulated(2, effect=1.0), seed=0)
    assert found.with_quality is not None
    assert LOG_SPEECH in found.with_quality.weights
    assert found.cllr < 0.98 * found.cllr_score_only
    assert found.cllr == min(found.tried.values())
    assert found.min_cllr <= found.cllr


@pytest.mark.parametrize("seed", range(5))
def test_duration_that_means_nothing_is_not_kept(seed: int) -> None:
    found = choose_llr(simulated(seed, effect=0.0), simulated(seed + 50, effect=0.0), seed=0)
    assert found.with_quality is None
    assert found.cllr == found.cllr_score_only
    assert set(found.tried) == {LOG_SPEECH, SNR, f"{LOG_SPEECH}, {SNR}"}


def test_what_helped_where_it_was_fitted_only_is_not_kept() -> None:
    assert choose_llr(simulated(1, effect=1.0), simulated(2, effect=-1.0), seed=0).with_quality is None


def test_without_held_out_speakers_the_score_alone_is_used() -> None:
    found = choose_llr(simulated(1, effect=1.0), None, seed=0)
    assert (found.with_quality, found.held_out, found.tried) == (None, False, {})


def test_an_input_that_never_varies_or_is_never_known_is_not_tried() -> None:
    trials = simulated(1, effect=0.0)
    constant = {LOG_SPEECH: np.ones(trials.target.size), SNR: np.full(trials.target.size, np.nan)}
    same = LlrTrials(trials.score, trials.target, constant, trials.first_speaker, trials.second_speaker)
    assert choose_llr(same, same, seed=0).tried == {}


def test_ratios_that_do_not_change_change_no_cost() -> None:
    trials = simulated(3, effect=0.0)
    ratios = trials.score.astype(np.float64)
    assert largest_change(trials, ratios, ratios, seed=0) == 0


def test_the_bootstrap_agrees_with_weighting_every_trial() -> None:
    trials = simulated(3, effect=0.0, speakers=6, utterances=3)
    before = trials.score.astype(np.float64)
    after = 2 * before - 2
    random = np.random.default_rng(5)
    draws = []
    for weights in random.multinomial(6, np.full(6, 1 / 6), 500):
        one, other = weights[trials.first_speaker], weights[trials.second_speaker]
        importance = np.where(trials.target, one, one * other).astype(float)
        change = np.zeros(2)
        for kind, sign in ((True, -1), (False, 1)):
            of_kind = trials.target == kind
            losses = np.logaddexp(0, sign * after[of_kind]) - np.logaddexp(0, sign * before[of_kind])
            if importance[of_kind].sum() == 0:
                break
            change[int(kind)] = np.average(losses, weights=importance[of_kind])
        else:
            draws.append(change.sum() / (2 * np.log(2)))
    assert largest_change(trials, before, after, seed=5) == pytest.approx(np.quantile(draws, CONFIDENCE))


def test_scores_come_first_among_the_inputs() -> None:
    assert list(simulated(1, effect=0.0).inputs((SNR,))) == [SCORE, SNR]
