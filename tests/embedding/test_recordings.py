from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.stores import speak, write_speakers
from vecsv.arrays import Vectors, Waveform
from vecsv.audio.decode import Clip
from vecsv.embedding.recordings import EmbeddedRecording, embed_all, embed_clips, embed_recordings
from vecsv.errors import AudioError
from vecsv.models.protocol import Prepared

RATE = 16000


class Recorder(SpectralEmbedder):
    """Notes how much audio each call of the network gets."""

    def __init__(self, *, batch_s: float = 120.0) -> None:
        super().__init__(batch_s=batch_s)
        self.calls: list[float] = []

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        self.calls.append(sum(one.seconds for one in prepared))
        return super().embed(prepared)


def write(path: Path, wave: Waveform) -> Clip:
    soundfile.write(path, wave, RATE, "FLOAT")
    return Clip(path)


def long_wave(seconds: int, speaker: str = "ann") -> Waveform:
    return np.concatenate([speak(speaker, take) for take in range(seconds)])


def test_one_recordings_vector_does_not_depend_on_its_company(tmp_path: Path) -> None:
    write_speakers(tmp_path, 3, 3)
    clips = [Clip(path) for path in sorted(tmp_path.rglob("*.wav"))]
    together = [vector.vector for vector in embed_all(SpectralEmbedder(), clips)]
    alone = [embed_all(SpectralEmbedder(), [clip])[0].vector for clip in clips]
    assert np.abs(np.stack(together) - np.stack(alone)).max() < 1e-6


def test_results_keep_the_order_and_a_failure_harms_no_other(tmp_path: Path) -> None:
    write_speakers(tmp_path, 1, 2)
    good = sorted(tmp_path.rglob("*.wav"))
    clips = [("a", Clip(good[0])), ("b", Clip(tmp_path / "absent.wav")), ("c", Clip(good[1]))]
    found = list(embed_recordings(SpectralEmbedder(), clips))
    assert [key for key, _ in found] == ["a", "b", "c"]
    assert [type(result) for _, result in found] == [EmbeddedRecording, AudioError, EmbeddedRecording]


def test_the_network_never_gets_more_than_a_batch_of_audio(tmp_path: Path) -> None:
    write_speakers(tmp_path, 3, 4)
    model = Recorder(batch_s=5.0)
    embed_all(model, [Clip(path) for path in sorted(tmp_path.rglob("*.wav"))])
    assert max(model.calls) <= 5.0
    assert sum(model.calls) == pytest.approx(12.0, abs=0.1)


def test_a_long_recording_is_the_speech_weighted_mean_of_its_blocks(tmp_path: Path) -> None:
    first, second = long_wave(2, "ann"), long_wave(2, "ben")
    second[RATE:] = 0
    clip = write(tmp_path / "long.wav", np.concatenate([first, second]))
    model = SpectralEmbedder(block_s=2.0)
    (whole,) = embed_all(model, [clip])
    parts = embed_all(model, [write(tmp_path / "1.wav", first), write(tmp_path / "2.wav", second)])
    expected = sum(part.quality.speech_s * part.vector.astype(np.float64) for part in parts)
    expected /= np.linalg.norm(expected)
    assert whole.vector @ expected > 1 - 1e-6
    assert whole.quality.duration_s == 4.0
    assert whole.quality.speech_s == pytest.approx(sum(part.quality.speech_s for part in parts), abs=0.031)


def test_a_silent_block_of_a_long_recording_counts_for_nothing(tmp_path: Path) -> None:
    speech = long_wave(2)
    model = SpectralEmbedder(block_s=2.0)
    gap = np.zeros(4 * RATE, np.float32)
    (with_gap,) = embed_all(model, [write(tmp_path / "gap.wav", np.concatenate([speech, gap, speech]))])
    (without,) = embed_all(model, [write(tmp_path / "none.wav", speech)])
    assert with_gap.vector @ without.vector > 1 - 1e-6
    assert with_gap.quality.duration_s == 8.0


class Choosy(SpectralEmbedder):
    """Makes nothing of recordings longer than a second and a half, and so of every batch that holds one."""

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        if any(one.seconds > 1.5 for one in prepared):
            raise AudioError("no-embedding", "the network makes nothing of it")
        return super().embed(prepared)


def test_a_recording_the_network_refuses_costs_no_other_its_embedding(tmp_path: Path) -> None:
    clips = [
        write(tmp_path / "1.wav", speak("ann", 0)),
        write(tmp_path / "2.wav", long_wave(2)),
        write(tmp_path / "3.wav", speak("ann", 1)),
    ]
    found = [result for _, result in embed_recordings(Choosy(), enumerate(clips))]
    assert [type(result) for result in found] == [EmbeddedRecording, AudioError, EmbeddedRecording]


@pytest.mark.parametrize(("samples", "code"), [(0, "no-samples"), (800, "too-short"), (RATE, "silent")])
def test_unusable_recordings_say_why_and_where(tmp_path: Path, samples: int, code: str) -> None:
    clip = write(tmp_path / "x.wav", np.zeros(samples, np.float32))
    ((_, result),) = embed_recordings(SpectralEmbedder(), [(0, clip)])
    assert isinstance(result, AudioError)
    assert result.code == code
    assert str(tmp_path / "x.wav") in str(result)


def test_several_threads_give_what_one_gives(tmp_path: Path) -> None:
    write_speakers(tmp_path, 6, 7)
    clips = [Clip(path) for path in sorted(tmp_path.rglob("*.wav"))]
    model = SpectralEmbedder()
    many = embed_clips(model, clips, workers=3)
    one = embed_all(model, clips)
    for left, right in zip(many, one, strict=True):
        assert isinstance(left, EmbeddedRecording)
        assert np.array_equal(left.vector, right.vector)
        assert left.audio_sha256 == right.audio_sha256
