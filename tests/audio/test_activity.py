from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webrtcvad
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from tests.fixtures.sounds import bursts, noise, tone
from vecsv.arrays import Flags, Waveform
from vecsv.audio.activity import (
    WINDOW_SAMPLES,
    Activity,
    detect,
    dilate,
    keep_mask,
    raise_volume,
    trim,
)


def slow_flags(waveform: Waveform) -> list[bool]:
    """The detector's decisions, one window after the other, in double precision and Python's own integers."""
    raised = waveform.astype(np.float64)
    level = np.sqrt(np.mean((raised * 32767) ** 2)) / 32767 if raised.size else 0.0
    if 0 < level < 10 ** (-30 / 20):
        raised = raised * (10 ** (-30 / 20) / level)
    vad = webrtcvad.Vad(3)
    flags = []
    for start in range(0, len(raised) - WINDOW_SAMPLES + 1, WINDOW_SAMPLES):
        window = raised[start : start + WINDOW_SAMPLES]
        pcm = [max(-32768, min(32767, round(float(sample * 32767)))) for sample in window]
        flags.append(vad.is_speech(b"".join(value.to_bytes(2, "little", signed=True) for value in pcm), 16000))
    return flags


def slow_kept(flags: Flags) -> Flags:
    """Average over eight by a loop, round half to even, dilate by seven ones with scipy."""
    padded = [0.0] * 3 + [float(flag) for flag in flags] + [0.0] * 4
    averages = [sum(padded[start : start + 8]) / 8 for start in range(len(flags))]
    smoothed = np.array([round(average) for average in averages], dtype=bool)
    dilated: NDArray[np.bool_] = binary_dilation(smoothed, np.ones(7))
    return dilated


flag_arrays = st.lists(st.booleans(), min_size=1, max_size=80).map(lambda flags: np.array(flags, dtype=np.bool_))


@given(flag_arrays)
def test_kept_equals_a_slow_average_and_dilation(flags: Flags) -> None:
    np.testing.assert_array_equal(Activity(flags).kept(), slow_kept(flags))


@given(flag_arrays, st.integers(0, 10))
def test_dilation_equals_scipys(flags: Flags, reach: int) -> None:
    np.testing.assert_array_equal(dilate(flags, reach), binary_dilation(flags, np.ones(2 * reach + 1)))


def test_half_of_the_windows_rounds_to_even_that_is_to_silence() -> None:
    four = np.zeros(20, dtype=np.bool_)
    four[8:12] = True
    assert not Activity(four).kept().any()
    four[12] = True
    assert Activity(four).kept().any()


def test_decisions_equal_one_window_at_a_time() -> None:
    waveform = bursts(8) + noise(8, rms=0.003)
    assert detect(waveform).flags.tolist() == slow_flags(waveform)


def test_bursts_of_voice_are_found_where_they_are() -> None:
    flags = detect(bursts(15, on_s=0.6, off_s=0.9)).flags
    truth = np.array([(window * 0.03 + 0.015) % 1.5 > 0.9 for window in range(flags.size)])
    assert np.mean(flags == truth) > 0.85


@pytest.mark.speech
def test_decisions_on_real_speech_equal_one_window_at_a_time(speech: Path) -> None:
    recordings = [
        *sorted((speech / "librispeech-test-other").rglob("*.flac"))[:2],
        *sorted((speech / "ami").rglob("*.flac"))[:2],
    ]
    assert len(recordings) == 4
    for recording in recordings:
        waveform, rate = soundfile.read(recording, dtype="float32")
        assert rate == 16000
        activity = detect(waveform)
        assert activity.flags.tolist() == slow_flags(waveform), recording
        assert 0 < activity.speech_s <= len(waveform) / 16000


def test_a_quiet_copy_gives_the_same_decisions() -> None:
    waveform = 0.02 * bursts(6) + noise(6, rms=1e-4)
    np.testing.assert_array_equal(detect(waveform).flags, detect(waveform * np.float32(2**-6)).flags)


def test_decisions_do_not_depend_on_earlier_calls() -> None:
    waveform = bursts(4)
    before = detect(waveform).flags
    detect(noise(4, rms=0.5))
    np.testing.assert_array_equal(detect(waveform).flags, before)


def test_peaks_beyond_full_scale_are_clipped_not_wrapped() -> None:
    waveform = bursts(4, level=3.0)
    assert detect(waveform).flags.tolist() == slow_flags(waveform)


def test_a_tail_that_fills_no_window_has_no_decision_and_is_not_kept() -> None:
    waveform = bursts(3.01)
    activity = detect(waveform)
    assert activity.flags.size == 100
    assert not keep_mask(waveform, activity)[100 * WINDOW_SAMPLES :].any()


@pytest.mark.parametrize("samples", [0, 1, WINDOW_SAMPLES - 1])
def test_less_than_a_window_gives_no_decision(samples: int) -> None:
    waveform = np.zeros(samples, dtype=np.float32)
    activity = detect(waveform)
    assert activity.flags.size == 0
    assert activity.kept().size == 0
    assert activity.speech_s == 0.0
    assert trim(waveform, activity).size == 0


def test_trim_keeps_the_samples_of_the_mask() -> None:
    waveform = bursts(7.005) + noise(7.005, rms=1e-3)
    activity = detect(waveform)
    trimmed = trim(waveform, activity)
    assert 0 < trimmed.size < waveform.size
    np.testing.assert_array_equal(trimmed, waveform[keep_mask(waveform, activity)])


def test_speech_is_counted_from_the_raw_decisions() -> None:
    assert Activity(np.array([True, False, True])).speech_s == pytest.approx(0.06)


@pytest.mark.parametrize("cut", [keep_mask, trim])
def test_decisions_of_another_waveform_are_refused(cut: object) -> None:
    assert callable(cut)
    with pytest.raises(ValueError, match="cannot be those"):
        cut(np.zeros(4800, dtype=np.float32), Activity(np.zeros(9, dtype=np.bool_)))


def test_volume_is_raised_to_the_target() -> None:
    raised = raise_volume(tone(1, level=1e-3))
    assert 20 * np.log10(np.sqrt(np.mean(raised.astype(np.float64) ** 2))) == pytest.approx(-30.0, abs=1e-4)
    assert raised.dtype == np.float32


@pytest.mark.parametrize(
    "waveform", [tone(1, level=0.5), np.zeros(480, dtype=np.float32), np.zeros(0, dtype=np.float32)]
)
def test_loud_or_silent_waveforms_stay_as_they_are(waveform: Waveform) -> None:
    assert raise_volume(waveform) is waveform


def test_scipy_and_torch_are_not_imported() -> None:
    script = (
        "import sys, numpy as np; from vecsv.audio import activity, decode, quality;"
        "activity.trim(w := np.ones(9600, 'f4'), activity.detect(w));"
        "print([name for name in ('scipy', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
