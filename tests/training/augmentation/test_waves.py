from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.sounds import noise
from tests.training.augmentation.signals import lag
from vecsv.training.augmentation.waves import aligned, at_rate, limit_peak, power


def test_power_does_not_lose_small_samples_beside_large_ones() -> None:
    wave = np.full(1_000_001, 1e-3, np.float32)
    wave[0] = 1e3
    assert abs(power(wave) * wave.size / (1e6 + 1.0) - 1.0) < 1e-6


def test_nothing_has_no_power() -> None:
    assert power(np.zeros(0, np.float32)) == 0.0


@given(st.lists(st.floats(-100.0, 100.0, width=32), max_size=20))
def test_a_peak_above_one_becomes_one_and_the_shape_stays(values: list[float]) -> None:
    wave = np.array(values, np.float32)
    limited = limit_peak(wave)
    peak = np.abs(wave).max(initial=0.0)
    if peak <= 1.0:
        assert limited is wave
    else:
        assert np.abs(limited).max() == 1.0
        np.testing.assert_allclose(limited * peak, wave, rtol=1e-6, atol=1e-6)


@given(st.integers(0, 9), st.integers(-12, 12), st.integers(0, 12))
def test_a_delay_is_taken_out(size: int, delay: int, samples: int) -> None:
    wave = np.arange(1, size + 1, dtype=np.float32)
    expected = [wave[place + delay] if 0 <= place + delay < size else 0.0 for place in range(samples)]
    assert aligned(wave, delay, samples).tolist() == expected


def test_resampling_delays_nothing() -> None:
    wave = at_rate(noise(0.5, 8000), 8000, 16000)
    there_and_back = at_rate(at_rate(wave, 16000, 44100), 44100, 16000)
    assert lag(there_and_back, wave) == 0
    np.testing.assert_allclose(there_and_back[800:7200], wave[800:7200], atol=2e-3)


def test_an_equal_rate_changes_nothing() -> None:
    wave = noise(0.01)
    assert at_rate(wave, 16000, 16000) is wave
    assert at_rate(np.zeros(0, np.float32), 8000, 16000).size == 0
