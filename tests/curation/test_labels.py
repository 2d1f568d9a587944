"""Label errors planted among synthetic speakers, and sets of embeddings without any."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.curation.synthetic import speakers_at_random, unit
from vecsv.curation.labels import alike, misplaced, splits
from vecsv.curation.levels import levels, speaker_means


def by_brute_force(vectors: np.ndarray, labels: np.ndarray, row: int) -> tuple[float, float, int]:
    """Mean score of a row with its own speaker's others, and the highest with another speaker."""
    own = np.mean([vectors[row] @ vectors[i] for i in range(len(labels)) if labels[i] == labels[row] and i != row])
    others = {
        code: float(np.mean([vectors[row] @ vectors[i] for i in np.flatnonzero(labels == code)]))
        for code in set(labels.tolist()) - {int(labels[row])}
    }
    nearest = max(others, key=lambda code: others[code])
    return float(own), others[nearest], nearest


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_misplaced_agrees_with_scoring_every_pair(seed: int) -> None:
    vectors, labels = speakers_at_random(6, 4, seed=seed, noise=2.0)
    known = speaker_means(vectors, labels)
    scale = levels(known)
    found = misplaced(vectors, labels, known, scale)
    expected = {row: by_brute_force(vectors, labels, row) for row in range(len(labels))}
    assert set(found.rows.tolist()) == {row for row, (own, other, _) in expected.items() if other > own and scale.apart}
    for row, nearest, own, other in zip(found.rows, found.nearest, found.own, found.other, strict=True):
        assert (own, other) == pytest.approx(expected[row][:2], abs=1e-5)
        assert nearest == expected[row][2]


def test_swapped_labels_are_all_found_above_everything_else() -> None:
    vectors, truth = speakers_at_random(20, 8, seed=1)
    labels = truth.copy()
    wrong = np.random.default_rng(2).choice(len(labels), 10, replace=False)
    labels[wrong] = (truth[wrong] + 7) % 20
    known = speaker_means(vectors, labels)
    found = misplaced(vectors, labels, known, levels(known))
    best = found.rows[np.argsort(-found.scores)][:10]
    assert set(best.tolist()) == set(wrong.tolist())
    assert found.nearest[np.isin(found.rows, wrong)].tolist() == truth[found.rows[np.isin(found.rows, wrong)]].tolist()


def test_a_speaker_with_one_recording_is_not_judged() -> None:
    vectors = unit(np.array([[1, 0, 0.0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0.1, 0]]))
    labels = np.array([0, 0, 1, 1, 2])
    known = speaker_means(vectors, labels)
    assert 4 not in misplaced(vectors, labels, known, levels(known)).rows


def test_one_person_under_two_names_is_found() -> None:
    vectors, labels = speakers_at_random(20, 10, seed=3)
    labels[(labels == 4) & (np.arange(200) % 2 == 0)] = 20
    known = speaker_means(vectors, labels)
    found = alike(known, levels(known), limit=100)
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == [(4, 20)]
    cross = np.mean(vectors[labels == 4] @ vectors[labels == 20].T)
    assert found.cross[0] == pytest.approx(cross, abs=1e-5)
    assert found.scores[0] > 0.7


def test_the_highest_pairs_are_kept_where_there_are_too_many() -> None:
    vectors, labels = speakers_at_random(24, 4, seed=4)
    # Six people under two names each: each second name takes half the recordings.
    for person in range(6):
        labels[np.flatnonzero(labels == person)[2:]] = 24 + person
    known = speaker_means(vectors, labels)
    every = alike(known, levels(known), limit=100)
    some = alike(known, levels(known), limit=3)
    assert len(every.scores) >= 6
    assert sorted(some.scores.tolist()) == sorted(every.scores.tolist())[-3:]


def test_two_people_under_one_name_are_found_and_told_apart() -> None:
    vectors, labels = speakers_at_random(20, 6, seed=5)
    merged = np.where(labels == 19, 3, labels)
    known = speaker_means(vectors, merged)
    (found,) = splits(vectors, merged, known, levels(known))
    assert found.speaker == 3
    groups = {frozenset(found.rows.tolist()), frozenset(found.other_rows.tolist())}
    assert groups == {frozenset(np.flatnonzero(labels == code).tolist()) for code in (3, 19)}
    assert found.between == pytest.approx(np.mean(vectors[labels == 3] @ vectors[labels == 19].T), abs=1e-5)


def test_two_strangers_among_many_recordings_are_found() -> None:
    vectors, labels = speakers_at_random(20, 30, seed=6)
    merged = labels.copy()
    merged[np.flatnonzero(labels == 7)[:2]] = 0
    known = speaker_means(vectors, merged)
    (found,) = splits(vectors, merged, known, levels(known))
    assert sorted(found.rows.tolist()) == np.flatnonzero(labels == 7)[:2].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_a_clean_set_gives_nothing(seed: int) -> None:
    vectors, labels = speakers_at_random(60, 10, seed=100 + seed)
    known = speaker_means(vectors, labels)
    scale = levels(known)
    assert misplaced(vectors, labels, known, scale).rows.size == 0
    assert alike(known, scale, limit=100).first.size == 0
    assert splits(vectors, labels, known, scale) == []


def test_without_a_scale_nothing_is_said() -> None:
    vectors = unit(np.random.default_rng(0).normal(size=(5, 8)))
    known = speaker_means(vectors, np.arange(5))
    scale = levels(known)
    assert scale.own is None
    assert misplaced(vectors, np.arange(5), known, scale).rows.size == 0
    assert alike(known, scale, limit=10).first.size == 0
    assert splits(vectors, np.arange(5), known, scale) == []
