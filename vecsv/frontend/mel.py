"""Mel spectrograms without a logarithm, in NumPy: what the GE2E encoder was trained with."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vecsv.arrays import Waveform
from vecsv.frontend.filterbank import Filterbank, analysis_window, mel_weights
from vecsv.frontend.spec import MelSpectrogramSpec


def filterbank_of(spec: MelSpectrogramSpec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Window and band weights of a spec.

    Returns
    -------
    window : ndarray
        Float64 ``(n_fft,)``.
    weights : ndarray
        Float64 ``(n_fft // 2 + 1, mels)``.

    Examples
    --------
    >>> window, weights = filterbank_of(MelSpectrogramSpec())
    >>> window.shape, weights.shape
    ((400,), (201, 40))
    """
    return analysis_window(spec.window, spec.n_fft), mel_weights(
        n_fft=spec.n_fft,
        sample_rate=spec.sample_rate,
        mels=spec.mels,
        f_min=spec.f_min,
        f_max=spec.f_max,
        scale=spec.mel_scale,
        norm=spec.mel_norm,
    )


class MelSpectrogram:
    """A mel spectrogram of fixed settings; safe to share between threads.

    Parameters
    ----------
    spec : MelSpectrogramSpec
        A spec of kind ``"mel-spectrogram"``. Its volume and trimming are not applied here: they come before.

    Examples
    --------
    >>> frames = MelSpectrogram(MelSpectrogramSpec())(np.zeros(1600, dtype=np.float32))
    >>> frames.shape, frames.dtype
    ((11, 40), dtype('float32'))
    """

    def __init__(self, spec: MelSpectrogramSpec) -> None:
        self._spec = spec
        window, weights = filterbank_of(spec)
        self._filterbank = Filterbank(window, weights, n_fft=spec.n_fft, power=spec.power)

    def frame_count(self, samples: int) -> int:
        """How many frames a waveform of this many samples has by itself."""
        span = samples if self._spec.centre else samples - self._spec.n_fft
        return 1 + span // self._spec.hop if span >= 0 else 0

    def __call__(self, waveform: Waveform, frames: int | None = None) -> NDArray[np.float32]:
        """Compute the first frames of a waveform.

        Parameters
        ----------
        waveform : ndarray
            Mono float32 ``(samples,)`` at the spec's rate.
        frames : int, optional
            How many frames; beyond the waveform they see zeros. By default as many as the waveform has.

        Returns
        -------
        ndarray
            Float32 ``(frames, mels)``.
        """
        count = self.frame_count(waveform.size) if frames is None else frames
        if count == 0:
            return np.empty((0, self._spec.mels), dtype=np.float32)
        return self._filterbank(sliding_window_view(self._padded(waveform, count), self._spec.n_fft)[:: self._spec.hop])

    def _padded(self, waveform: Waveform, frames: int) -> Waveform:
        """Exactly the samples that so many frames see, zeros where the waveform has none."""
        lead = self._spec.n_fft // 2 if self._spec.centre else 0
        padded = np.zeros((frames - 1) * self._spec.hop + self._spec.n_fft, dtype=np.float32)
        seen = waveform[: padded.size - lead]
        padded[lead : lead + seen.size] = seen
        return padded
