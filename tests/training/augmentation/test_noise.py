from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.sounds import noise, tone, write
from tests.training.augmentation.signals import amplitude_of, decibels, generator, mean_square
from vecsv.arrays import Waveform
from vecsv.training.augmentation.noise import Babble, Noise, add_at_snr
from vecsv.training.augmentation.sounds import Sounds
from vecsv.training.specs import BabbleSpec, NoiseSpec

SPEECH = tone(0.25, hertz=300.0, level=0.3)


def snr_db(speech: Waveform, noisy: Waveform) -> float:
    return decibels(mean_square(speech) / mean_square(noisy.astype(np.float64) - speech))


@settings(max_examples=40, deadline=None)
@given(st.floats(-20.0, 40.0), st.floats(1e-4, 10.0), st.floats(1e-4, 10.0), st.integers(0, 100))
def test_the_ratio_is_what_was_asked_for(asked: float, speech_rms: float, noise_rms: float, seed: int) -> None:
    speech = noise(0.1, rms=speech_rms, seed=seed + 1000)
    noisy = add_at_snr(speech, noise(0.1, rms=noise_rms, seed=seed), asked)
    assert snr_db(speech, noisy) == pytest.approx(asked, abs=0.01)


def test_the_ratio_counts_the_whole_crop_pauses_included() -> None:
    speech = SPEECH.copy()
    speech[: speech.size // 2] = 0.0
    noisy = add_at_snr(speech, noise(0.25), 10.0)
    assert snr_db(speech, noisy) == pytest.approx(10.0, abs=0.01)
    assert mean_square(noisy[: speech.size // 2]) > 0.0


@pytest.mark.parametrize("loudness", [0.0, 1e-42, 1e-9])
def test_silence_stays_as_it_is_on_either_side(loudness: float) -> None:
    silence = np.full(SPEECH.size, loudness, np.float32)
    assert add_at_snr(SPEECH, silence, -20.0) is SPEECH
    assert add_at_snr(silence, SPEECH, -20.0) is silence


def test_noise_is_added_at_ratios_from_all_of_the_range(tmp_path: Path) -> None:
    write(tmp_path / "hiss.wav", noise(2.0))
    effect = Noise(NoiseSpec(1.0, (3.0, 9.0)), Sounds.find(tmp_path), 16000)
    ratios = [snr_db(SPEECH, effect(SPEECH, generator(seed))) for seed in range(60)]
    assert 2.99 < min(ratios) < 3.5
    assert 8.5 < max(ratios) < 9.01
    assert np.mean(ratios) == pytest.approx(6.0, abs=0.7)


class Choir:
    """Each voice a tone of its own, the later the louder; remembers how many were asked for."""

    hertz = (600.0, 1000.0, 1400.0, 1800.0)

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, samples: int, draws: np.random.Generator) -> Waveform:
        draws.random()
        voice = tone(samples / 16000, hertz=self.hertz[self.asked % 4], level=0.01 * 3.0**self.asked)
        self.asked += 1
        return voice


def test_babble_is_several_voices_equally_loud_at_the_ratio_of_all() -> None:
    babble = Babble(BabbleSpec(1.0, (4, 4), (12.0, 12.0)), Choir())(SPEECH, generator())
    assert snr_db(SPEECH, babble) == pytest.approx(12.0, abs=0.01)
    loudness = [amplitude_of(babble, hertz, 16000) for hertz in Choir.hertz]
    np.testing.assert_allclose(loudness, loudness[0], rtol=0.01)
    # Four equal voices have half the amplitude that one would have.
    assert loudness[0] == pytest.approx(0.3 * 10 ** (-12 / 20) / 2, rel=0.01)


def test_babble_has_every_number_of_voices_in_the_range() -> None:
    counts = set()
    for seed in range(40):
        choir = Choir()
        Babble(BabbleSpec(1.0, (1, 4)), choir)(SPEECH, generator(seed))
        counts.add(choir.asked)
    assert counts == {1, 2, 3, 4}


def test_babble_of_silent_people_changes_nothing() -> None:
    effect = Babble(BabbleSpec(1.0), lambda samples, draws: np.zeros(samples, np.float32))
    assert effect(SPEECH, generator()) is SPEECH
