from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.frontend import known
from vecsv.frontend.spec import WaveformSpec
from vecsv.frontend.waveform import ScaledWaveform
from vecsv.health.signals import speech_like


def test_by_default_the_waveform_stays_as_it_is() -> None:
    waveform = speech_like(0.5, 1)
    np.testing.assert_array_equal(ScaledWaveform(WaveformSpec())(waveform), waveform)


def test_samples_are_scaled() -> None:
    waveform = speech_like(0.5, 1)
    np.testing.assert_array_equal(ScaledWaveform(WaveformSpec(scale=32768.0))(waveform), np.rint(waveform * 2**15))


@given(gain=st.floats(0.1, 10.0), offset=st.floats(-1.0, 1.0), samples=st.integers(4000, 8000))
def test_neither_a_gain_nor_an_offset_changes_a_normalised_waveform(gain: float, offset: float, samples: int) -> None:
    compute, waveform = ScaledWaveform(known.NORMALISED_WAVEFORM), speech_like(0.5, 1)[:samples]
    expected = (waveform - waveform.mean(dtype=np.float64)) / waveform.std(dtype=np.float64)
    changed = compute(waveform * np.float32(gain) + np.float32(offset))
    assert changed.dtype == np.float32
    np.testing.assert_allclose(changed, expected, rtol=2e-2, atol=1e-3)


def test_normalisation_comes_before_the_scale() -> None:
    waveform = speech_like(0.5, 1)
    scaled = ScaledWaveform(WaveformSpec(scale=3.0, normalise=True))(waveform)
    np.testing.assert_allclose(scaled, 3.0 * ScaledWaveform(known.NORMALISED_WAVEFORM)(waveform), rtol=1e-6)
    assert float(scaled.std()) == pytest.approx(3.0, rel=1e-3)


def test_a_constant_becomes_zeros() -> None:
    constant = np.full(1000, 0.25, dtype=np.float32)
    np.testing.assert_array_equal(ScaledWaveform(known.NORMALISED_WAVEFORM)(constant), np.zeros(1000))


@pytest.mark.parametrize("spec", [WaveformSpec(), known.NORMALISED_WAVEFORM, WaveformSpec(scale=2.0)])
@pytest.mark.parametrize("samples", [0, 1, 2])
def test_no_length_is_an_error(spec: WaveformSpec, samples: int) -> None:
    values = ScaledWaveform(spec)(np.ones(samples, dtype=np.float32))
    assert values.shape == (samples,)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()


@pytest.mark.parametrize("sample", [np.nan, np.inf])
def test_samples_that_are_no_numbers_do_not_come_out_as_numbers(sample: float) -> None:
    waveform = speech_like(0.2, 5)
    waveform[1000] = sample
    with np.errstate(invalid="ignore"):
        assert not np.isfinite(ScaledWaveform(known.NORMALISED_WAVEFORM)(waveform)).all()
