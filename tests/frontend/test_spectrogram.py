from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.fft import rfft
from scipy.signal import get_window, lfilter

from vecsv.frontend.centred import frame_count
from vecsv.frontend.spec import SpectrogramSpec
from vecsv.frontend.spectrogram import Spectrogram
from vecsv.health.signals import speech_like, uniform


def scipys_spectrogram(waveform: NDArray[np.float32], spec: SpectrogramSpec) -> NDArray[np.float64]:
    """Features by SciPy's own filter, windows and transform, in float64."""
    emphasised = lfilter([1.0, -spec.preemphasis], [1.0], waveform.astype(np.float64))
    if spec.preemphasis_edge == "reflect":
        emphasised[0] -= spec.preemphasis * float(waveform[1])
    half, gap = spec.n_fft // 2, (spec.n_fft - spec.window_length) // 2
    padded = np.pad(emphasised, half, mode="reflect" if spec.padding == "reflect" else "constant")
    shape, _, ends = spec.window.partition("-")
    window = np.zeros(spec.n_fft)
    window[gap : gap + spec.window_length] = get_window(shape, spec.window_length, fftbins=ends == "periodic")
    starts = range(0, padded.size - spec.n_fft + 1, spec.hop)
    if spec.frames == "whole-hops":
        starts = starts[: waveform.size // spec.hop]
    values = np.array([np.abs(rfft(padded[start : start + spec.n_fft] * window)) ** 2 for start in starts])
    if spec.log != "none":
        values = np.log(np.maximum(values, spec.log_floor) + spec.log_offset)
        values *= 10.0 / np.log(10.0) if spec.log == "db" else 1.0
    if spec.range_db is not None:
        values = np.maximum(values, values.max() - spec.range_db)
    if spec.normalise != "none":
        values = values - values.mean(axis=0)
    if spec.normalise == "mean-std":
        values = values / ((values.std(axis=0, ddof=1) if len(values) > 1 else 0.0) + 1e-5)
    return values


@pytest.mark.parametrize(
    "spec",
    [
        SpectrogramSpec(),
        SpectrogramSpec(normalise="none"),
        SpectrogramSpec(normalise="mean-std", log="ln", range_db=None, log_offset=1e-4, padding="reflect", n_fft=512),
        SpectrogramSpec(preemphasis=0.97, frames="whole-hops", window="hann-symmetric"),
    ],
)
def test_features_are_scipys(spec: SpectrogramSpec) -> None:
    waveform = speech_like(0.331, 7)
    features = Spectrogram(spec)(waveform)
    assert features.dtype == np.float32
    assert features.shape == (frame_count(spec, waveform.size), spec.n_fft // 2 + 1)
    np.testing.assert_allclose(features, scipys_spectrogram(waveform, spec), atol=2e-3)


@st.composite
def small_specs(draw: st.DrawFn) -> SpectrogramSpec:
    n_fft = draw(st.integers(8, 48))
    log = draw(st.sampled_from(["db", "ln", "none"]))
    return SpectrogramSpec(
        n_fft=n_fft,
        window_length=draw(st.integers(4, n_fft)),
        hop=draw(st.integers(1, 40)),
        window=draw(st.sampled_from(["hann-periodic", "hann-symmetric", "hamming-periodic", "hamming-symmetric"])),
        padding=draw(st.sampled_from(["zeros", "reflect"])),
        frames=draw(st.sampled_from(["all", "whole-hops"])),
        preemphasis=draw(st.sampled_from([0.0, 0.5, 0.97])),
        preemphasis_edge=draw(st.sampled_from(["none", "reflect"])),
        log=log,
        # A power that nearly cancels has few digits left, so an offset keeps the logarithm away from it.
        log_offset=1e-3,
        range_db=draw(st.sampled_from([None, 30.0])) if log == "db" else None,
        normalise=draw(st.sampled_from(["none", "mean"])),
    )


@given(spec=small_specs(), samples=st.integers(0, 200), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_features_of_any_settings_and_length_are_scipys(spec: SpectrogramSpec, samples: int, seed: int) -> None:
    waveform = uniform(samples, seed, -1.0, 1.0).astype(np.float32)
    features = Spectrogram(spec)(waveform)
    assert features.shape == (frame_count(spec, samples), spec.n_fft // 2 + 1)
    if len(features):
        np.testing.assert_allclose(features, scipys_spectrogram(waveform, spec), rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"window": "hamming-symmetric"},
        {"padding": "reflect"},
        {"preemphasis": 0.01},
        {"log": "ln", "range_db": None},
        {"range_db": 60.0},
        {"log_offset": 1e-3},
        {"normalise": "none"},
    ],
)
def test_another_setting_is_told_apart(wrong: dict[str, object]) -> None:
    waveform = speech_like(0.331, 7)
    expected = scipys_spectrogram(waveform, SpectrogramSpec())
    assert np.abs(Spectrogram(replace(SpectrogramSpec(), **wrong))(waveform) - expected).max() > 2e-2


def test_a_tone_stands_at_its_frequency() -> None:
    tone = np.sin(2.0 * np.pi * 1000.0 * np.arange(8000) / 16000.0).astype(np.float32)
    features = Spectrogram(SpectrogramSpec(normalise="none"))(tone)
    assert set(features[2:-2].argmax(axis=1)) == {1000 * 400 // 16000}


@pytest.mark.parametrize("samples", [0, 1, 159, 160])
@pytest.mark.parametrize("log", ["db", "none"])
def test_no_length_is_an_error_and_every_value_is_finite(samples: int, log: str) -> None:
    spec = SpectrogramSpec(log=log, range_db=80.0 if log == "db" else None)
    features = Spectrogram(spec)(np.zeros(samples, dtype=np.float32))
    assert features.shape == (frame_count(spec, samples), 201)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
