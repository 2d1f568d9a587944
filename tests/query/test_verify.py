import math

import numpy as np
import pytest

from tests.store.rows import unit_vectors
from vecsv.audio.quality import Quality
from vecsv.calibration.llr import LinearMap, LlrMapping
from vecsv.calibration.normalise import Cohort
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


def mapping() -> LlrMapping:
    plain = LinearMap(-6.0, {"score": 10.0}, {"score": 0.5})
    weights = {"score": 10.0, "log_speech_s": 1.0, "snr_db": 0.1}
    quality = LinearMap(-8.0, weights, {"score": 0.5, "log_speech_s": 1.0, "snr_db": 15.0})
    return LlrMapping(0.5, plain, quality, 0.2, 0.1, 0.3, {}, True)


def test_without_a_mapping_there_is_no_likelihood_ratio() -> None:
    side = Side("a", unit_vectors(1))
    assert compare(side, side, given(0.5), model="m", fingerprint="f").llr is None


def test_the_likelihood_ratio_is_that_of_the_score_and_the_poorer_side() -> None:
    one, two = unit_vectors(2)
    sides = (
        Side("a", one[None], quality(speech_s=3.0, snr_db=10.0)),
        Side("b", two[None], quality(speech_s=7.0, snr_db=5.0)),
    )
    answer = compare(*sides, given(0.5), model="m", fingerprint="f", mapping=mapping())
    assert answer.llr == pytest.approx(-8 + 10 * answer.score + math.log(3) + 0.5)


def test_against_a_speaker_the_quality_is_that_of_the_recording() -> None:
    recording, speaker = Side("a", unit_vectors(1), quality(speech_s=3.0, snr_db=10.0)), Side("ann", unit_vectors(3))
    answer = compare(recording, speaker, given(0.5), model="m", fingerprint="f", mapping=mapping())
    assert answer.llr == pytest.approx(-8 + 10 * answer.score + math.log(3) + 1.0)


def test_an_unknown_noise_on_either_side_counts_as_the_usual_one() -> None:
    one, two = unit_vectors(2)
    sides = Side("a", one[None], quality(speech_s=3.0, snr_db=None)), Side("b", two[None], quality(snr_db=5.0))
    answer = compare(*sides, given(0.5), model="m", fingerprint="f", mapping=mapping())
    assert answer.llr == pytest.approx(-8 + 10 * answer.score + math.log(3) + 1.5)


def test_a_given_threshold_meets_the_normalised_score_and_the_answer_says_so() -> None:
    one, two = unit_vectors(2)
    cohort = Cohort(unit_vectors(30, seed=5))
    sides = Side("a", one[None]), Side("b", two[None])
    between = (cohort.score(one[None], two[None]) + score_sides(one[None], two[None])) / 2
    answer = compare(*sides, given(between), model="m", fingerprint="f", cohort=cohort)
    assert answer.normalised
    assert answer.score == cohort.score(one[None], two[None])
    assert answer.cosine == score_sides(one[None], two[None])
    assert answer.same is (answer.score > answer.cosine)
    assert any("normalised score" in warning for warning in answer.warnings)


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
