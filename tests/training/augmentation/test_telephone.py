from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.fixtures.sounds import noise, tone
from tests.training.augmentation.signals import amplitude_of, decibels, generator, lag, mean_square
from vecsv.training.augmentation.telephone import Telephone, companded, companding_table
from vecsv.training.augmentation.waves import at_rate

RATES = (8000, 16000, 22050)


def level_db(hertz: float, rate: int) -> float:
    """How much of a tone comes through, in dB."""
    sent = tone(0.4, rate, hertz=hertz)
    return decibels((amplitude_of(Telephone(rate)(sent, generator()), hertz, rate) / 0.5) ** 2)


@pytest.mark.parametrize("rate", RATES)
def test_the_band_of_the_telephone_comes_through_and_nothing_else(rate: int) -> None:
    for hertz in (400.0, 1000.0, 2000.0, 3300.0):
        assert level_db(hertz, rate) == pytest.approx(0.0, abs=0.5)
    for edge in (300.0, 3400.0):
        assert level_db(edge, rate) == pytest.approx(-6.0, abs=0.5)
    for hertz in (60.0, 200.0, 3500.0, 3900.0):
        assert level_db(hertz, rate) < -40.0


def test_nothing_is_left_above_half_the_rate_of_the_line() -> None:
    heard = Telephone(16000)(noise(1.0), generator())
    powers = np.abs(np.fft.rfft(heard[2000:-2000] * np.hanning(12000))) ** 2
    hertz = np.fft.rfftfreq(12000, 1 / 16000)
    assert decibels(powers[hertz > 4500].mean() / powers[(hertz > 500) & (hertz < 3000)].mean()) < -60.0


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("seconds", [0.02, 0.33333])
def test_it_delays_nothing_and_keeps_the_length(rate: int, seconds: float) -> None:
    sent = noise(seconds, rate)
    heard = Telephone(rate)(sent, generator())
    assert lag(heard, sent) == 0
    assert heard.shape == sent.shape
    assert heard.dtype == np.float32


def test_both_laws_are_drawn() -> None:
    telephone, sent = Telephone(8000), noise(0.1, 8000)
    assert len({telephone(sent, generator(seed)).tobytes() for seed in range(20)}) == 2


@pytest.mark.parametrize("law", ["ULAW", "ALAW"])
def test_companding_keeps_one_distance_from_the_signal_at_all_levels(law: str) -> None:
    table = companding_table(law)
    for level in (0.9, 0.3, 0.1, 0.03):
        values = np.rint(tone(0.5, 8000, hertz=997.0, level=level) * 32767).astype(int)
        error = table[values + 32768] - values / 32768
        # G.711 asks for 33 dB; eight even bits would have 18 dB at the lowest of these levels.
        assert 33.0 < decibels(np.mean((values / 32768) ** 2) / np.mean(error**2)) < 40.0


@pytest.mark.parametrize("law", ["ULAW", "ALAW"])
def test_companding_is_that_of_g711(law: str) -> None:
    values = np.arange(-32767, 32768)
    expected = {"ULAW": mu_law, "ALAW": a_law}[law](np.abs(values)) * np.where(values < 0, -1, 1)
    assert (companding_table(law)[1:] * 32768 == expected).all()


def mu_law(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """G.711, table 2, of 14 bits in 16: a biased size keeps its highest bit and the four bits below it."""
    biased = np.minimum(sizes // 4, 8158) + 33
    segment = np.floor(np.log2(biased)).astype(np.int64) - 5
    return 4 * (((biased >> (segment + 1)) << (segment + 1)) + (1 << segment) - 33)


def a_law(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """G.711, table 1, of 13 bits in 16: as many bits of a size, but all of a small one."""
    steps = sizes // 16
    segment = np.maximum(np.floor(np.log2(np.maximum(steps, 1))).astype(np.int64) - 4, 0)
    return 16 * ((steps >> segment) << segment) + (8 << segment)


def test_each_sample_is_companded_as_the_nearest_number_of_16_bits() -> None:
    table = np.linspace(-1.0, 1.0, 65536, dtype=np.float32)
    sent = np.array([-2.0, -1.0, -0.5, 0.0, 0.4 / 32767, 0.6 / 32767, 1.0, 2.0], np.float32)
    numbers = [1, 1, 16384, 32768, 32768, 32769, 65535, 65535]
    assert companded(sent, table).tolist() == table[numbers].tolist()


def test_the_line_adds_the_noise_of_companding_and_no_more() -> None:
    sent = tone(0.4, 8000, hertz=1000.0)
    heard = Telephone(8000)(sent, generator())[800:-800]
    error = heard - sent[800:-800]
    assert 33.0 < decibels(mean_square(sent) / mean_square(error)) < 45.0


def test_a_narrow_recording_is_not_made_narrower() -> None:
    narrow = at_rate(noise(0.5, 8000), 8000, 16000)
    once = Telephone(16000)(narrow, generator(1))
    twice = Telephone(16000)(once, generator(1))
    assert decibels(mean_square(once) / mean_square(twice - once)) > 15.0
