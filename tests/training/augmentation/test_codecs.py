from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from tests.fixtures.sounds import voiced
from tests.training.augmentation.signals import decibels, generator, lag, mean_square
from vecsv.arrays import Waveform
from vecsv.errors import TrainingError
from vecsv.health.signals import speech_like
from vecsv.training.augmentation import codecs
from vecsv.training.augmentation.codecs import FORMATS, Codec, Codecs, Format
from vecsv.training.augmentation.waves import at_rate
from vecsv.training.specs import CODECS, CodecSpec

SPEECH = speech_like(0.8, seed=3)


def test_every_codec_of_the_configuration_is_known() -> None:
    assert set(FORMATS) == set(CODECS)


@pytest.mark.parametrize("rate", [8000, 16000, 22050])
@pytest.mark.parametrize("name", CODECS)
def test_a_codec_changes_speech_without_delaying_it(name: str, rate: int) -> None:
    sent = at_rate(SPEECH, 16000, rate)
    (strengths,) = Codecs(CodecSpec(1.0, (name,)), rate).codecs
    assert len(strengths) == len(FORMATS[name].strengths)
    distances = []
    for codec in strengths:
        heard = codec(sent, rate)
        assert heard.shape == sent.shape
        assert heard.dtype == np.float32
        # Less than a quarter of a millisecond is the phase of a codec that keeps no waveform.
        assert abs(lag(heard, sent)) <= rate / 4000
        distances.append(decibels(mean_square(sent) / mean_square(heard - sent)))
    assert all(3.0 < distance < 40.0 for distance in distances)
    assert distances == sorted(distances, reverse=True)


def test_a_delay_that_libsndfile_leaves_in_is_measured_and_taken_out() -> None:
    (strengths,) = Codecs(CodecSpec(1.0, ("mp3",)), 16000).codecs
    delays = [codec.delay for codec in strengths]
    # LAME's encoder is 576 samples late and a decoder 529.
    assert delays[-1] == 1105
    assert lag(replace(strengths[-1], delay=0)(SPEECH, 16000), SPEECH) == 1105


def test_gsm_has_the_band_of_a_telephone() -> None:
    heard = Codecs(CodecSpec(1.0, ("gsm",)), 16000)(SPEECH, generator())
    powers = np.abs(np.fft.rfft(heard * np.hanning(heard.size))) ** 2
    hertz = np.fft.rfftfreq(heard.size, 1 / 16000)
    assert powers[hertz > 4200].sum() / powers.sum() < 1e-5


def test_every_codec_and_strength_is_drawn_and_drawn_again_alike() -> None:
    effect = Codecs(CodecSpec(1.0, ("gsm", "mp3", "vorbis")), 8000)
    sent = voiced(0.2, 8000)
    heard = [effect(sent, generator(seed)).tobytes() for seed in range(40)]
    assert len(set(heard)) == 7
    assert heard[:5] == [effect(sent, generator(seed)).tobytes() for seed in range(5)]


def test_an_encoder_is_never_handed_minutes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # libsndfile's Vorbis encoder ends the process by a stack overflow where it gets some million samples.
    (strengths,) = Codecs(CodecSpec(1.0, ("vorbis",)), 16000).codecs
    crop = np.tile(SPEECH[:8000], 9)
    expected = strengths[0](crop, 16000)
    sizes, write = [], soundfile.SoundFile.write

    def counting(file: soundfile.SoundFile, samples: Waveform) -> None:
        sizes.append(len(samples))
        write(file, samples)

    monkeypatch.setattr(soundfile.SoundFile, "write", counting)
    assert (strengths[0](crop, 16000) == expected).all()
    assert sum(sizes) == crop.size
    assert max(sizes) <= 16000


@pytest.mark.parametrize(
    "unwritable",
    [
        Format("MP3", "NO_SUCH_CODEC", (), (0.5,)),
        Format("WAV", "OPUS", (), (0.5,)),
        Format("NONE", "GSM610", (), (None,)),
    ],
)
def test_a_codec_that_this_libsndfile_cannot_write_is_found_at_once(
    monkeypatch: pytest.MonkeyPatch, unwritable: Format
) -> None:
    monkeypatch.setitem(codecs.FORMATS, "mp3", unwritable)
    version = soundfile.__libsndfile_version__
    with pytest.raises(
        TrainingError, match=rf"augmentation\.codec: the installed libsndfile {version} cannot write mp3"
    ):
        Codecs(CodecSpec(1.0, ("gsm", "mp3")), 16000)


def test_the_rate_keeps_all_of_the_band_where_the_codec_can() -> None:
    assert [FORMATS["opus"].rate_for(rate) for rate in (8000, 11025, 16000, 22050, 96000)] == [
        8000,
        12000,
        16000,
        24000,
        48000,
    ]
    assert FORMATS["gsm"].rate_for(16000) == 8000
    assert FORMATS["vorbis"].rate_for(22050) == 22050


def test_codecs_go_to_another_process() -> None:
    effect = Codecs(CodecSpec(1.0, ("mp3",)), 8000)
    sent = voiced(0.1, 8000)
    assert (pickle.loads(pickle.dumps(effect))(sent, generator()) == effect(sent, generator())).all()
    assert isinstance(effect.codecs[0][0], Codec)
