from __future__ import annotations

import pickle
import random

import numpy as np
import pytest

from tests.fixtures.sounds import noise, voiced, write
from tests.training.augmentation.signals import generator, mean_square
from vecsv.arrays import Waveform
from vecsv.errors import TrainingError
from vecsv.training.augmentation import codecs
from vecsv.training.augmentation.chain import Augmenter
from vecsv.training.augmentation.codecs import Format
from vecsv.training.augmentation.sounds import Sounds
from vecsv.training.specs import (
    AugmentationSpec,
    BabbleSpec,
    CodecSpec,
    GainSpec,
    NoiseSpec,
    RoomSpec,
    SpectrumSpec,
    SpeedSpec,
    TelephoneSpec,
)

CROP = voiced(0.4)
EVERYTHING = AugmentationSpec(
    speed=SpeedSpec(),
    room=RoomSpec(1.0),
    noise=NoiseSpec(1.0),
    babble=BabbleSpec(1.0),
    gain=GainSpec(1.0, (40.0, 40.0)),
    telephone=TelephoneSpec(1.0),
    codec=CodecSpec(1.0, ("gsm", "mp3")),
    spectrum=SpectrumSpec(),
)


def neighbour(samples: int, draws: np.random.Generator) -> Waveform:
    """A voice of the corpus."""
    return voiced(samples / 16000, pitch=float(draws.uniform(90.0, 250.0)))


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Sounds:
    """Hissing, twice as long as a crop."""
    folder = tmp_path_factory.mktemp("noise")
    write(folder / "hiss.wav", noise(0.8), subtype="FLOAT")
    return Sounds.find(folder)


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Sounds:
    """A room with a single echo after 50 ms."""
    folder = tmp_path_factory.mktemp("rooms")
    response = np.zeros(1000, np.float32)
    response[[10, 810]] = 1.0, 0.5
    write(folder / "echo.wav", response, subtype="FLOAT")
    return Sounds.find(folder)


def test_everything_at_once_keeps_length_type_and_peak(sounds: Sounds, echo: Sounds) -> None:
    augmenter = Augmenter(EVERYTHING, sample_rate=16000, noise=sounds, rooms=echo, babble=neighbour)
    before = CROP.copy()
    for seed in range(5):
        changed = augmenter(CROP, generator(seed))
        assert changed.shape == CROP.shape
        assert changed.dtype == np.float32
        assert np.isfinite(changed).all()
        assert 0.5 < np.abs(changed).max() <= 1.0
    assert (before == CROP).all()


def test_equal_generators_give_equal_crops_here_and_in_another_process(sounds: Sounds, echo: Sounds) -> None:
    augmenter = Augmenter(EVERYTHING, sample_rate=16000, noise=sounds, rooms=echo, babble=neighbour)
    copy = pickle.loads(pickle.dumps(augmenter))
    results = {seed: augmenter(CROP, generator(seed)) for seed in (3, 4, 5)}
    for seed in (5, 3, 4):
        assert (copy(CROP, generator(seed)) == results[seed]).all()
    assert (results[3] != results[4]).any()


def test_nothing_is_drawn_from_anywhere_else(sounds: Sounds, echo: Sounds) -> None:
    state, plain_state = np.random.get_state(), random.getstate()
    Augmenter(EVERYTHING, sample_rate=16000, noise=sounds, rooms=echo, babble=neighbour)(CROP, generator())
    after = np.random.get_state()
    assert all(np.array_equal(a, b) for a, b in zip(state, after, strict=True))
    assert random.getstate() == plain_state


def test_what_is_not_asked_for_is_not_done() -> None:
    assert Augmenter(AugmentationSpec(), sample_rate=16000)(CROP, generator()) is CROP
    never = AugmentationSpec(gain=GainSpec(0.0), telephone=TelephoneSpec(0.0))
    assert all(Augmenter(never, sample_rate=16000)(CROP, generator(seed)) is CROP for seed in range(20))


