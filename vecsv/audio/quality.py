"""How good a recording is: length, speech, signal-to-noise ratio, clipping; and which ones are refused.

A recording measured in blocks gives what it gives in one piece. What is kept of it is one number and one flag
for every 30 ms: a megabyte an hour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Flags, Waveform
from vecsv.audio.activity import SAMPLE_RATE, WINDOW_SAMPLES, Activity, dilate
from vecsv.errors import AudioError

MIN_DURATION_S: Final = 0.2
"""Shortest recording that is taken, in seconds; a spoken digit of 0.4 s passes."""

SILENCE_DBFS: Final = -70.0
"""A recording whose highest peak is below this level, in dB relative to full scale, is silence."""

CLIPPED_AT: Final = 0.999
"""Absolute value from which a sample counts as clipped."""

GAP_WINDOWS: Final = 3
"""Windows (90 ms) on either side of speech that count neither as speech nor as noise."""

MIN_NOISE_WINDOWS: Final = 5
"""Windows of noise (0.15 s) that an estimate of it needs at least."""

MIN_SPREAD_DB: Final = 0.8
"""A recording whose speech varies less in level is a steady sound that the detector took for speech.

White noise gives 0.3 dB and a hum 0; of 651 recordings of speech (LibriSpeech, VCTK, AMI, AISHELL-1, single digits) the
least lively, a digit of 0.3 s, gives 1.1 dB, and the least of those over a second 4.1 dB.
"""

SNR_FLOOR_DB: Final = -20.0
"""Given where speech is no louder than the noise, or weaker than this."""

SNR_CEILING_DB: Final = 100.0
"""Given where the noise is digital silence, or weaker than this."""


@dataclass(frozen=True)
class Quality:
    """What was measured on one recording, at 16 kHz.

    Attributes
    ----------
    duration_s : float
        Length, in seconds.
    speech_s : float
        How much of it the voice activity detector takes for speech, in seconds.
    snr_db : float or None
        Estimated signal-to-noise ratio, in dB (see `QualityMeter`); None where there is no speech or too
        little else.
    clipped : float
        Share of samples, in [0, 1], at or beyond 0.999 of full scale.
    peak : float
        Largest absolute value of a sample.
    spread_db : float or None
        Standard deviation of the level, in dB, over the windows of 30 ms with speech; None with fewer than three.
    """

    duration_s: float
    speech_s: float
    snr_db: float | None
    clipped: float
    peak: float
    spread_db: float | None = None


class QualityMeter:
    """Measures a recording block by block.

    The signal-to-noise ratio compares the mean power P of the windows with speech with the mean power N of
    the windows that are more than 90 ms away from any: it is 10 log10((P - N) / N), since the noise goes on
    while someone speaks. A window's power is its variance, so a constant offset counts as neither. The gap is
    there because the detector misses the faint edges of words: on LibriSpeech and VCTK with white noise added
    at 10 dB, the estimate is 0.3 dB too low with it and 3 dB without. It takes noise to be steady, and stays
    between -20 and 100 dB.

    Examples
    --------
    >>> from vecsv.audio.activity import detect
    >>> silence = np.zeros(16000, dtype=np.float32)
    >>> meter = QualityMeter()
    >>> meter.add(silence, detect(silence))
    >>> meter.result()
    Quality(duration_s=1.0, speech_s=0.0, snr_db=None, clipped=0.0, peak=0.0, spread_db=None)
    """

    def __init__(self) -> None:
        self._samples = 0
        self._clipped = 0
        self._peak = 0.0
        self._flags: list[Flags] = []
        self._powers: list[NDArray[np.float64]] = []

    def add(self, waveform: Waveform, activity: Activity) -> None:
        """Take one more block into account.

        Parameters
        ----------
        waveform : ndarray
            Mono float32 ``(samples,)`` at 16 kHz. Samples at its end that fill no window of 480 count for
            everything but speech and noise.
        activity : Activity
            The decisions for this block.

        Raises
        ------
        ValueError
            When the decisions are not those of a waveform of this length.
        """
        flags = activity.flags
        if flags.size != waveform.size // WINDOW_SAMPLES:
            raise ValueError(f"{flags.size} decisions cannot be those of {waveform.size} samples")
        magnitude = np.abs(waveform)
        self._samples += waveform.size
        self._clipped += int(np.count_nonzero(magnitude >= np.float32(CLIPPED_AT)))
        self._peak = max(self._peak, float(magnitude.max(initial=0.0)))
        self._flags.append(flags)
        self._powers.append(_window_powers(waveform[: flags.size * WINDOW_SAMPLES]))

    def result(self) -> Quality:
        """Give what the blocks so far amount to."""
        flags = np.concatenate([np.zeros(0, dtype=np.bool_), *self._flags])
        powers = np.concatenate([np.zeros(0), *self._powers])
        return Quality(
            duration_s=self._samples / SAMPLE_RATE,
            speech_s=Activity(flags).speech_s,
            snr_db=_snr_db(flags, powers),
            clipped=self._clipped / max(self._samples, 1),
            peak=self._peak,
            spread_db=_spread_db(powers[flags]),
        )


def require_usable(quality: Quality, where: str) -> None:
    """Refuse a recording that is too short, silent or a steady sound; the model asks whether there is speech in it.

    Parameters
    ----------
    quality : Quality
        What was measured.
    where : str
        The recording, as an error should name it.

    Raises
    ------
    AudioError
        ``too-short``, ``silent`` or ``steady``.

    Examples
    --------
    >>> require_usable(Quality(0.05, 0.0, None, 0.0, 0.5), "a.wav")
    Traceback (most recent call last):
    vecsv.errors.AudioError: a.wav: 0.05 s of audio; at least 0.2 s is needed
    """
    if quality.duration_s < MIN_DURATION_S:
        # Rounded down, so that 0.1999 s is not called 0.20.
        shown = math.floor(quality.duration_s * 1000) / 1000
        raise AudioError("too-short", f"{shown:g} s of audio; at least {MIN_DURATION_S:g} s is needed", where=where)
    if quality.peak < 10.0 ** (SILENCE_DBFS / 20.0):
        level = "every sample is zero" if quality.peak == 0.0 else f"its peak is below {SILENCE_DBFS:g} dBFS"
        raise AudioError("silent", f"all silence: {level}", where=where)
    if quality.spread_db is not None and quality.spread_db < MIN_SPREAD_DB:
        varies = f"its level varies by {quality.spread_db:.1f} dB only"
        raise AudioError("steady", f"noise or a tone, not speech: {varies}", where=where)


def _snr_db(speech: Flags, powers: NDArray[np.float64]) -> float | None:
    rest = ~dilate(speech, GAP_WINDOWS)
    if not speech.any() or np.count_nonzero(rest) < MIN_NOISE_WINDOWS:
        return None
    noise = float(powers[rest].mean())
    signal = float(powers[speech].mean()) - noise
    if signal <= 0.0:
        return SNR_FLOOR_DB
    if noise <= 0.0:
        return SNR_CEILING_DB
    # A difference of logarithms: the ratio itself may be too large for a float.
    ratio_db = 10.0 * (math.log10(signal) - math.log10(noise))
    return min(max(ratio_db, SNR_FLOOR_DB), SNR_CEILING_DB)


def _spread_db(speech: NDArray[np.float64]) -> float | None:
    if speech.size < 3:
        return None
    # A window of zeros among others is as far down as a level goes here: 200 dB.
    return float(np.std(10.0 * np.log10(np.maximum(speech, 1e-20))))


def _window_powers(whole_windows: Waveform) -> NDArray[np.float64]:
    windows = whole_windows.astype(np.float64).reshape(-1, WINDOW_SAMPLES)
    windows -= windows.mean(axis=1, keepdims=True)
    powers: NDArray[np.float64] = np.einsum("ij,ij->i", windows, windows)
    return powers / WINDOW_SAMPLES
