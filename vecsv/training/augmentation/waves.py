"""What every effect needs: the power and the peak of a waveform, and its copy at another sampling rate."""

from __future__ import annotations

from typing import Final

import numpy as np

from vecsv.arrays import Waveform
from vecsv.audio.resample import resample

SILENT_POWER: Final = 1e-14
"""What has less power than this, which is less than the last bit of 24 has, is silence: no gain makes it audible."""


def power(wave: Waveform) -> float:
    """Mean square of a waveform ``(samples,)``, summed in float64; 0 for an empty one.

    Examples
    --------
    >>> power(np.array([0.5, -0.5], np.float32))
    0.25
    """
    # Not a dot product: BLAS would start threads for it, and a worker process has one core.
    return float(np.square(wave, dtype=np.float64).sum()) / max(wave.size, 1)


def scaled(wave: Waveform, gain: float) -> Waveform:
    """Multiply a waveform ``(samples,)``; the result is float32."""
    return np.asarray(wave * np.float32(gain), dtype=np.float32)


def limit_peak(wave: Waveform) -> Waveform:
    """Turn a waveform down until its peak is 1, as one turns down a recorder; one below that is returned as it is.

    Samples are not clipped, which would distort them.

    Examples
    --------
    >>> limit_peak(np.array([0.5, -2.0], np.float32))
    array([ 0.25, -1.  ], dtype=float32)
    """
    peak = max(float(wave.max()), -float(wave.min())) if wave.size else 0.0
    return np.asarray(wave / np.float32(peak), dtype=np.float32) if peak > 1.0 else wave


def at_rate(wave: Waveform, from_rate: int, to_rate: int) -> Waveform:
    """Resample a whole waveform without delay.

    Parameters
    ----------
    wave : ndarray
        Float32 ``(samples,)``.
    from_rate, to_rate : int
        In Hz.

    Returns
    -------
    ndarray
        Float32, about ``samples * to_rate / from_rate`` of them; the same array where the rates are equal.

    Examples
    --------
    >>> at_rate(np.zeros(800, np.float32), 8000, 16000).size
    1600
    """
    parts = list(resample([wave], from_rate, to_rate))
    if not parts:
        return np.zeros(0, np.float32)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def aligned(wave: Waveform, delay: int, samples: int) -> Waveform:
    """Take a delay out of a waveform and bring it to a length, with silence where it has nothing.

    Parameters
    ----------
    wave : ndarray
        Float32 ``(any,)``.
    delay : int
        How many samples too late it is; negative where it is early.
    samples : int
        Length of the result.

    Examples
    --------
    >>> aligned(np.array([0, 0, 1, 2], np.float32), 2, 3)
    array([1., 2., 0.], dtype=float32)
    >>> aligned(np.array([1, 2], np.float32), -1, 3)
    array([0., 1., 2.], dtype=float32)
    """
    result = np.zeros(samples, np.float32)
    kept = wave[max(delay, 0) :][: max(samples + min(delay, 0), 0)]
    first = max(-delay, 0)
    result[first : first + kept.size] = kept
    return result
