import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.curation.synthetic import speakers_at_random, unit
from vecsv.curation.levels import levels, speaker_means


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_means_and_cohesion_are_those_of_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.append(np.arange(4), rng.integers(0, 4, 8))
    vectors = unit(rng.normal(size=(12, 5)))
    known = speaker_means(vectors, labels)
    for code in range(4):
        own = vectors[labels == code]
        assert known.sizes[code] == len(own)
        np.testing.assert_allclose(known.means[code], own.mean(axis=0), atol=1e-6)
        if len(own) > 1:
            pairs = (own @ own.T)[np.triu_indices(len(own), 1)]
            assert known.cohesion[code] == pytest.approx(pairs.mean(), abs=1e-6)
        else:
            assert np.isnan(known.cohesion[code])


def test_wrong_labels_hardly_move_the_levels() -> None:
    vectors, labels = speakers_at_random(40, 8, seed=1)
    clean = levels(speaker_means(vectors, labels))
    labels = labels.copy()
    labels[[0, 50, 100, 150]] = [7, 8, 9, 10]
    dirty = levels(speaker_means(vectors, labels))
    assert clean.own is not None and dirty.own is not None and clean.strangers is not None
    assert dirty.own == pytest.approx(clean.own, abs=0.01)
    assert dirty.strangers == pytest.approx(clean.strangers, abs=0.01)


def test_a_sample_of_many_speakers_gives_the_level_of_all() -> None:
    vectors, labels = speakers_at_random(4000, 1, seed=2, dim=16)
    found = levels(speaker_means(vectors, labels))
    every = (vectors @ vectors.T)[np.triu_indices(4000, 1)]
    assert found.strangers == pytest.approx(np.median(every), abs=0.005)
    assert found.spread == pytest.approx(every.std(), rel=0.1)


def test_one_speaker_has_no_strangers() -> None:
    found = levels(speaker_means(unit(np.ones((3, 4))), np.zeros(3, np.int64)))
    assert found.own == pytest.approx(1.0)
    assert found.strangers is None
    assert found.apart == 0.0
