"""Log mel spectrograms of centred frames, in NumPy: the front ends of SpeechBrain, ReDimNet and NeMo."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vecsv.arrays import Waveform
from vecsv.frontend.filterbank import Filterbank, analysis_window, mel_weights, without_mean
from vecsv.frontend.spec import LogMelSpec

DB_PER_NEPER: Final = 10.0 / float(np.log(10.0))
"""``10 log10(x)`` is this many times ``ln(x)``."""

DEVIATION_OFFSET: Final = 1e-5
"""What is added to a band's standard deviation before the band is divided by it."""


def filterbank_of(spec: LogMelSpec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Window and band weights of a spec.

    Returns
    -------
    window : ndarray
        Float64 ``(window_length,)``.
    weights : ndarray
        Float64 ``(n_fft // 2 + 1, mels)``.

    Examples
    --------
    >>> window, weights = filterbank_of(LogMelSpec())
    >>> window.shape, weights.shape
    ((400,), (201, 80))
    """
    return analysis_window(spec.window, spec.window_length), mel_weights(
        n_fft=spec.n_fft,
        sample_rate=spec.sample_rate,
        mels=spec.mels,
        f_min=spec.f_min,
        f_max=spec.f_max,
        scale=spec.mel_scale,
        norm=spec.mel_norm,
        shape=spec.mel_shape,
    )


def padding(spec: LogMelSpec) -> tuple[int, int]:
    """Samples before and after the waveform that windows see; the zeros around a window do not count.

    Examples
    --------
    >>> padding(LogMelSpec(n_fft=512))
    (200, 200)
    """
    half, gap = spec.n_fft // 2, (spec.n_fft - spec.window_length) // 2
    return half - gap, half - (spec.n_fft - spec.window_length - gap)


def frame_count(spec: LogMelSpec, samples: int) -> int:
    """How many frames a waveform of this many samples has.

    Examples
    --------
    >>> [frame_count(LogMelSpec(), samples) for samples in (0, 1, 159, 160, 16000)]
    [0, 1, 1, 2, 101]
    """
    half = spec.n_fft // 2
    needed = max(half + 1 if spec.padding == "reflect" else 1, 2 if spec.preemphasis_edge == "reflect" else 1)
    if samples < needed:
        return 0
    if spec.frames == "whole-hops":
        return samples // spec.hop
    return 1 + (samples + 2 * half - spec.n_fft) // spec.hop


class LogMel:
    """A log mel spectrogram of fixed settings; safe to share between threads.

    Parameters
    ----------
    spec : LogMelSpec
        A spec of kind ``"log-mel"``.

    Examples
    --------
    >>> frames = LogMel(LogMelSpec())(np.zeros(1600, dtype=np.float32))
    >>> frames.shape, frames.dtype
    ((11, 80), dtype('float32'))
    """

    def __init__(self, spec: LogMelSpec) -> None:
        self._spec = spec
        window, weights = filterbank_of(spec)
        self._filterbank = Filterbank(window, weights, n_fft=spec.n_fft)

    def __call__(self, waveform: Waveform) -> NDArray[np.float32]:
        """Compute the features of a waveform.

        Parameters
        ----------
        waveform : ndarray
            Mono float32 ``(samples,)`` at the spec's rate.

        Returns
        -------
        ndarray
            Float32 ``(frames, mels)``; see `frame_count`.
        """
        count = frame_count(self._spec, waveform.size)
        if count == 0:
            return np.empty((0, self._spec.mels), dtype=np.float32)
        seen = self._padded(self._preemphasised(waveform))
        frames = sliding_window_view(seen, self._spec.window_length)[:: self._spec.hop][:count]
        return self._normalised(self._logarithms(self._filterbank(frames)))

    def _preemphasised(self, waveform: Waveform) -> Waveform:
        coefficient = np.float32(self._spec.preemphasis)
        if coefficient == 0.0:
            return waveform
        emphasised = np.empty(waveform.size, dtype=np.float32)
        emphasised[0] = waveform[0]
        if self._spec.preemphasis_edge == "reflect":
            emphasised[0] -= coefficient * waveform[1]
        np.subtract(waveform[1:], coefficient * waveform[:-1], out=emphasised[1:])
        return emphasised

    def _padded(self, waveform: Waveform) -> Waveform:
        (before, after), samples = padding(self._spec), waveform.size
        padded = np.zeros(before + samples + after, dtype=np.float32)
        padded[before : before + samples] = waveform
        if self._spec.padding == "reflect":
            padded[:before] = waveform[before:0:-1]
            padded[before + samples :] = waveform[-2 : -2 - after : -1]
        return padded

    def _logarithms(self, powers: NDArray[np.float32]) -> NDArray[np.float32]:
        spec = self._spec
        if spec.log_floor > 0.0:
            np.maximum(powers, np.float32(spec.log_floor), out=powers)
        if spec.log_offset > 0.0:
            powers += np.float32(spec.log_offset)
        values = np.log(powers, out=powers)
        if spec.log == "db":
            values *= np.float32(DB_PER_NEPER)
        if spec.range_db is not None:
            np.maximum(values, values.max() - np.float32(spec.range_db), out=values)
        return values

    def _normalised(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._spec.normalise == "none":
            return values
        centred = without_mean(values)
        if self._spec.normalise == "mean-std":
            # Of one frame the toolkits' own deviation is not a number, which NeMo 2 replaces by 0.
            freedom = max(len(centred) - 1, 1)
            deviation = np.sqrt(np.square(centred, dtype=np.float64).sum(axis=0) / freedom)
            centred /= (deviation + DEVIATION_OFFSET).astype(np.float32)
        return centred
