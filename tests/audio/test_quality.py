from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.sounds import bursts, noise, tone
from vecsv.arrays import Waveform
from vecsv.audio import decode
from vecsv.audio.activity import WINDOW_SAMPLES, Activity, detect
from vecsv.audio.decode import Clip
from vecsv.audio.quality import MIN_SPREAD_DB, SNR_CEILING_DB, SNR_FLOOR_DB, Quality, QualityMeter, require_usable
from vecsv.errors import AudioError

GOOD = Quality(duration_s=3.0, speech_s=2.0, snr_db=20.0, clipped=0.0, peak=0.5)


def measure(waveform: Waveform, activity: Activity | None = None) -> Quality:
    meter = QualityMeter()
    meter.add(waveform, detect(waveform) if activity is None else activity)
    return meter.result()


@pytest.mark.parametrize("true_db", [10.0, 15.0, 20.0, 30.0, 40.0])
def test_snr_of_bursts_in_noise_is_within_one_and_a_half_decibels(true_db: float) -> None:
    clean = bursts(30)
    on = np.arange(clean.size) % 24000 >= 14400
    speech_power = float(np.mean(clean[on].astype(np.float64) ** 2))
    background = noise(30, rms=float(np.sqrt(speech_power / 10 ** (true_db / 10))), seed=int(true_db))
    snr_db = measure(clean + background).snr_db
    assert snr_db is not None
    assert abs(snr_db - true_db) <= 1.5


def test_snr_follows_its_definition_where_decisions_are_given() -> None:
    flags = np.zeros(100, dtype=np.bool_)
    flags[40:60] = True
    waveform = noise(3.0, rms=0.01)
    waveform[40 * WINDOW_SAMPLES : 60 * WINDOW_SAMPLES] += noise(0.6, rms=0.1, seed=1)
    far = np.ones(100, dtype=np.bool_)
    far[37:63] = False
    powers = np.array([np.var(part.astype(np.float64)) for part in waveform.reshape(100, -1)])
    speech, rest = powers[flags].mean(), powers[far].mean()
    assert measure(waveform, Activity(flags)).snr_db == pytest.approx(10 * np.log10((speech - rest) / rest), abs=1e-6)


def test_a_constant_offset_changes_no_snr() -> None:
    flags = np.arange(100) % 50 > 25
    waveform = noise(3.0, rms=0.01) * np.repeat(np.where(flags, 10, 1), WINDOW_SAMPLES).astype(np.float32)
    plain = measure(waveform, Activity(flags)).snr_db
    assert measure(waveform + np.float32(0.25), Activity(flags)).snr_db == pytest.approx(plain, abs=1e-3)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(0, 2**32 - 1), st.integers(0, WINDOW_SAMPLES - 1)
)
def test_blocks_amount_to_the_whole(block_windows: list[int], seed: int, tail: int) -> None:
    windows = sum(block_windows)
    waveform = noise(1, seed=seed, rate=windows * WINDOW_SAMPLES + tail, rms=0.5)
    flags = np.random.default_rng(seed).random(windows) < 0.1
    meter = QualityMeter()
    start = 0
    for number, count in enumerate(block_windows, start=1):
        stop = start + count
        samples = waveform[start * WINDOW_SAMPLES :][: None if number == len(block_windows) else count * WINDOW_SAMPLES]
        meter.add(samples, Activity(flags[start:stop]))
        start = stop
    assert dataclasses.astuple(meter.result()) == dataclasses.astuple(measure(waveform, Activity(flags)))


def test_no_snr_without_speech() -> None:
    assert measure(noise(3), Activity(np.zeros(100, dtype=np.bool_))).snr_db is None


@pytest.mark.parametrize(("noise_windows", "has_snr"), [(4, False), (5, True)])
def test_snr_needs_five_windows_of_noise(noise_windows: int, has_snr: bool) -> None:
    flags = np.ones(40, dtype=np.bool_)
    # Three windows next to speech count as neither.
    flags[: noise_windows + 3] = False
    waveform = noise(1.2) * np.repeat(np.where(flags, 1.0, 0.1), WINDOW_SAMPLES).astype(np.float32)
    assert (measure(waveform, Activity(flags)).snr_db is not None) is has_snr


def test_digital_silence_between_words_gives_the_ceiling() -> None:
    assert measure(bursts(9)).snr_db == SNR_CEILING_DB


def test_speech_weaker_than_the_noise_gives_the_floor() -> None:
    flags = np.arange(100) >= 50
    waveform = noise(3) * np.repeat(np.where(flags, 0.5, 1.0), WINDOW_SAMPLES).astype(np.float32)
    assert measure(waveform, Activity(flags)).snr_db == SNR_FLOOR_DB


