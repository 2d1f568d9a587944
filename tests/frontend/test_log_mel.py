from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vecsv.frontend import known
from vecsv.frontend.centred import frame_count
from vecsv.frontend.log_mel import LogMel
from vecsv.frontend.spec import LogMelSpec
from vecsv.health.signals import speech_like, uniform

KNOWN = {"speechbrain": known.SPEECHBRAIN, "redimnet": known.REDIMNET, "titanet": known.TITANET}


def slow_log_mel(waveform: NDArray[np.float32], spec: LogMelSpec) -> NDArray[np.float64]:
    """Features by the definition: sample by sample, frequency by frequency, band by band, in float64."""
    count = frame_count(spec, waveform.size)

    def emphasised(place: int) -> float:
        before = place - 1
        if before < 0 and spec.preemphasis_edge == "none":
            return float(waveform[place])
        return float(waveform[place]) - spec.preemphasis * float(waveform[abs(before)])

    def sample(place: int) -> float:
        if 0 <= place < waveform.size:
            return emphasised(place)
        if spec.padding == "zeros":
            return 0.0
        return emphasised(-place if place < 0 else 2 * (waveform.size - 1) - place)

    floor = 0.5 if spec.window.startswith("hann") else 0.54
    turn = spec.window_length if spec.window.endswith("periodic") else max(spec.window_length - 1, 1)
    gap = (spec.n_fft - spec.window_length) // 2
    window = np.zeros(spec.n_fft)
    for n in range(spec.window_length):
        window[gap + n] = floor - (1 - floor) * np.cos(2 * np.pi * n / turn) if spec.window_length > 1 else 1.0

    def mel(frequency: float) -> float:
        if spec.mel_scale == "htk":
            return 2595 * np.log10(1 + frequency / 700)
        return frequency * 3 / 200 if frequency < 1000 else 15 + 27 * np.log(frequency / 1000) / np.log(6.4)

    def frequency(mel: float) -> float:
        if spec.mel_scale == "htk":
            return 700 * (10 ** (mel / 2595) - 1)
        return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)

    step = (mel(spec.f_max) - mel(spec.f_min)) / (spec.mels + 1)
    edges = [frequency(mel(spec.f_min) + k * step) for k in range(spec.mels + 2)]
    hertz = np.arange(spec.n_fft // 2 + 1) * spec.sample_rate / spec.n_fft
    bands = []
    for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
        top = high if spec.mel_shape == "triangle" else 2 * middle - low
        height = 2 / (high - low) if spec.mel_norm == "slaney" else 1.0
        bands.append(np.interp(hertz, [low, middle, top], [0.0, height, 0.0]))
    turns = np.exp(-2j * np.pi * np.outer(np.arange(spec.n_fft), np.arange(hertz.size)) / spec.n_fft)
    values = np.empty((count, spec.mels))
    for t in range(count):
        first = t * spec.hop - spec.n_fft // 2
        # Where the window is nothing, what it hides may lie further out than a reflection reaches.
        seen = [weight and weight * sample(first + n) for n, weight in enumerate(window)]
        powers = np.abs(np.array(seen) @ turns) ** 2
        for band, weights in enumerate(bands):
            power = float(weights @ powers)
            if spec.log == "none":
                values[t, band] = power
                continue
            power = max(power, spec.log_floor) + spec.log_offset
            values[t, band] = 10 * np.log10(power) if spec.log == "db" else np.log(power)
    if spec.range_db is not None:
        values = np.maximum(values, values.max() - spec.range_db)
    if spec.normalise == "none":
        return values
    values -= values.mean(axis=0)
    if spec.normalise == "mean-std":
        values /= (values.std(axis=0, ddof=1) if count > 1 else 0.0) + 1e-5
    return values


@pytest.mark.parametrize("spec", KNOWN.values(), ids=KNOWN)
def test_features_are_those_of_the_definition(spec: LogMelSpec) -> None:
    waveform = speech_like(0.131, 7)
    features = LogMel(spec)(waveform)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, slow_log_mel(waveform, spec), atol=5e-4)


