from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vecsv.frontend import known
from vecsv.frontend.compute import bands_of, front_end
from vecsv.frontend.filterbank import (
    Filterbank,
    analysis_window,
    bin_frequencies,
    hz_to_mel,
    mel_edges,
    mel_to_hz,
    mel_weights,
    product,
    triangles,
    without_mean,
)
from vecsv.frontend.spec import FrontendSpec, MelSpectrogramSpec, MfccSpec, SpectrogramSpec
from vecsv.health.signals import speech_like, uniform

WITH_PRODUCTS: list[FrontendSpec] = [
    known.SPEECHBRAIN,
    known.WESPEAKER,
    known.REDIMNET,
    known.TITANET,
    MelSpectrogramSpec(),
    MfccSpec(),
]
SPECS = [*WITH_PRODUCTS, SpectrogramSpec()]


def name(spec: FrontendSpec) -> str:
    return f"{spec.kind}-{bands_of(spec)}"


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@given(st.lists(st.floats(0.0, 24000.0), min_size=1))
def test_mels_and_hertz_are_each_others_inverse(scale: str, frequencies: list[float]) -> None:
    hertz = np.array(frequencies)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hertz, scale), scale), hertz, rtol=1e-11, atol=1e-9)


def test_the_two_scales_are_not_the_same() -> None:
    assert hz_to_mel(np.array([1000.0, 4000.0]), "htk").round(2).tolist() == [999.99, 2146.06]
    assert hz_to_mel(np.array([1000.0, 4000.0]), "slaney").round(2).tolist() == [15.0, 35.16]


@pytest.mark.parametrize("name", ["hann", "hamming"])
def test_symmetric_windows_are_numpys_and_periodic_ones_lack_the_last_of_them(name: str) -> None:
    reference = {"hann": np.hanning, "hamming": np.hamming}[name]
    np.testing.assert_allclose(analysis_window(f"{name}-symmetric", 400), reference(400), atol=1e-15)
    np.testing.assert_allclose(analysis_window(f"{name}-periodic", 400), reference(401)[:-1], atol=1e-15)


def test_the_povey_window_is_a_hann_window_that_opens_faster() -> None:
    np.testing.assert_allclose(analysis_window("povey", 400), np.hanning(400).clip(0.0) ** 0.85, atol=1e-12)


@pytest.mark.parametrize("name", ["hann-periodic", "hann-symmetric", "hamming-periodic", "hamming-symmetric", "povey"])
@given(length=st.integers(1, 600))
def test_every_window_of_every_length_is_finite_and_between_0_and_1(name: str, length: int) -> None:
    window = analysis_window(name, length)
    assert window.shape == (length,)
    assert np.isfinite(window).all()
    assert window.min() >= 0.0
    assert window.max() <= 1.0 + 1e-12


def test_triangles_rise_to_1_at_their_centre_and_fall_to_the_next_ones() -> None:
    edges = np.array([0.0, 1.0, 3.0, 4.0])
    points = np.array([0.0, 0.5, 1.0, 2.0, 3.0, 3.5, 5.0])
    np.testing.assert_allclose(triangles(points, edges)[:, 0], [0, 0.5, 1, 0.5, 0, 0, 0])
    np.testing.assert_allclose(triangles(points, edges)[:, 1], [0, 0, 0, 0.5, 1, 0.5, 0])


def test_with_the_left_bandwidth_a_band_falls_as_steeply_as_it_rises() -> None:
    edges = np.array([0.0, 1.0, 3.0, 4.0])
    points = np.array([0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 4.5])
    np.testing.assert_allclose(triangles(points, edges, shape="left-bandwidth")[:, 0], [0.5, 1, 0.5, 0, 0, 0, 0])
    np.testing.assert_allclose(triangles(points, edges, shape="left-bandwidth")[:, 1], [0, 0, 0.25, 0.5, 1, 0.5, 0.25])


def test_bands_whose_slopes_are_straight_in_mels_differ_from_those_straight_in_hertz() -> None:
    edges = mel_edges(20, 0.0, 8000.0, "htk")
    in_mels = triangles(hz_to_mel(bin_frequencies(512, 16000), "htk"), edges)
    in_hertz = mel_weights(n_fft=512, sample_rate=16000, mels=20, f_min=0.0, f_max=8000.0, scale="htk", norm="none")
    assert 0.01 < np.abs(in_mels - in_hertz).max() < 0.2


