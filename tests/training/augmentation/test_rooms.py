from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.sounds import noise, write
from tests.training.augmentation.signals import generator, lag, mean_square
from vecsv.arrays import Waveform
from vecsv.errors import TrainingError
from vecsv.training.augmentation import rooms
from vecsv.training.augmentation.rooms import Response, Rooms
from vecsv.training.augmentation.sounds import Sounds


def room(seconds: float, *, direct: int, rate: int = 16000, seed: int = 0) -> Waveform:
    """Faint noise, the direct path, and reverberation that decays by 60 dB in 0.3 s."""
    response = noise(seconds, rate, rms=1e-5, seed=seed)
    tail = noise(seconds, rate, rms=0.1, seed=seed + 1)[: response.size - direct]
    response[direct:] += tail * 10 ** (-3.0 * np.arange(tail.size) / (0.3 * rate))
    response[direct] = 0.8
    return response


def plainly(wave: Waveform, response: Waveform) -> Waveform:
    """The same by the definition: convolution, without the delay of the strongest sample, at the same power."""
    direct = int(np.argmax(np.abs(response)))
    heard = np.convolve(wave.astype(np.float64), response.astype(np.float64))[direct : direct + wave.size]
    return np.sign(response[direct]) * heard * np.sqrt(mean_square(wave) / mean_square(heard))


@pytest.mark.parametrize("seconds", [0.05, 0.4, 1.5])
@pytest.mark.parametrize("direct", [0, 90, 700])
def test_it_is_the_convolution_without_its_delay_and_with_its_power_kept(seconds: float, direct: int) -> None:
    wave = noise(0.5)
    response = room(seconds, direct=direct)
    heard = Response.of(response, wave.size).reverberate(wave)
    # What the left out end of the response would add is 60 dB below.
    np.testing.assert_allclose(heard, plainly(wave, response), atol=4e-3 * float(np.abs(wave).max()))
    assert mean_square(heard) == pytest.approx(mean_square(wave), rel=1e-5)
    assert lag(heard, wave) == 0
    assert heard.dtype == np.float32
    assert heard.shape == wave.shape


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 1000))
def test_it_is_the_convolution_at_any_length(samples: int, length: int, seed: int) -> None:
    wave, response = noise(samples / 16000, seed=seed), noise(length / 16000, seed=seed + 1)
    expected = plainly(wave, response)
    np.testing.assert_allclose(
        Response.of(response, samples).reverberate(wave), expected, atol=5e-3 * float(np.abs(expected).max())
    )


def test_a_room_that_only_delays_changes_nothing() -> None:
    wave = noise(0.2)
    response = np.zeros(3000, np.float32)
    response[2187] = -0.01
    np.testing.assert_allclose(Response.of(response, wave.size).reverberate(wave), wave, atol=1e-6)


def test_silence_stays_silent() -> None:
    silence = np.zeros(500, np.float32)
    assert Response.of(room(0.05, direct=5), 500).reverberate(silence) is silence


def test_the_end_of_a_response_that_nobody_hears_costs_nothing() -> None:
    short = room(0.4, direct=10)
    long = np.concatenate([short, np.full(32000, 1e-9, np.float32)])
    assert Response.of(long, 8000).size == Response.of(short, 8000).size < 16000


def test_rooms_are_drawn_equally_often_and_read_at_the_rate_of_the_speech(tmp_path: Path) -> None:
    wave = noise(0.3)
    responses = [room(0.2, direct=40, rate=48000, seed=seed) for seed in (1, 2)]
    for name, response in zip("ab", responses, strict=True):
        write(tmp_path / f"{name}.wav", response, 48000, subtype="FLOAT")
    effect = Rooms(Sounds.find(tmp_path), 16000)
    heard = [effect(wave, generator(seed)) for seed in range(100)]
    kinds = {result.tobytes() for result in heard}
    assert len(kinds) == 2
    assert 30 < sum(result.tobytes() == heard[0].tobytes() for result in heard) < 70
    assert [lag(result, wave) for result in heard[:4]] == [0] * 4


def test_responses_in_use_are_not_read_again_and_others_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "_CACHED", 1)
    path = write(tmp_path / "room.wav", room(0.1, direct=5))
    effect = Rooms(Sounds.find(tmp_path), 16000)
    wave = noise(0.1)
    first = effect(wave, generator())
    path.unlink()
    assert (effect(wave, generator()) == first).all()
    with pytest.raises(TrainingError, match=r"room\.wav cannot be decoded"):
        effect(wave[:-1], generator())
    write(path, room(0.1, direct=5))
    effect(wave[:-1], generator())
    path.unlink()
    with pytest.raises(TrainingError, match=r"room\.wav cannot be decoded"):
        effect(wave, generator())


def test_a_silent_response_is_named(tmp_path: Path) -> None:
    write(tmp_path / "none.wav", np.zeros(100, np.float32))
    with pytest.raises(TrainingError, match=rf"{tmp_path.name}: none\.wav is a silent room response"):
        Rooms(Sounds.find(tmp_path), 16000)(noise(0.1), generator())


def test_rooms_go_to_another_process_used_or_not(tmp_path: Path) -> None:
    write(tmp_path / "room.wav", room(0.1, direct=5))
    effect = Rooms(Sounds.find(tmp_path), 16000)
    wave = noise(0.1)
    unused = pickle.loads(pickle.dumps(effect))
    expected = effect(wave, generator())
    used = pickle.loads(pickle.dumps(effect))
    assert (unused(wave, generator()) == expected).all()
    assert (used(wave, generator()) == expected).all()
