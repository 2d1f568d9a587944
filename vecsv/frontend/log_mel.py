"""Log mel spectrograms of centred frames, in NumPy: the front ends of SpeechBrain, ReDimNet and NeMo."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Waveform
from vecsv.frontend.centred import frames_of, logarithms, normalised
from vecsv.frontend.filterbank import Filterbank, analysis_window, mel_weights
from vecsv.frontend.spec import LogMelSpec


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
            Float32 ``(frames, mels)``; see `vecsv.frontend.centred.frame_count`.
        """
        powers = self._filterbank(frames_of(self._spec, waveform))
        return normalised(logarithms(self._spec, powers), self._spec.normalise)
