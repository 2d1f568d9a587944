from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vecsv.frontend.mel import MelSpectrogram, filterbank_of
from vecsv.frontend.spec import MelSpectrogramSpec

GOLDEN = json.loads(Path(__file__).with_name("mel_golden.json").read_text(encoding="utf-8"))
SPEC = MelSpectrogramSpec()


def noise(samples: int, seed: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32) * np.float32(0.1)


def slow_frame(waveform: NDArray[np.float32], spec: MelSpectrogramSpec, frame: int) -> NDArray[np.float64]:
    """One frame by the definition: sample by sample, frequency by frequency, band by band, in float64."""
    first = frame * spec.hop - (spec.n_fft // 2 if spec.centre else 0)
    floor = 0.5 if spec.window == "hann-periodic" else 0.54
    samples = [
        (float(waveform[first + n]) if 0 <= first + n < waveform.size else 0.0)
        * (floor - (1 - floor) * np.cos(2 * np.pi * n / spec.n_fft))
        for n in range(spec.n_fft)
    ]
    bins = np.arange(spec.n_fft // 2 + 1)
    turns = np.exp(-2j * np.pi * np.outer(bins, np.arange(spec.n_fft)) / spec.n_fft)
    spectrum = np.abs(turns @ np.array(samples)) ** spec.power
    hertz = bins * spec.sample_rate / spec.n_fft

    def mel(frequency: float) -> float:
        return frequency * 3 / 200 if frequency < 1000 else 15 + 27 * np.log(frequency / 1000) / np.log(6.4)

    def frequency(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    step = (mel(spec.f_max) - mel(spec.f_min)) / (spec.mels + 1)
    edges = [frequency(mel(spec.f_min) + k * step) for k in range(spec.mels + 2)]
    bands = []
    for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
        weights = np.interp(hertz, [low, middle, high], [0.0, 1.0, 0.0])
        bands.append(float(weights @ spectrum) * (2 / (high - low) if spec.mel_norm == "slaney" else 1.0))
    return np.array(bands)


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        replace(SPEC, window="hamming-periodic", mel_norm="none"),
        replace(SPEC, centre=False, hop=100),
        replace(SPEC, power=1.0, mels=23, f_min=60.0, f_max=7000.0),
        replace(SPEC, n_fft=512, mels=80),
        replace(SPEC, sample_rate=8000, n_fft=201, hop=80, mels=12, f_max=4000.0),
    ],
)
def test_frames_are_those_of_the_definition(spec: MelSpectrogramSpec) -> None:
    waveform = noise(1777)
    frames = MelSpectrogram(spec)(waveform)
    assert frames.dtype == np.float32
    for frame in {0, 1, len(frames) // 2, len(frames) - 1}:
        np.testing.assert_allclose(frames[frame], slow_frame(waveform, spec, frame), rtol=2e-5, atol=1e-7)


def test_frames_are_those_that_librosa_gives() -> None:
    frames = MelSpectrogram(SPEC)(noise(2345))
    assert frames.shape == (GOLDEN["frames"], 40)
    for frame, expected in GOLDEN["rows"].items():
        np.testing.assert_allclose(frames[int(frame)], expected, rtol=2e-5, atol=1e-8)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(SPEC, hop=161),
        replace(SPEC, window="hamming-periodic"),
        replace(SPEC, centre=False),
        replace(SPEC, mel_norm="none"),
        replace(SPEC, power=1.0),
        replace(SPEC, f_max=7900.0),
        replace(SPEC, n_fft=512),
    ],
)
def test_no_other_setting_gives_what_librosa_gives(wrong: MelSpectrogramSpec) -> None:
    frames = MelSpectrogram(wrong)(noise(2345), GOLDEN["frames"])
    assert not np.allclose(frames[7], GOLDEN["rows"]["7"], rtol=1e-3)


@given(samples=st.integers(0, 9000), more=st.integers(0, 90))
@settings(max_examples=30)
def test_frames_beyond_the_waveform_see_zeros(samples: int, more: int) -> None:
    spectrogram, waveform = MelSpectrogram(SPEC), noise(samples)
    count = spectrogram.frame_count(samples) + more
    padded = np.concatenate([waveform, np.zeros(more * SPEC.hop + SPEC.n_fft, dtype=np.float32)])
    np.testing.assert_allclose(spectrogram(waveform, count), spectrogram(padded)[:count], rtol=1e-5)


@given(first=st.integers(0, 80), count=st.integers(1, 120))
@settings(max_examples=30)
def test_a_frame_depends_on_its_own_samples_only(first: int, count: int) -> None:
    waveform = noise(200 * SPEC.hop)
    spec = replace(SPEC, centre=False)
    whole = MelSpectrogram(spec)(waveform)
    part = MelSpectrogram(spec)(waveform[first * spec.hop :], count)
    np.testing.assert_allclose(part[: len(whole) - first], whole[first : first + count], rtol=1e-5)


@given(st.floats(0.01, 100.0))
def test_power_grows_with_the_square_of_the_level(gain: float) -> None:
    waveform = noise(1000)
    louder = MelSpectrogram(SPEC)(waveform * np.float32(gain))
    np.testing.assert_allclose(louder, MelSpectrogram(SPEC)(waveform) * np.float32(gain) ** 2, rtol=1e-4)


def test_normalised_bands_have_the_same_area_where_bins_are_dense() -> None:
    _, bands = filterbank_of(replace(SPEC, n_fft=16000))
    np.testing.assert_allclose(bands.sum(axis=0), 1.0, rtol=1e-3)


def test_the_window_is_periodic_not_symmetric() -> None:
    window, _ = filterbank_of(SPEC)
    np.testing.assert_allclose(window, np.hanning(401)[:-1], atol=1e-15)
    assert window[1] == pytest.approx(window[-1])
    assert window[0] == 0.0


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2)])
def test_without_centring_only_whole_frames_count(samples: int, frames: int) -> None:
    assert len(MelSpectrogram(replace(SPEC, centre=False))(noise(samples))) == frames
