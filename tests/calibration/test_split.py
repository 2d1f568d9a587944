from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.calibration.split import split_speakers
from vecsv.errors import CalibrationError, UsageError

sizes = st.lists(st.integers(1, 40), min_size=1, max_size=25)
seeds = st.integers(0, 2**32)


def codes_of(utterances: list[int]) -> np.ndarray:
    return np.repeat(np.arange(len(utterances)) * 3 + 5, utterances)


@given(sizes, seeds)
def test_a_speaker_is_never_in_both_halves(utterances: list[int], seed: int) -> None:
    codes = codes_of(utterances)
    held_out = split_speakers(codes, seed)
    assert not set(codes[held_out]) & set(codes[~held_out])
    assert len(set(codes[held_out])) == len(utterances) // 2


@given(sizes, seeds)
def test_halves_differ_by_no_more_utterances_than_the_largest_speaker_has(utterances: list[int], seed: int) -> None:
    held_out = split_speakers(codes_of(utterances), seed)
    assert abs(int(held_out.sum()) - int((~held_out).sum())) <= max(utterances)


@given(st.integers(2, 30), st.integers(1, 5), seeds)
def test_speakers_with_pairs_are_spread_evenly(with_pairs: int, without: int, seed: int) -> None:
    codes = codes_of([2] * with_pairs + [1] * without)
    held_out = split_speakers(codes, seed)
    paired = codes < 5 + 3 * with_pairs
    assert abs(int((held_out & paired).sum()) - int((~held_out & paired).sum())) <= 2


@given(sizes, seeds, st.randoms(use_true_random=False))
def test_the_order_of_utterances_changes_nothing(utterances: list[int], seed: int, random: np.random.Generator) -> None:
    codes = codes_of(utterances)
    order = list(range(codes.size))
    random.shuffle(order)
    assert np.array_equal(split_speakers(codes[order], seed), split_speakers(codes, seed)[order])


def test_every_speaker_is_held_out_in_about_half_of_the_draws() -> None:
    codes = codes_of([9, 5, 5, 5, 3, 2, 2, 1])
    shares = np.mean([split_speakers(codes, seed) for seed in range(2000)], axis=0)
    assert np.abs(shares - 0.5).max() < 0.06


def test_another_seed_gives_other_halves() -> None:
    codes = codes_of([3] * 20)
    assert not np.array_equal(split_speakers(codes, 1), split_speakers(codes, 2))


def test_what_is_no_code_is_an_error() -> None:
    with pytest.raises(CalibrationError, match="integers"):
        split_speakers([0.5, 1.5], 0)
    with pytest.raises(UsageError, match="seed"):
        split_speakers([0, 1], -1)
