from __future__ import annotations

import numpy as np
import pytest

from vecsv.calibration.llr import LOG_SPEECH, SNR
from vecsv.calibration.operating_points import operating_points
from vecsv.calibration.placing import carries_halves, place
from vecsv.calibration.trials import Sides, Trials


def simulated(
    seed: int = 0, *, speakers: int = 20, utterances: int = 6, divided: bool = True, sessions: bool = False
) -> tuple[Trials, Sides]:
    """Pairs of speakers with a mean of their own; the second half of them is held out."""
    random = np.random.default_rng(seed)
    speaker = np.repeat(np.arange(speakers), utterances)
    vectors = random.normal(size=(speakers, 16))[speaker] + 0.8 * random.normal(size=(speaker.size, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    session = np.arange(speaker.size) // 2
    i, j = np.triu_indices(speaker.size, 1)
    held_out = speaker >= speakers // 2
    within = (held_out[i] == held_out[j]) | (not divided)
    i, j = i[within], j[within]
    trials = Trials(
        first_row_id=i,
        second_row_id=j,
        target=speaker[i] == speaker[j],
        same_session=(session[i] == session[j]) & sessions,
        held_out=held_out[i] & divided,
        score=np.einsum("ij,ij->i", vectors[i], vectors[j]).astype(np.float32),
    )
    nothing = np.full(i.size, np.nan)
    sides = Sides(speaker[i], speaker[j], np.full(i.size, sessions), {LOG_SPEECH: nothing, SNR: nothing})
    return trials, sides


def test_thresholds_are_placed_on_the_fit_half_and_measured_on_the_other() -> None:
    trials, sides = simulated()
    placed = place(trials, sides, seed=0)
    fit, unseen = trials.where(~trials.held_out), trials.where(trials.held_out)
    expected = operating_points(fit.score, fit.target)
    assert [point.threshold for point in placed.points] == [point.threshold for point in expected]
    for point in placed.points:
        accepted = unseen.score >= np.float32(point.threshold)
        assert point.held_out is not None
        assert point.held_out.false_accepts == np.count_nonzero(accepted & ~unseen.target)
        assert point.held_out.misses == np.count_nonzero(~accepted & unseen.target)
        assert point.reported == point.held_out
    assert placed.halves is not None
    assert (placed.halves.fit_speakers, placed.halves.held_out_speakers) == (10, 10)
    assert placed.halves.fit_targets == np.count_nonzero(fit.target)
    assert placed.halves.held_out_non_targets == np.count_nonzero(~unseen.target)
    assert placed.note is None


def test_every_held_out_rate_lies_in_an_interval_of_its_own() -> None:
    placed = place(*simulated(), seed=0)
    for point in placed.points:
        assert point.held_out is not None
        for rate, interval in (
            (point.held_out.fmr, point.held_out.fmr_interval),
            (point.held_out.fnmr, point.held_out.fnmr_interval),
        ):
            assert interval is not None
            assert rate is not None
            assert 0 <= interval[0] <= rate <= interval[1] <= 1
            assert interval[0] < interval[1]


def test_held_out_scores_have_no_say_in_where_the_thresholds_are() -> None:
    trials, sides = simulated()
    other = Trials(**(vars(trials) | {"score": np.where(trials.held_out, -trials.score, trials.score)}))
    one, two = place(trials, sides, seed=0), place(other, sides, seed=0)
    assert [point.threshold for point in one.points] == [point.threshold for point in two.points]
    assert one.llr.score_only == two.llr.score_only
    assert one.llr.cllr < two.llr.cllr


def test_undivided_trials_say_that_their_rates_flatter() -> None:
    trials, sides = simulated(speakers=6, divided=False)
    placed = place(trials, sides, seed=0)
    assert placed.points == operating_points(trials.score, trials.target)
    assert placed.halves is None
    assert "flatter" in str(placed.note)
    assert not placed.llr.held_out
    assert placed.points[0].reported.fmr == placed.points[0].fmr


@pytest.mark.parametrize("divided", [True, False])
def test_pairs_of_one_session_are_reported_apart(divided: bool) -> None:
    trials, sides = simulated(sessions=True, divided=divided)
    reported = trials.where(trials.held_out) if divided else trials
    for point in place(trials, sides, seed=0).points:
        one, two = point.same_session, point.cross_session
        assert one is not None
        assert two is not None
        assert one.targets == np.count_nonzero(reported.target & reported.same_session)
        assert one.misses + two.misses == point.reported.misses
        assert one.targets + two.targets == point.reported.targets
        assert one.non_targets + two.non_targets == point.reported.non_targets


def test_the_same_seed_gives_the_same_intervals() -> None:
    trials, sides = simulated()
    assert place(trials, sides, seed=3).points == place(trials, sides, seed=3).points


def test_a_threshold_that_rejects_all_needs_no_interval() -> None:
    trials, sides = simulated()
    hopeless = Trials(**(vars(trials) | {"score": np.where(trials.target, np.float32(0), np.float32(1))}))
    point = place(hopeless, sides, seed=0).points[-1]
    assert point.threshold == np.inf
    assert point.held_out is not None
    assert (point.held_out.fmr, point.held_out.fnmr, point.held_out.fmr_interval) == (0, 1, None)


def test_halves_take_four_speakers_with_pairs_of_their_own() -> None:
    assert carries_halves(*simulated(speakers=8))
    assert not carries_halves(*simulated(speakers=7))
    assert not carries_halves(*simulated(speakers=20, utterances=1))
    assert not carries_halves(*simulated(speakers=20, divided=False))
