import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.curation.synthetic import speakers_at_random, unit
from vecsv.curation import duplicates
from vecsv.curation.duplicates import Places, twin_bound, twins


def close_pairs(vectors: np.ndarray, duration_s: np.ndarray, bound: float) -> set[frozenset[int]]:
    """All pairs that count, one by one."""
    found = set()
    for i in range(len(vectors)):
        for j in range(i):
            short, long = sorted((duration_s[i], duration_s[j]))
            if vectors[i] @ vectors[j] >= bound and long <= short * 1.02 + 0.25:
                found.add(frozenset((i, j)))
    return found


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_exactly_the_recordings_with_a_twin_are_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(30, 3)))
    duration_s = rng.uniform(1, 3, 30)
    labels = rng.integers(0, 4, 30)
    found = twins(vectors, labels, duration_s, 0.97)
    pairs = close_pairs(vectors, duration_s, 0.97)
    named = [frozenset(pair) for pair in zip(found.first.tolist(), found.second.tolist(), strict=True)]
    assert set(named) <= pairs
    assert len(set(named)) == len(named)
    assert set().union(*named) == set().union(*pairs)
    # A pair of two speakers is never hidden behind a pair of one.
    for pair in pairs:
        later = max(pair, key=lambda row: duration_s[row])
        if len(set(labels[list(pair)])) == 2:
            earlier = found.first[found.second == later]
            assert labels[earlier] != labels[later]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_windows_that_share_time_are_no_twins_and_hide_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(30, 3)))
    utterances, start = rng.integers(0, 5, 30), rng.integers(0, 6, 30).astype(np.float64)
    places = Places(utterances, start, start + 2)
    length = np.full(30, 2.0)
    found = twins(vectors, np.zeros(30, np.int64), length, 0.97, places=places)
    pairs = {
        pair
        for pair in close_pairs(vectors, length, 0.97)
        for i, j in [sorted(pair)]
        if utterances[i] != utterances[j] or abs(start[i] - start[j]) >= 2
    }
    named = {frozenset(pair) for pair in zip(found.first.tolist(), found.second.tolist(), strict=True)}
    assert named <= pairs
    assert set().union(*named) == set().union(*pairs)


def test_blocks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, labels = speakers_at_random(10, 10, seed=1, noise=0.3, dim=8)
    duration_s = np.random.default_rng(1).uniform(2, 4, 100)
    whole = twins(vectors, labels, duration_s, 0.97)
    monkeypatch.setattr(duplicates, "_ROWS", 7)
    monkeypatch.setattr(duplicates, "_COLUMNS", 5)
    pieces = twins(vectors, labels, duration_s, 0.97)
    assert whole.first.size > 10
    assert (whole.first.tolist(), whole.second.tolist()) == (pieces.first.tolist(), pieces.second.tolist())


def test_recordings_of_different_length_are_no_twins() -> None:
    vectors = unit(np.ones((2, 4)))
    assert twins(vectors, np.array([0, 0]), np.array([3.0, 4.0]), 0.99).first.size == 0
    assert twins(vectors, np.array([0, 0]), np.array([3.0, 3.2]), 0.99).first.size == 1


def test_a_group_of_copies_gives_one_finding_less_than_members() -> None:
    vectors = unit(np.ones((50, 4)))
    found = twins(vectors, np.zeros(50, np.int64), np.full(50, 2.0), 0.99)
    assert found.second.size == 49


def test_the_bound_follows_the_model() -> None:
    assert twin_bound(0.5) < twin_bound(0.9) < twin_bound(0.99) < 1.0
    assert twin_bound(0.0) == 0.98
