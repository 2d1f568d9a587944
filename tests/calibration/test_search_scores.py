from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calibration.searches import best_scores, people, utterances_of
from vecsv.calibration import search_scores as module
from vecsv.calibration.search_scores import SearchScores, search_scores
from vecsv.calibration.utterances import Utterances
from vecsv.errors import CalibrationError


def searched(utterances: Utterances, *sizes: int, seed: int = 0, per_speaker: int = 1000) -> SearchScores:
    return search_scores(utterances, sizes, seed=seed, probes_per_speaker=per_speaker)


def by_speaker(utterances: Utterances) -> np.ndarray:
    """Probes in the order of the answers."""
    return np.argsort(utterances.speakers, kind="stable")


def cuts(speakers: int, seed: int) -> Utterances:
    """Speakers with cuts of few recordings, many of which overlap; some recordings carry two labels."""
    rng = np.random.default_rng(seed)
    count = 5 * speakers
    start = rng.integers(0, 6, count).astype(float)
    return utterances_of(
        rng.standard_normal((count, 6)),
        np.concatenate([np.arange(speakers), rng.integers(0, speakers, count - speakers)]),
        recordings=rng.integers(0, 2 * speakers, count),
        start_s=start,
        end_s=start + rng.integers(1, 4, count),
        sessions=rng.integers(-1, 2, count),
    )


@settings(max_examples=40, deadline=None)
@given(speakers=st.integers(2, 8), seed=st.integers(0, 10_000))
def test_in_the_whole_store_the_scores_are_those_of_brute_force(speakers: int, seed: int) -> None:
    utterances = cuts(speakers, seed)
    found = searched(utterances, speakers - 1)
    for row, probe in enumerate(by_speaker(utterances)):
        best = best_scores(utterances, probe)
        mate = best.pop(int(utterances.speakers[probe]), -np.inf)
        assert found.mate[row] == pytest.approx(mate, abs=1e-6)
        assert found.mated[row] == np.isfinite(mate)
        stranger = max(best.values(), default=-np.inf)
        assert found.stranger[row, 0] == pytest.approx(stranger, abs=1e-6)
        if best:
            assert best[int(found.closest[row, 0])] == pytest.approx(stranger, abs=1e-6)


@pytest.mark.parametrize("size", [1, 2, 5, 9])
def test_a_gallery_of_some_is_a_random_choice_of_the_others(size: int) -> None:
    utterances = people(10, 2)
    scores = [searched(utterances, size, seed=seed) for seed in range(400)]
    for row, probe in enumerate(by_speaker(utterances)[:3]):
        best = best_scores(utterances, probe)
        del best[int(utterances.speakers[probe])]
        ascending = sorted(best.values())
        # The k-th smallest of 9 is the largest of a random choice in comb(k - 1, size - 1) of comb(9, size) cases.
        for column, count in (("stranger", size), ("rival", size - 1)):
            if count:
                weights = [comb(k, count - 1) / comb(9, count) for k in range(9)]
                mean = np.mean([getattr(one, column)[row, 0] for one in scores])
                assert mean == pytest.approx(float(np.dot(weights, ascending)), abs=0.03)


def test_a_larger_gallery_holds_the_smaller_one_and_a_rival_is_one_speaker_less() -> None:
    found = searched(people(30, 3), 1, 2, 10, 29)
    assert found.gallery_sizes == (1, 2, 10, 29)
    assert (np.diff(found.stranger, axis=1) >= 0).all()
    assert (found.rival <= found.stranger).all()
    assert np.isneginf(found.rival[:, 0]).all()
    assert np.array_equal(found.rival[:, 1], found.stranger[:, 0])
    assert (found.closest != found.speakers[:, None]).all()


def test_the_seed_decides_and_the_size_of_a_step_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    utterances = people(12, 4)
    first, other = searched(utterances, 5, seed=1), searched(utterances, 5, seed=2)
    monkeypatch.setattr(module, "_SCORES_PER_STEP", 100)
    stepped = searched(utterances, 5, seed=1)
    assert np.array_equal(first.closest, stepped.closest)
    assert np.allclose(first.stranger, stepped.stranger, atol=1e-6)
    assert not np.array_equal(first.closest, other.closest)


def test_no_speaker_gives_more_probes_than_the_cap() -> None:
    counts = [1, 3, 20]
    speakers = np.repeat(np.arange(3), counts)
    utterances = utterances_of(np.random.default_rng(0).standard_normal((24, 8)), speakers)
    assert np.bincount(searched(utterances, 2, per_speaker=4).speakers).tolist() == [1, 3, 4]
    # The others stay in the gallery.
    assert searched(utterances, 2, per_speaker=4).mated.sum() == 7


def test_a_mate_of_the_probes_session_is_told() -> None:
    vectors = np.array([[1, 0, 0.0], [1, 0.1, 0], [1, 0, 0.5], [0, 0, 1], [0, 1, 1]])
    utterances = utterances_of(vectors, np.array([0, 0, 0, 1, 1]), sessions=np.array([4, 4, 5, -1, -1]))
    assert searched(utterances, 1).mate_of_session.tolist() == [True, True, False, False, False]


def test_the_same_recording_under_two_names_is_no_false_alarm() -> None:
    vectors = np.eye(3)[[0, 0, 1, 2]]
    utterances = utterances_of(vectors, np.array([0, 1, 0, 1]), recordings=np.array([0, 0, 1, 2]))
    assert searched(utterances, 1).stranger.max() == pytest.approx(0)


@pytest.mark.parametrize("size", [0, 3, 4])
def test_a_gallery_the_store_cannot_give_is_an_error(size: int) -> None:
    with pytest.raises(CalibrationError, match="3 speakers"):
        searched(people(3, 2), size)


def test_an_embedding_that_is_not_finite_is_an_error_that_names_the_row() -> None:
    utterances = people(3, 2)
    utterances.vectors[4, 2] = np.nan
    with pytest.raises(CalibrationError, match="row 4: 1 embeddings are not finite"):
        searched(utterances, 2)