def test_duration_speech_and_peak_are_measured() -> None:
    waveform = tone(1.013, level=0.25)
    quality = measure(waveform, Activity(np.arange(33) < 10))
    assert quality.duration_s == pytest.approx(1.013)
    assert quality.speech_s == pytest.approx(0.3)
    assert quality.peak == pytest.approx(0.25, abs=1e-4)


def test_clipped_is_a_share_of_samples_on_both_sides() -> None:
    waveform = np.zeros(1000, dtype=np.float32)
    waveform[:30] = 1.0
    waveform[30:50] = -1.0
    waveform[50:60] = 0.998
    assert measure(waveform).clipped == pytest.approx(0.05)


def test_nothing_measured_is_all_zero() -> None:
    assert QualityMeter().result() == Quality(0.0, 0.0, None, 0.0, 0.0)


def test_decisions_of_another_block_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be those"):
        QualityMeter().add(np.zeros(4800, dtype=np.float32), Activity(np.zeros(3, dtype=np.bool_)))


def test_a_good_recording_is_usable() -> None:
    require_usable(GOOD, "a.wav")
    require_usable(dataclasses.replace(GOOD, duration_s=0.2, speech_s=0.0), "a.wav")


@pytest.mark.parametrize(("seconds", "shown"), [(0.05, "0.05 s"), (0.1999, "0.199 s"), (0.0, "0 s")])
def test_too_short_is_refused_with_both_lengths(seconds: float, shown: str) -> None:
    with pytest.raises(AudioError) as caught:
        require_usable(dataclasses.replace(GOOD, duration_s=seconds), "a.wav")
    assert caught.value.code == "too-short"
    assert str(caught.value) == f"a.wav: {shown} of audio; at least 0.2 s is needed"


@pytest.mark.parametrize("peak", [0.0, 10 ** (-71 / 20)])
def test_silence_is_refused(peak: float) -> None:
    with pytest.raises(AudioError) as caught:
        require_usable(dataclasses.replace(GOOD, peak=peak), "a.wav")
    assert caught.value.code == "silent"
    assert str(caught.value).startswith("a.wav: all silence: ")


def test_a_whisper_above_the_limit_is_not_silence() -> None:
    require_usable(dataclasses.replace(GOOD, peak=10 ** (-69 / 20)), "a.wav")


@pytest.mark.parametrize("seconds", [0.3, 1.0, 10.0])
@pytest.mark.parametrize("rms", [0.02, 0.1, 0.25])
def test_white_noise_is_refused_even_where_the_detector_takes_it_for_speech(seconds: float, rms: float) -> None:
    quality = measure(
        noise(seconds, rms=rms), Activity(np.ones(int(seconds * 16000) // WINDOW_SAMPLES, dtype=np.bool_))
    )
    with pytest.raises(
        AudioError, match=r"x\.wav: noise or a tone, not speech: its level varies by 0\.\d dB only"
    ) as caught:
        require_usable(quality, "x.wav")
    assert caught.value.code == "steady"


def test_a_tone_is_refused() -> None:
    with pytest.raises(AudioError, match="noise or a tone"):
        require_usable(measure(tone(2.0, hertz=150.0), Activity(np.ones(66, dtype=np.bool_))), "x.wav")


def test_the_spread_is_the_standard_deviation_of_the_levels_of_the_windows_with_speech() -> None:
    flags = np.arange(100) % 3 > 0
    waveform = noise(3.0, rms=0.05) * np.repeat(np.linspace(0.1, 2.0, 100), WINDOW_SAMPLES).astype(np.float32)
    levels = [10 * np.log10(np.var(part.astype(np.float64))) for part in waveform.reshape(100, -1)[flags]]
    assert measure(waveform, Activity(flags)).spread_db == pytest.approx(np.std(levels), abs=1e-6)


def test_two_windows_of_speech_are_too_few_for_a_spread() -> None:
    flags = np.zeros(100, dtype=np.bool_)
    flags[:2] = True
    assert measure(noise(3.0, rms=0.05), Activity(flags)).spread_db is None


@pytest.mark.speech
def test_no_real_speech_is_taken_for_a_steady_sound(speech: Path) -> None:
    rows = [line.split("\t")[0] for line in (speech / "manifest.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    spreads = {}
    for path in rows[::3]:
        block = next(iter(decode.blocks(Clip(speech / path), sample_rate=16000, block_s=60.0)))
        spreads[path] = measure(block).spread_db
    assert {path: spread for path, spread in spreads.items() if spread is not None and spread < MIN_SPREAD_DB} == {}
