from __future__ import annotations

import json

import numpy as np
import pytest

from tests.store.rows import unit_vectors
from vecsv.calibration.normalise import Cohort, Normalisation, cohort_of, decide
from vecsv.errors import CalibrationError


def by_definition(first: np.ndarray, second: np.ndarray, cohort: np.ndarray, top_k: int) -> float:
    """(s - mean) / deviation over the closest cohort scores of either side, averaged."""
    score = float(first @ second)
    halves = []
    for side in (first, second):
        closest = sorted((float(side @ other) for other in cohort), reverse=True)[:top_k]
        halves.append((score - np.mean(closest)) / np.std(closest))
    return float(np.mean(halves))


@pytest.mark.parametrize("top_k", [10, 25, 60, 500])
def test_pairs_are_normalised_as_defined(top_k: int) -> None:
    vectors, cohort = unit_vectors(12), unit_vectors(60, seed=1)
    first, second = np.triu_indices(12, 1)
    cosines = np.einsum("ij,ij->i", vectors[first], vectors[second])
    expected = [by_definition(vectors[i], vectors[j], cohort, top_k) for i, j in zip(first, second, strict=True)]
    found = Cohort(cohort, top_k).score_pairs(vectors, first, second, cosines)
    assert found.dtype == np.float32
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_two_recordings_score_as_their_pair_does() -> None:
    vectors, cohort = unit_vectors(2), unit_vectors(60, seed=1)
    expected = by_definition(vectors[0], vectors[1], cohort, 20)
    assert Cohort(cohort, 20).score(vectors[:1], vectors[1:]) == pytest.approx(expected, rel=1e-4)


def test_a_speaker_scores_the_mean_over_their_recordings() -> None:
    vectors, cohort = unit_vectors(5), unit_vectors(60, seed=1)
    expected = np.mean([by_definition(vectors[0], other, cohort, 20) for other in vectors[1:]])
    assert Cohort(cohort, 20).score(vectors[:1], vectors[1:]) == pytest.approx(float(expected), rel=1e-4)


def test_the_order_of_the_sides_does_not_matter() -> None:
    vectors, cohort = unit_vectors(5), Cohort(unit_vectors(60, seed=1), 20)
    assert cohort.score(vectors[:2], vectors[2:]) == pytest.approx(cohort.score(vectors[2:], vectors[:2]), rel=1e-6)


def test_a_cohort_of_one_voice_gives_finite_scores() -> None:
    cohort = Cohort(np.repeat(unit_vectors(1, seed=1), 20, axis=0))
    vectors = unit_vectors(3)
    assert np.isfinite(cohort.score(vectors[:1], vectors[1:]))
    assert (cohort.statistics(vectors)[1] > 0).all()


def test_statistics_do_not_depend_on_how_many_rows_come_at_once() -> None:
    vectors, cohort = unit_vectors(5000), Cohort(unit_vectors(30, seed=1), 12)
    means, deviations = cohort.statistics(vectors)
    for row in (0, 4095, 4096, 4999):
        mean, deviation = cohort.statistics(vectors[row : row + 1])
        assert mean[0] == pytest.approx(means[row], abs=1e-6)
        assert deviation[0] == pytest.approx(deviations[row], abs=1e-6)


def test_a_cohort_holds_one_mean_of_unit_length_for_each_speaker() -> None:
    vectors, speakers = unit_vectors(30), np.arange(30) % 10
    cohort = cohort_of(vectors, speakers)
    assert cohort.means.shape == (10, 8)
    expected = vectors[speakers == 3].mean(axis=0)
    assert np.allclose(cohort.means[3], expected / np.linalg.norm(expected), atol=1e-6)


@pytest.mark.parametrize(("speakers", "top_k"), [(9, 200), (30, 9)])
def test_a_small_cohort_is_an_error(speakers: int, top_k: int) -> None:
    with pytest.raises(CalibrationError, match="too small"):
        cohort_of(unit_vectors(speakers), np.arange(speakers), top_k=top_k)


COHORT = Cohort(unit_vectors(20))
LABELS = np.arange(8) < 4
WELL = np.array([0.9, 0.8, 0.7, 0.6, 0.1, 0.2, 0.3, 0.4], np.float32)
BADLY = np.array([0.9, 0.8, 0.2, 0.6, 0.1, 0.2, 0.7, 0.4], np.float32)


def test_a_normalisation_that_wins_is_kept() -> None:
    found = decide(COHORT, "others", BADLY, WELL, LABELS)
    assert found.kept
    assert (found.cohort, found.cohort_speakers, found.top_k) == ("others", 20, 20)
    assert (found.eer_normalised, found.min_dcf_normalised) == (0, 0)
    assert found.eer_cosine is not None
    assert found.eer_cosine > 0


@pytest.mark.parametrize(("before", "after"), [(WELL, BADLY), (WELL, WELL), (BADLY, BADLY)])
def test_a_normalisation_that_does_not_win_is_not_kept(before: np.ndarray, after: np.ndarray) -> None:
    assert not decide(COHORT, "others", before, after, LABELS).kept


def test_without_trials_to_measure_on_it_is_not_kept() -> None:
    found = decide(COHORT, "others", BADLY[:0], WELL[:0], LABELS[:0])
    assert (found.kept, found.eer_cosine) == (False, None)


def test_a_decision_survives_json() -> None:
    found = decide(COHORT, "others", BADLY, WELL, LABELS)
    assert Normalisation.from_json(json.loads(json.dumps(found.to_json()))) == found