@st.composite
def small_specs(draw: st.DrawFn) -> LogMelSpec:
    n_fft = draw(st.integers(8, 48))
    log = draw(st.sampled_from(["db", "ln", "none"]))
    return LogMelSpec(
        sample_rate=8000,
        n_fft=n_fft,
        window_length=draw(st.integers(4, n_fft)),
        hop=draw(st.integers(1, 40)),
        window=draw(st.sampled_from(["hann-periodic", "hann-symmetric", "hamming-periodic", "hamming-symmetric"])),
        padding=draw(st.sampled_from(["zeros", "reflect"])),
        frames=draw(st.sampled_from(["all", "whole-hops"])),
        preemphasis=draw(st.sampled_from([0.0, 0.5, 0.97])),
        preemphasis_edge=draw(st.sampled_from(["none", "reflect"])),
        mels=draw(st.integers(1, 6)),
        mel_scale=draw(st.sampled_from(["htk", "slaney"])),
        mel_shape=draw(st.sampled_from(["triangle", "left-bandwidth"])),
        mel_norm=draw(st.sampled_from(["none", "slaney"])),
        f_max=draw(st.sampled_from([3000.0, 4000.0])),
        log=log,
        log_floor=draw(st.sampled_from([1e-10, 1e-3])),
        log_offset=draw(st.sampled_from([0.0, 1e-4])),
        range_db=draw(st.sampled_from([None, 30.0])) if log == "db" else None,
        normalise=draw(st.sampled_from(["none", "mean"])),
    )


