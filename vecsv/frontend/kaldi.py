"""Kaldi's log mel filterbank, in NumPy: the front end of WeSpeaker and 3D-Speaker.

Definitions: Kaldi, ``feat/feature-window.cc`` and ``feat/mel-computations.cc``, as ``torchaudio.compliance.kaldi`` and
``kaldi_native_fbank`` compute them too.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vecsv.arrays import Waveform
from vecsv.frontend.filterbank import (
    Filterbank,
    analysis_window,
    bin_frequencies,
    hz_to_mel,
    mel_edges,
    triangles,
    without_mean,
)
from vecsv.frontend.spec import KaldiSpec


def transform_length(spec: KaldiSpec) -> int:
    """Length of the transform: the next power of two.

    Examples
    --------
    >>> transform_length(KaldiSpec())
    512
    """
    return 1 << (spec.window_length - 1).bit_length()


def filterbank_of(spec: KaldiSpec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Window and band weights of a spec; the bands' slopes are straight in mels.

    Returns
    -------
    window : ndarray
        Float64 ``(window_length,)``.
    weights : ndarray
        Float64 ``(transform_length(spec) // 2 + 1, mels)``.

    Examples
    --------
    >>> window, weights = filterbank_of(KaldiSpec())
    >>> window.shape, weights.shape
    ((400,), (257, 80))
    """
    name = spec.window if spec.window == "povey" else f"{spec.window}-symmetric"
    bins = hz_to_mel(bin_frequencies(transform_length(spec), spec.sample_rate), "htk")
    weights = triangles(bins, mel_edges(spec.mels, spec.f_min, spec.f_max, "htk"))
    return analysis_window(name, spec.window_length), weights


def frame_count(spec: KaldiSpec, samples: int) -> int:
    """How many whole frames a waveform of this many samples has.

    Examples
    --------
    >>> [frame_count(KaldiSpec(), samples) for samples in (0, 399, 400, 559, 560)]
    [0, 0, 1, 1, 2]
    """
    return 1 + (samples - spec.window_length) // spec.hop if samples >= spec.window_length else 0


class KaldiFilterbank:
    """Kaldi's log mel filterbank of fixed settings; safe to share between threads.

    Parameters
    ----------
    spec : KaldiSpec
        A spec of kind ``"kaldi-fbank"``.

    Examples
    --------
    >>> frames = KaldiFilterbank(KaldiSpec())(np.zeros(1600, dtype=np.float32))
    >>> frames.shape, frames.dtype
    ((8, 80), dtype('float32'))
    """

    def __init__(self, spec: KaldiSpec) -> None:
        self._spec = spec
        window, weights = filterbank_of(spec)
        self._filterbank = Filterbank(window, weights, n_fft=transform_length(spec))

    def __call__(self, waveform: Waveform) -> NDArray[np.float32]:
        """Compute the features of a waveform.

        Parameters
        ----------
        waveform : ndarray
            Mono float32 ``(samples,)`` at the spec's rate, in [-1, 1].

        Returns
        -------
        ndarray
            Float32 ``(frames, mels)``; see `frame_count`.
        """
        if frame_count(self._spec, waveform.size) == 0:
            return np.empty((0, self._spec.mels), dtype=np.float32)
        scaled = waveform * np.float32(self._spec.scale)
        framed = sliding_window_view(scaled, self._spec.window_length)[:: self._spec.hop]
        energies = self._filterbank(framed, self._conditioned)
        values = np.log(np.maximum(energies, np.float32(self._spec.log_floor)))
        return without_mean(values) if self._spec.subtract_mean else values

    def _conditioned(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._spec.remove_dc:
            frames = frames - frames.mean(axis=1, keepdims=True)
        coefficient = np.float32(self._spec.preemphasis)
        if coefficient == 0.0:
            return frames
        emphasised = np.empty(frames.shape, dtype=np.float32)
        np.multiply(frames[:, 0], np.float32(1.0) - coefficient, out=emphasised[:, 0])
        np.subtract(frames[:, 1:], coefficient * frames[:, :-1], out=emphasised[:, 1:])
        return emphasised
