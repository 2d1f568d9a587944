from __future__ import annotations

import numpy as np
import pytest

from tests.fixtures.sounds import noise
from tests.training.augmentation.signals import decibels, generator, mean_square
from vecsv.training.augmentation.gain import Gain
from vecsv.training.specs import GainSpec


def test_gains_are_spread_evenly_over_the_range_in_decibels() -> None:
    wave = noise(0.05)
    effect = Gain(GainSpec(1.0, (-12.0, 6.0)))
    gains = [decibels(mean_square(effect(wave, generator(seed))) / mean_square(wave)) for seed in range(300)]
    assert -12.001 < min(gains) < -11.5
    assert 5.5 < max(gains) < 6.001
    np.testing.assert_allclose(np.quantile(gains, [0.25, 0.5, 0.75]), [-7.5, -3.0, 1.5], atol=1.5)


def test_only_the_size_changes() -> None:
    wave = noise(0.05)
    louder = Gain(GainSpec(1.0, (6.0, 6.0)))(wave, generator())
    np.testing.assert_allclose(louder, wave * 10 ** (6 / 20), rtol=1e-6)
    assert louder.dtype == np.float32
    assert float(Gain(GainSpec(1.0, (0.0, 0.0)))(wave, generator())[0]) == pytest.approx(float(wave[0]))