@given(spec=small_specs(), samples=st.integers(0, 200), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_features_of_any_settings_and_length_are_those_of_the_definition(
    spec: LogMelSpec, samples: int, seed: int
) -> None:
    waveform = uniform(samples, seed, -1.0, 1.0).astype(np.float32)
    features = LogMel(spec)(waveform)
    assert features.shape == (frame_count(spec, samples), spec.mels)
    if len(features):
        # A power that nearly cancels has few digits left, so an offset keeps the logarithm away from it.
        offset = replace(spec, log_offset=1e-3)
        np.testing.assert_allclose(LogMel(offset)(waveform), slow_log_mel(waveform, offset), rtol=1e-4, atol=2e-3)


UNLOGGED = replace(known.SPEECHBRAIN, log="none", range_db=None, normalise="none")


def test_without_a_logarithm_the_powers_stay_as_they_are() -> None:
    waveform = speech_like(0.131, 7)
    powers = LogMel(UNLOGGED)(waveform)
    np.testing.assert_allclose(powers, slow_log_mel(waveform, UNLOGGED), rtol=1e-4, atol=1e-6)
    logged = LogMel(replace(UNLOGGED, log="ln", log_floor=0.0, log_offset=1e-6))(waveform)
    np.testing.assert_allclose(np.exp(logged), powers + np.float32(1e-6), rtol=1e-5)


def test_without_a_logarithm_neither_its_floor_nor_its_offset_counts() -> None:
    waveform = speech_like(0.3, 7)
    changed = replace(UNLOGGED, log_floor=10.0, log_offset=10.0)
    np.testing.assert_array_equal(LogMel(changed)(waveform), LogMel(UNLOGGED)(waveform))
    assert np.array_equal(LogMel(replace(UNLOGGED, log_floor=0.0))(waveform), LogMel(UNLOGGED)(waveform))


def test_powers_can_be_normalised_over_time() -> None:
    waveform = speech_like(1.0, 7)
    powers = LogMel(UNLOGGED)(waveform).astype(np.float64)
    expected = (powers - powers.mean(axis=0)) / (powers.std(axis=0, ddof=1) + 1e-5)
    normalised = LogMel(replace(UNLOGGED, normalise="mean-std"))(waveform)
    np.testing.assert_allclose(normalised, expected, atol=1e-4)
    assert 0.5 < normalised.std() < 1.1


@pytest.mark.parametrize("n_fft", [14, 15, 16])
@pytest.mark.parametrize("window_length", [12, 13, 14])
def test_the_shortest_waveform_that_can_be_reflected_is_enough(n_fft: int, window_length: int) -> None:
    spec = LogMelSpec(n_fft=n_fft, window_length=window_length, hop=3, padding="reflect", mels=3, log_offset=1e-3)
    waveform = uniform(n_fft // 2 + 1, 4, -1.0, 1.0).astype(np.float32)
    np.testing.assert_allclose(LogMel(spec)(waveform), slow_log_mel(waveform, spec), atol=2e-3)
    assert len(LogMel(spec)(waveform[1:])) == 0


@pytest.mark.parametrize("spec", KNOWN.values(), ids=KNOWN)
@given(samples=st.integers(0, 2000))
@settings(max_examples=50)
def test_no_length_is_an_error_and_every_value_is_finite(spec: LogMelSpec, samples: int) -> None:
    features = LogMel(spec)(speech_like(2000 / 16000, 3)[:samples])
    assert features.shape == (frame_count(spec, samples), spec.mels)
    assert np.isfinite(features).all()


@pytest.mark.parametrize(
    ("spec", "counts"),
    [
        (known.SPEECHBRAIN, {0: 0, 1: 1, 159: 1, 160: 2, 161: 2, 16000: 101}),
        (known.TITANET, {0: 0, 256: 0, 257: 2, 319: 2, 320: 3, 16000: 101}),
        (replace(known.TITANET, padding="zeros", frames="whole-hops"), {0: 0, 159: 0, 160: 1, 16000: 100}),
        (replace(known.SPEECHBRAIN, n_fft=401, window_length=401), {1: 1, 160: 1, 161: 2}),
    ],
)
def test_a_frame_stands_at_each_multiple_of_the_hop(spec: LogMelSpec, counts: dict[int, int]) -> None:
    assert {samples: frame_count(spec, samples) for samples in counts} == counts
    for samples, frames in counts.items():
        assert len(LogMel(spec)(np.ones(samples, dtype=np.float32))) == frames


# A gain of 0.1 would push the quietest bands below the floor of 1e-10.
@given(st.floats(0.5, 10.0), st.integers(0, 20))
@settings(max_examples=30)
def test_a_gain_changes_nothing_of_speechbrains(gain: float, seed: int) -> None:
    waveform = speech_like(0.3, seed)
    louder = LogMel(known.SPEECHBRAIN)(waveform * np.float32(gain))
    np.testing.assert_allclose(louder, LogMel(known.SPEECHBRAIN)(waveform), atol=5e-3)


def test_a_gain_does_change_what_has_an_offset_under_its_logarithm() -> None:
    waveform = speech_like(0.3, 1)
    assert np.abs(LogMel(known.REDIMNET)(waveform * np.float32(0.1)) - LogMel(known.REDIMNET)(waveform)).max() > 0.5


@pytest.mark.parametrize("spec", KNOWN.values(), ids=KNOWN)
def test_each_bands_mean_over_time_is_zero(spec: LogMelSpec) -> None:
    assert np.abs(LogMel(spec)(speech_like(3.0, 4)).mean(axis=0)).max() < 1e-5


def test_each_band_of_titanets_has_a_deviation_of_1() -> None:
    np.testing.assert_allclose(LogMel(known.TITANET)(speech_like(3.0, 4)).std(axis=0, ddof=1), 1.0, rtol=1e-4)


def test_a_single_frame_is_its_own_mean_and_becomes_zeros() -> None:
    spec = replace(known.TITANET, padding="zeros", frames="whole-hops")
    np.testing.assert_array_equal(LogMel(spec)(speech_like(0.01, 4)), np.zeros((1, 80), dtype=np.float32))


def test_nothing_lies_further_below_the_loudest_than_the_range() -> None:
    kept = replace(known.SPEECHBRAIN, normalise="none", range_db=30.0)
    features, unbounded = (LogMel(spec)(speech_like(1.0, 5)) for spec in (kept, replace(kept, range_db=None)))
    assert float(features.max() - features.min()) == pytest.approx(30.0, abs=1e-4)
    np.testing.assert_array_equal(features, np.maximum(unbounded, unbounded.max() - np.float32(30.0)))


@pytest.mark.parametrize("spec", KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("sample", [np.nan, np.inf, 1e30])
def test_samples_that_are_no_numbers_or_absurdly_large_do_not_come_out_as_features(
    spec: LogMelSpec, sample: float
) -> None:
    waveform = speech_like(0.2, 5)
    waveform[1000] = sample
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.isfinite(LogMel(spec)(waveform)).all()
