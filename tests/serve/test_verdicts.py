import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.serve.conftest import decoded, talk
from tests.store.rows import unit_vectors
from vecsv.arrays import Vectors
from vecsv.audio.quality import Quality
from vecsv.calibration.normalise import Cohort
from vecsv.query.thresholds import given as given_threshold
from vecsv.serve.verdicts import judge_quality, likenesses, measure


def rows(*vectors: list[float]) -> Vectors:
    return np.array(vectors, np.float32)


GOOD = {"duration_s": 4.0, "speech_s": 3.0, "snr_db": 20.0, "clipped": 0.0, "peak": 0.5}


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, ()),
        ({"speech_s": 0.99}, ("too-short",)),
        ({"speech_s": 1.0}, ()),
        ({"snr_db": 4.9}, ("noisy",)),
        ({"snr_db": None}, ()),
        ({"clipped": 0.011}, ("clipped",)),
        ({"speech_s": 0.1, "snr_db": 0.0, "clipped": 0.5}, ("too-short", "noisy", "clipped")),
    ],
)
def test_a_clip_is_judged_by_speech_noise_and_clipping(changes: dict[str, float], reasons: tuple[str, ...]) -> None:
    report = judge_quality("a.wav", Quality(**(GOOD | changes)), shortest_speech_s=1.0)
    assert report.reasons == reasons
    assert report.accepted == (not reasons)
    assert len(report.details) == len(reasons)


def test_a_clip_that_no_model_heard_is_measured_all_the_same() -> None:
    quality = measure(decoded(talk("ann", seconds=2)))
    assert quality.duration_s == 2.0
    assert quality.speech_s > 1.5


def test_one_stranger_among_three_is_the_one_that_is_unlike() -> None:
    # The mean of their scores would make the two good clips, at 0.5, look strange as well.
    clips = rows([1, 0], [0, 1], [1, 0])
    assert [one and one.alike for one in likenesses(clips, clips[:0], given_threshold(0.6))] == [True, False, True]


def test_of_two_clips_that_differ_nobody_knows_which_is_right() -> None:
    clips = rows([1, 0], [0, 1])
    assert [one and one.alike for one in likenesses(clips, clips[:0], given_threshold(0.5))] == [False, False]


def test_clips_are_held_against_what_is_known_of_the_speaker() -> None:
    (found,) = likenesses(rows([0, 1]), rows([1, 0], [1, 0]), given_threshold(0.5))
    assert found is not None
    assert not found.alike
    assert found.score == 0.0


def test_a_single_clip_of_a_new_speaker_has_nothing_to_be_held_against() -> None:
    assert likenesses(rows([1, 0]), rows([1, 0])[:0], given_threshold(2.0)) == [None]


def test_without_a_threshold_nothing_is_said() -> None:
    assert likenesses(unit_vectors(3), unit_vectors(2), None) == [None] * 3


@given(st.integers(1, 6), st.integers(0, 6))
def test_the_score_is_the_best_that_half_of_the_others_reach(clips: int, known: int) -> None:
    vectors = unit_vectors(clips + known)
    found = likenesses(vectors[:clips], vectors[clips:], given_threshold(0.0))
    for place, one in enumerate(found):
        others = np.delete(vectors, place, axis=0)
        if not len(others):
            assert one is None
            continue
        assert one is not None
        reached = np.einsum("k,jk->j", vectors[place], others)
        at_least = (reached >= one.score - 1e-6).sum()
        above = (reached > one.score + 1e-6).sum()
        assert at_least * 2 >= len(others)
        assert above * 2 < len(others)


def test_normalised_scores_are_those_of_the_cohort() -> None:
    vectors = unit_vectors(20, dim=8)
    cohort = Cohort(vectors[4:], top_k=10)
    (first, second) = likenesses(vectors[:2], vectors[:0], given_threshold(0.0), cohort)
    assert first is not None
    assert second is not None
    assert first.score == pytest.approx(cohort.score(vectors[:1], vectors[1:2]), rel=1e-4)
    assert second.score == pytest.approx(first.score, rel=1e-4)
