from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dct

from vecsv.frontend.log_mel import LogMel
from vecsv.frontend.mfcc import Mfcc, cosines
from vecsv.frontend.spec import MfccSpec
from vecsv.health.signals import speech_like

SPECS = {
    "default": MfccSpec(),
    "kaldi's numbers": MfccSpec(mels=23, coefficients=13, lifter=22.0, log="ln", range_db=None, normalise="none"),
    "normalised": MfccSpec(mels=40, coefficients=20, normalise="mean-std", padding="reflect", mel_norm="slaney"),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_features_are_scipys_cosine_transform_of_log_mels(spec: MfccSpec) -> None:
    waveform = speech_like(0.731, 7)
    expected = dct(LogMel(spec.log_mel())(waveform).astype(np.float64), type=2, norm="ortho", axis=1)
    expected = expected[:, : spec.coefficients]
    if spec.lifter:
        expected *= [1 + spec.lifter / 2 * np.sin(np.pi * n / spec.lifter) for n in range(spec.coefficients)]
    if spec.normalise != "none":
        expected -= expected.mean(axis=0)
    if spec.normalise == "mean-std":
        expected /= expected.std(axis=0, ddof=1) + 1e-5
    features = Mfcc(spec)(waveform)
    assert features.dtype == np.float32
    assert features.shape == expected.shape
    np.testing.assert_allclose(features, expected, atol=1e-3)


@given(mels=st.integers(1, 128))
def test_as_many_coefficients_as_bands_lose_nothing(mels: int) -> None:
    matrix = cosines(MfccSpec(mels=mels, coefficients=mels))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(mels), atol=1e-12)


@given(coefficients=st.integers(1, 40), lifter=st.floats(1.0, 60.0))
def test_the_lifter_raises_the_middle_coefficients_by_htks_formula(coefficients: int, lifter: float) -> None:
    plain = MfccSpec(mels=40, coefficients=coefficients)
    gains = 1.0 + lifter / 2.0 * np.sin(np.pi * np.arange(coefficients) / lifter)
    np.testing.assert_allclose(cosines(replace(plain, lifter=lifter)), cosines(plain) * gains, atol=1e-12)


def test_the_first_coefficient_alone_tells_how_loud_it_is() -> None:
    spec = MfccSpec(normalise="none", range_db=None)
    waveform = speech_like(0.5, 3)
    change = Mfcc(spec)(waveform) - Mfcc(spec)(waveform * np.float32(0.5))
    # 6 dB in each of 80 bands.
    np.testing.assert_allclose(change[:, 0], 20.0 * np.log10(2.0) * np.sqrt(80.0), rtol=1e-3)
    assert np.abs(change[:, 1:]).max() < 1e-2


@pytest.mark.parametrize("wrong", [{"mels": 81}, {"lifter": 22.0}, {"mel_shape": "triangle"}, {"normalise": "none"}])
def test_another_setting_is_told_apart(wrong: dict[str, object]) -> None:
    waveform = speech_like(0.5, 3)
    expected = dct(LogMel(MfccSpec().log_mel())(waveform), norm="ortho", axis=1)
    expected -= expected.mean(axis=0)
    assert np.abs(Mfcc(replace(MfccSpec(), **wrong))(waveform) - expected).max() > 0.1


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("samples", [0, 1, 159, 160])
def test_no_length_is_an_error_and_every_value_is_finite(spec: MfccSpec, samples: int) -> None:
    features = Mfcc(spec)(np.zeros(samples, dtype=np.float32))
    assert features.shape == (len(LogMel(spec.log_mel())(np.zeros(samples, dtype=np.float32))), spec.coefficients)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
