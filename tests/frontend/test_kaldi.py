from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vecsv.frontend import known
from vecsv.frontend.kaldi import KaldiFilterbank, frame_count, transform_length
from vecsv.frontend.spec import KaldiSpec
from vecsv.health.signals import speech_like, uniform

KNOWN = {"wespeaker": known.WESPEAKER, "3d-speaker": known.THREE_D_SPEAKER}


def slow_filterbank(waveform: NDArray[np.float32], spec: KaldiSpec) -> NDArray[np.float64]:
    """Features by the definition: frame by frame, frequency by frequency, band by band, in float64."""
    length = spec.window_length
    n_fft = 1
    while n_fft < length:
        n_fft *= 2
    cosine = np.cos(2 * np.pi * np.arange(length) / max(length - 1, 1))
    hann = (0.5 - 0.5 * cosine).clip(0.0) if length > 1 else np.ones(1)
    window = {"hann": hann, "povey": hann**0.85, "hamming": 0.54 - 0.46 * cosine if length > 1 else np.ones(1)}
    turns = np.exp(-2j * np.pi * np.outer(np.arange(length), np.arange(n_fft // 2 + 1)) / n_fft)

    def mel(frequency: float) -> float:
        return 1127 * np.log(1 + frequency / 700)

    step = (mel(spec.f_max) - mel(spec.f_min)) / (spec.mels + 1)
    rows = []
    for first in range(0, waveform.size - length + 1, spec.hop):
        frame = waveform[first : first + length].astype(np.float64) * spec.scale
        if spec.remove_dc:
            frame -= frame.mean()
        emphasised = [frame[n] - spec.preemphasis * frame[max(n - 1, 0)] for n in range(length)]
        powers = np.abs((np.array(emphasised) * window[spec.window]) @ turns) ** 2
        row = []
        for band in range(spec.mels):
            low = mel(spec.f_min) + band * step
            energy = sum(
                power * max(0.0, min((at - low) / step, (low + 2 * step - at) / step))
                for power, at in ((p, mel(k * spec.sample_rate / n_fft)) for k, p in enumerate(powers))
            )
            row.append(np.log(max(energy, spec.log_floor)))
        rows.append(row)
    values = np.array(rows).reshape(-1, spec.mels)
    return values - values.mean(axis=0) if spec.subtract_mean and len(values) else values


@pytest.mark.parametrize("spec", KNOWN.values(), ids=KNOWN)
def test_features_are_those_of_the_definition(spec: KaldiSpec) -> None:
    waveform = speech_like(0.1, 7)
    features = KaldiFilterbank(spec)(waveform)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, slow_filterbank(waveform, spec), atol=5e-4)


small_specs = st.builds(
    KaldiSpec,
    sample_rate=st.just(8000),
    window_length=st.integers(1, 70),
    hop=st.integers(1, 50),
    window=st.sampled_from(["hamming", "povey", "hann"]),
    scale=st.sampled_from([1.0, 32768.0]),
    preemphasis=st.sampled_from([0.0, 0.97, 1.0]),
    remove_dc=st.booleans(),
    mels=st.integers(1, 6),
    f_max=st.sampled_from([3000.0, 4000.0]),
    log_floor=st.just(1e-3),
    subtract_mean=st.booleans(),
)


@given(spec=small_specs, samples=st.integers(0, 200), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_features_of_any_settings_and_length_are_those_of_the_definition(
    spec: KaldiSpec, samples: int, seed: int
) -> None:
    waveform = uniform(samples, seed, -1.0, 1.0).astype(np.float32)
    features = KaldiFilterbank(spec)(waveform)
    assert features.shape == (frame_count(spec, samples), spec.mels)
    # A power that nearly cancels has few digits left, so the floor keeps the logarithm away from it.
    floored = replace(spec, log_floor=1e-3 * spec.scale**2)
    np.testing.assert_allclose(KaldiFilterbank(floored)(waveform), slow_filterbank(waveform, floored), atol=2e-3)


@pytest.mark.parametrize("spec", KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("samples", [400, 16000, 16123, 48000])
def test_features_are_those_that_kaldi_native_fbank_gives(spec: KaldiSpec, samples: int) -> None:
    native = pytest.importorskip("kaldi_native_fbank")
    waveform = speech_like(3.0, 8)[:samples] + np.float32(2.0**-6)
    options = native.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = spec.window
    options.mel_opts.num_bins = spec.mels
    options.mel_opts.low_freq = spec.f_min
    options.mel_opts.high_freq = spec.f_max
    options.use_energy = False
    computer = native.OnlineFbank(options)
    computer.accept_waveform(spec.sample_rate, waveform * np.float32(spec.scale))
    computer.input_finished()
    expected = np.stack([computer.get_frame(frame) for frame in range(computer.num_frames_ready)])
    features = KaldiFilterbank(replace(spec, subtract_mean=False))(waveform)
    assert features.shape == expected.shape
    # Its mel bands are rounded to float32 on the way, which moves the lowest, narrowest ones a little.
    np.testing.assert_allclose(features, expected, atol=2e-3)
    assert np.abs(features - expected).mean() < 5e-5


@pytest.mark.parametrize("spec", KNOWN.values(), ids=KNOWN)
@given(samples=st.integers(0, 1500))
@settings(max_examples=50)
def test_no_length_is_an_error_and_every_value_is_finite(spec: KaldiSpec, samples: int) -> None:
    features = KaldiFilterbank(spec)(speech_like(1500 / 16000, 3)[:samples])
    assert features.shape == (0 if samples < 400 else 1 + (samples - 400) // 160, 80)
    assert np.isfinite(features).all()


@given(st.integers(1, 5000))
def test_the_transform_is_the_next_power_of_two(length: int) -> None:
    n_fft = transform_length(replace(known.WESPEAKER, window_length=length))
    assert n_fft // 2 < length <= n_fft
    assert n_fft.bit_count() == 1


@given(gain=st.floats(0.1, 10.0), offset=st.floats(-0.5, 0.5), seed=st.integers(0, 20))
@settings(max_examples=30)
def test_neither_a_gain_nor_an_offset_changes_wespeakers(gain: float, offset: float, seed: int) -> None:
    waveform = speech_like(0.3, seed)
    changed = waveform * np.float32(gain) + np.float32(offset)
    np.testing.assert_allclose(
        KaldiFilterbank(known.WESPEAKER)(changed), KaldiFilterbank(known.WESPEAKER)(waveform), atol=5e-2
    )


def test_an_offset_does_change_them_where_it_is_not_removed() -> None:
    compute, waveform = KaldiFilterbank(replace(known.WESPEAKER, remove_dc=False)), speech_like(0.3, 1)
    assert np.abs(compute(waveform + np.float32(0.5)) - compute(waveform)).max() > 1.0


@pytest.mark.parametrize("spec", KNOWN.values(), ids=KNOWN)
def test_each_bands_mean_over_time_is_zero(spec: KaldiSpec) -> None:
    assert np.abs(KaldiFilterbank(spec)(speech_like(3.0, 4)).mean(axis=0)).max() < 1e-5


def test_silence_lies_at_the_floor() -> None:
    silence = np.zeros(800, dtype=np.float32)
    features = KaldiFilterbank(replace(known.WESPEAKER, subtract_mean=False))(silence)
    np.testing.assert_allclose(features, np.log(2.0**-23), rtol=1e-6)
    assert not KaldiFilterbank(known.WESPEAKER)(silence).any()


@pytest.mark.parametrize("sample", [np.nan, np.inf, 1e30])
def test_samples_that_are_no_numbers_or_absurdly_large_do_not_come_out_as_features(sample: float) -> None:
    waveform = speech_like(0.2, 5)
    waveform[1000] = sample
    with np.errstate(over="ignore", invalid="ignore"):
        assert not np.isfinite(KaldiFilterbank(known.WESPEAKER)(waveform)).all()
