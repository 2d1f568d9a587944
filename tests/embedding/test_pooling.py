import numpy as np
import pytest

from vecsv.audio.quality import Quality
from vecsv.embedding.pooling import pool
from vecsv.embedding.recordings import EmbeddedRecording
from vecsv.errors import AudioError


def heard(vector: list[float], speech_s: float, **changes: float | None) -> EmbeddedRecording:
    values: dict[str, float | None] = {"duration_s": 2.0, "snr_db": None, "clipped": 0.0, "peak": 0.5}
    quality = Quality(speech_s=speech_s, **(values | changes))  # type: ignore[arg-type]
    return EmbeddedRecording(np.float32(vector), quality, "ab")


def test_the_vector_is_the_speech_weighted_mean_at_unit_length() -> None:
    found = pool([heard([1, 0], 3.0), heard([0, 1], 1.0)])
    assert isinstance(found, EmbeddedRecording)
    assert found.vector == pytest.approx(np.array([3.0, 1.0]) / np.sqrt(10))


def test_measures_are_those_of_all_stretches_together() -> None:
    found = pool(
        [heard([1, 0], 3.0, snr_db=10.0, clipped=0.1, duration_s=3.0, peak=0.9), heard([0, 1], 1.0, snr_db=30.0)]
    )
    assert isinstance(found, EmbeddedRecording)
    assert found.quality.duration_s == 5.0
    assert found.quality.speech_s == 4.0
    assert found.quality.snr_db == pytest.approx(15.0)
    assert found.quality.clipped == pytest.approx(0.06)
    assert found.quality.peak == 0.9


def test_what_gave_no_embedding_counts_for_nothing() -> None:
    one, error = heard([1, 0], 1.0), AudioError("too-short", "0.1 s")
    found = pool([error, one])
    assert isinstance(found, EmbeddedRecording)
    assert np.array_equal(found.vector, one.vector)
    assert pool([error, AudioError("silent", "silence")]) is error


def test_a_single_stretch_stays_as_it_is() -> None:
    one = heard([0.6, 0.8], 1.0)
    assert pool([one]) is one