def test_each_effect_has_its_own_probability() -> None:
    augmenter = Augmenter(AugmentationSpec(gain=GainSpec(0.3, (-6.0, -6.0))), sample_rate=16000)
    draws, crop = generator(1), CROP[:10]
    changed = sum(augmenter(crop, draws) is not crop for _ in range(1000))
    assert 255 < changed < 345


def test_effects_are_drawn_independently() -> None:
    both = AugmentationSpec(gain=GainSpec(0.5, (-20.0, -20.0)), telephone=TelephoneSpec(0.5))
    augmenter = Augmenter(both, sample_rate=8000)
    crop, draws = noise(0.1, 8000), generator(2)
    kinds = []
    for _ in range(200):
        changed = augmenter(crop, draws)
        narrow = abs(float(np.fft.rfft(changed)[8:20].std())) < 0.02 * float(np.fft.rfft(crop)[8:20].std())
        kinds.append((narrow, mean_square(changed) < 0.1 * mean_square(crop)))
    for kind in ((False, False), (False, True), (True, False), (True, True)):
        assert 25 < kinds.count(kind) < 75


def test_a_peak_above_one_turns_the_crop_down_instead_of_clipping_it() -> None:
    loud = Augmenter(AugmentationSpec(gain=GainSpec(1.0, (40.0, 40.0))), sample_rate=16000)(CROP, generator())
    assert np.abs(loud).max() == 1.0
    np.testing.assert_allclose(loud, CROP / np.abs(CROP).max(), rtol=1e-5, atol=1e-6)


def test_noise_is_not_in_the_room(sounds: Sounds, echo: Sounds) -> None:
    room_only = Augmenter(AugmentationSpec(room=RoomSpec(1.0)), sample_rate=16000, rooms=echo)
    both = Augmenter(
        AugmentationSpec(room=RoomSpec(1.0), noise=NoiseSpec(1.0, (0.0, 0.0))),
        sample_rate=16000,
        noise=sounds,
        rooms=echo,
    )
    added = both(CROP, generator(1)) - room_only(CROP, generator(1))
    hiss = added - added.mean()
    echoed = float(hiss[800:] @ hiss[:-800]) / float(hiss @ hiss)
    assert abs(echoed) < 0.05
    in_room = room_only(noise(0.4), generator(1))
    assert float(in_room[800:] @ in_room[:-800]) / float(in_room @ in_room) > 0.3


def test_noise_goes_over_the_telephone(sounds: Sounds) -> None:
    augmenter = Augmenter(
        AugmentationSpec(noise=NoiseSpec(1.0, (0.0, 0.0)), telephone=TelephoneSpec(1.0)),
        sample_rate=16000,
        noise=sounds,
    )
    powers = np.abs(np.fft.rfft(augmenter(CROP, generator()) * np.hanning(CROP.size))) ** 2
    hertz = np.fft.rfftfreq(CROP.size, 1 / 16000)
    assert powers[hertz > 4500].mean() < 1e-5 * powers[(hertz > 500) & (hertz < 3000)].mean()


def test_sounds_that_are_needed_and_not_given_are_asked_for() -> None:
    with pytest.raises(TrainingError, match=r"augmentation\.noise: it asks for noises, but no folder of them is given"):
        Augmenter(AugmentationSpec(noise=NoiseSpec()), sample_rate=16000)
    with pytest.raises(TrainingError, match=r"augmentation\.room: it asks for room responses"):
        Augmenter(AugmentationSpec(room=RoomSpec()), sample_rate=16000)
    with pytest.raises(ValueError, match="babble is asked for"):
        Augmenter(AugmentationSpec(babble=BabbleSpec()), sample_rate=16000)


def test_a_codec_that_cannot_be_written_is_found_when_the_augmenter_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(codecs.FORMATS, "opus", Format("OGG", "NO_SUCH_CODEC", (), (None,)))
    with pytest.raises(TrainingError, match="cannot write opus"):
        Augmenter(AugmentationSpec(codec=CodecSpec(0.1)), sample_rate=16000)