def test_powers_are_those_of_the_definition() -> None:
    frames = uniform((7, 20), 3, -1.0, 1.0)
    window, weights = uniform(20, 4), uniform((17, 5), 5)
    turns = np.exp(-2j * np.pi * np.outer(np.arange(20), np.arange(17)) / 32)
    expected = np.abs((frames * window) @ turns) ** 3 @ weights
    bands = Filterbank(window, weights, n_fft=32, power=3.0)(frames.astype(np.float32))
    assert bands.dtype == np.float32
    np.testing.assert_allclose(bands, expected, rtol=1e-5)


def test_without_weights_every_bin_is_a_band_whatever_the_blocks() -> None:
    frames, window = uniform((3000, 20), 3, -1.0, 1.0), uniform(20, 4)
    bands = Filterbank(window, None, n_fft=31)(frames.astype(np.float32))
    assert bands.dtype == np.float32
    np.testing.assert_allclose(bands, np.abs(np.fft.rfft(frames * window, 31)) ** 2, rtol=1e-4, atol=1e-6)
    assert Filterbank(window, None, n_fft=32)(frames[:0].astype(np.float32)).shape == (0, 17)


@pytest.mark.parametrize("rows", [0, 1, 39, 40, 41, 500])
def test_a_product_in_blocks_is_the_whole_product(rows: int) -> None:
    left, right = (uniform(shape, 8, -1.0, 1.0).astype(np.float32) for shape in ((rows, 80), (80, 81)))
    multiplied = product(left, right)
    assert multiplied.dtype == np.float32
    np.testing.assert_allclose(multiplied, left.astype(np.float64) @ right, atol=1e-5)


def test_frames_are_conditioned_before_the_window_whatever_the_blocks() -> None:
    frames = uniform((500, 400), 6).astype(np.float32)
    filterbank = Filterbank(np.ones(400), uniform((257, 80), 7), n_fft=512)
    conditioned = filterbank(frames, lambda block: block - block.mean(axis=1, keepdims=True))
    np.testing.assert_allclose(conditioned, filterbank(frames - frames.mean(axis=1, keepdims=True)), rtol=1e-6)


def test_a_mean_over_an_hour_keeps_its_digits() -> None:
    bands = np.full((360_000, 2), 11.1, dtype=np.float32)
    assert np.abs(without_mean(bands)).max() < 1e-6
    assert without_mean(bands[:0]).shape == (0, 2)


@pytest.mark.parametrize("spec", WITH_PRODUCTS, ids=name)
def test_matrix_products_stay_below_the_size_that_openblas_starts_threads_for(
    spec: FrontendSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiplications: list[int] = []
    multiply = np.matmul

    def counted(left: NDArray[np.float32], right: NDArray[np.float32], out: NDArray[np.float32]) -> NDArray[np.float32]:
        multiplications.append(left.shape[0] * right.size)
        return multiply(left, right, out=out)

    monkeypatch.setattr(np, "matmul", counted)
    frames = front_end(spec)(speech_like(10.0, 1))
    assert sum(multiplications) >= len(frames) * frames.shape[1] * 201
    assert max(multiplications) <= 2**18


@pytest.mark.parametrize("spec", SPECS, ids=name)
def test_threads_can_share_a_front_end(spec: FrontendSpec) -> None:
    compute = front_end(spec)
    waveforms = [speech_like(0.5 + 0.1 * seed, seed) for seed in range(8)]
    alone = [compute(waveform) for waveform in waveforms]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(compute, waveforms * 4))
    for place, features in enumerate(together):
        np.testing.assert_array_equal(features, alone[place % 8])


@pytest.mark.parametrize("spec", SPECS, ids=name)
def test_a_front_end_leaves_its_waveform_as_it_was(spec: FrontendSpec) -> None:
    waveform = speech_like(0.5, 2)
    before = waveform.copy()
    waveform.flags.writeable = False
    front_end(spec)(waveform)
    np.testing.assert_array_equal(waveform, before)
