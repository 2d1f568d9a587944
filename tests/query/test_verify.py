import numpy as np
import pytest

from tests.store.rows import unit_vectors
from vecsv.audio.quality import Quality
from vecsv.query.thresholds import given
from vecsv.query.verify import Side, compare, quality_warnings, score_sides


def quality(**changes: float | None) -> Quality:
    values: dict[str, float | None] = {"duration_s": 4, "speech_s": 3, "snr_db": 20, "clipped": 0, "peak": 0.5}
    return Quality(**(values | changes))  # type: ignore[arg-type]


def test_the_score_of_two_recordings_is_their_cosine() -> None:
    one, two = unit_vectors(2)
    assert score_sides(one[None], two[None]) == pytest.approx(float(one @ two), abs=1e-6)


def test_the_score_against_a_speaker_is_the_mean_over_their_recordings() -> None:
    vectors = unit_vectors(6)
    expected = np.mean([vectors[0] @ other for other in vectors[1:]])
    assert score_sides(vectors[:1], vectors[1:]) == pytest.approx(float(expected), abs=1e-6)


def test_a_recording_scores_one_with_itself_and_never_more() -> None:
    for vector in unit_vectors(200):
        assert 1 - 1e-6 <= score_sides(vector[None], vector[None]) <= 1


def test_a_score_at_or_above_the_threshold_is_the_same_speaker() -> None:
    one, two = unit_vectors(2)
    score = score_sides(one[None], two[None])
    sides = Side("a", one[None]), Side("b", two[None])
    above = float(np.nextafter(np.float32(score), np.float32(1)))
    assert compare(*sides, given(score), model="m", fingerprint="f").same is True
    assert compare(*sides, given(above), model="m", fingerprint="f").same is False


def test_without_a_threshold_nothing_is_decided_and_the_answer_says_so() -> None:
    side = Side("a", unit_vectors(1))
    answer = compare(side, side, None, model="m", fingerprint="f")
    assert answer.same is None
    assert "no calibrated threshold" in answer.warnings[-1]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"speech_s": 0.9}, "0.9 s of speech"), ({"clipped": 0.05}, "5.0%"), ({"snr_db": 2.0}, "2 dB")],
)
def test_poor_recordings_are_named_with_what_is_wrong(change: dict[str, float], words: str) -> None:
    (warning,) = quality_warnings(Side("a.wav", unit_vectors(1), quality(**change)))
    assert warning.startswith("a.wav: ")
    assert words in warning


def test_a_good_recording_and_a_speaker_give_no_warning() -> None:
    assert quality_warnings(Side("a.wav", unit_vectors(1), quality(snr_db=None))) == []
    assert quality_warnings(Side("ann", unit_vectors(3))) == []
