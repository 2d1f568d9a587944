from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsv.calibration.halves import SPEAKERS_A_HALF, SamplingRules, sample_halves
from vecsv.calibration.utterances import Utterances
from vecsv.errors import CalibrationError

RULES = SamplingRules(seed=0, ratio=99, per_speaker=200, cross_session=False)


def utterances(sizes: list[int], sessions: list[int] | None = None) -> Utterances:
    """Whole recordings of speakers, so many each."""
    speakers = np.repeat(np.arange(len(sizes)), sizes)
    count = speakers.size
    return Utterances(
        row_ids=np.arange(count),
        vectors=np.zeros((count, 2), np.float32),
        speakers=speakers,
        sessions=np.full(count, -1) if sessions is None else np.array(sessions),
        recordings=np.arange(count),
        start_s=np.zeros(count),
        end_s=np.full(count, np.inf),
    )


@settings(deadline=None)
@given(st.lists(st.integers(2, 5), min_size=2 * SPEAKERS_A_HALF, max_size=14), st.integers(0, 1000))
def test_no_pair_reaches_across_the_halves(sizes: list[int], seed: int) -> None:
    given_ = utterances(sizes)
    sample = sample_halves(given_, SamplingRules(seed, 99, 200, cross_session=False))
    sides = np.concatenate([sample.first, sample.second])
    held_out = set(given_.speakers[sides[np.tile(sample.held_out, 2)]])
    fit = set(given_.speakers[sides[~np.tile(sample.held_out, 2)]])
    assert not held_out & fit
    assert min(len(held_out), len(fit)) >= SPEAKERS_A_HALF


def test_labels_are_of_the_utterances_they_name() -> None:
    given_ = utterances([3] * 10)
    sample = sample_halves(given_, RULES)
    assert np.array_equal(sample.label, given_.speakers[sample.first] == given_.speakers[sample.second])
    assert (sample.first < sample.second).all()


def test_all_pairs_of_both_halves_are_taken_and_those_across_counted() -> None:
    sample = sample_halves(utterances([3] * 10), RULES)
    basis = sample.basis
    assert basis.targets == basis.targets_available == 10 * 3
    assert basis.non_targets == basis.non_targets_available == 2 * 9 * 10
    assert basis.left_out["pairs of a speaker to fit on and one held out"] == 15 * 15
    assert sum(basis.left_out.values()) == 15 * 15
    assert basis.targets + basis.non_targets + 15 * 15 == 30 * 29 // 2
    assert basis.ratio_reached == 6


def test_a_ratio_that_can_be_had_is_kept_in_each_half() -> None:
    sample = sample_halves(utterances([3] * 10), SamplingRules(0, 2, 200, cross_session=False))
    for half in (sample.held_out, ~sample.held_out):
        assert np.count_nonzero(~sample.label[half]) == 2 * np.count_nonzero(sample.label[half])


@pytest.mark.parametrize("sizes", [[2] * 7, [2] * 7 + [1] * 20, [9, 9]])
def test_too_few_speakers_with_pairs_are_not_divided(sizes: list[int]) -> None:
    sample = sample_halves(utterances(sizes), RULES)
    assert not sample.held_out.any()
    total = sum(sizes)
    assert sample.basis.targets + sample.basis.non_targets == total * (total - 1) // 2
    assert sum(sample.basis.left_out.values()) == 0


def test_speakers_of_one_session_do_not_count_when_sessions_are_to_differ() -> None:
    # Nine speakers of two recordings, and three of them in one session.
    sessions = [i if i < 12 else i // 2 for i in range(18)]
    given_ = utterances([2] * 9, sessions)
    assert sample_halves(given_, RULES).held_out.any()
    assert not sample_halves(given_, SamplingRules(0, 99, 200, cross_session=True)).held_out.any()


@pytest.mark.parametrize(("sizes", "message"), [([5], "no non-target pair"), ([1] * 12, "no target pair")])
def test_one_kind_of_pair_only_is_an_error(sizes: list[int], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        sample_halves(utterances(sizes), RULES)
