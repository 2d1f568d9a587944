"""Mel spectrograms, in NumPy.

The mel scale and the normalisation of its bands are those of Slaney's Auditory Toolbox (M. Slaney, Interval
Research Technical Report 1998-010), which librosa uses by default and the GE2E encoder was trained with.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vecsv.arrays import Waveform
from vecsv.frontend.spec import FrontendSpec

_LINEAR_HZ_PER_MEL: Final = 200.0 / 3.0
_BREAK_HZ: Final = 1000.0
_BREAK_MEL: Final = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP: Final = float(np.log(6.4)) / 27.0

# OpenBLAS, which NumPy comes with, starts threads of its own for matrix products with more multiplications
# than this (``interface/gemm.c``: SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD). Beside the embedding
# stage's one thread for each core they only wait for each other: on a busy machine that made a front end
# twenty times slower.
_UNTHREADED_MULTIPLICATIONS: Final = 4 * 65536


def hz_to_mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert frequencies in Hz to Slaney's mels: linear below 1 kHz, logarithmic above.

    Examples
    --------
    >>> [round(float(mel), 9) for mel in hz_to_mel(np.array([200.0, 1000.0, 6400.0]))]
    [3.0, 15.0, 42.0]
    """
    above = _BREAK_MEL + np.log(np.maximum(hertz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hertz < _BREAK_HZ, hertz / _LINEAR_HZ_PER_MEL, above)


def mel_to_hz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert Slaney's mels to frequencies in Hz; the inverse of `hz_to_mel`."""
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mels, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mels < _BREAK_MEL, mels * _LINEAR_HZ_PER_MEL, above)


def mel_bands(spec: FrontendSpec) -> NDArray[np.float64]:
    """Weights of each frequency in each mel band.

    Parameters
    ----------
    spec : FrontendSpec
        Bands, their edges and their normalisation.

    Returns
    -------
    ndarray
        Float64 ``(n_fft // 2 + 1, mels)``: triangles that rise from the band below's centre to their own and
        fall to the one above's, the centres being equally spaced in mels.

    Examples
    --------
    >>> mel_bands(FrontendSpec()).shape
    (201, 40)
    """
    ends = hz_to_mel(np.array([spec.f_min, spec.f_max]))
    edges = mel_to_hz(np.linspace(ends[0], ends[1], spec.mels + 2))
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    hertz = np.arange(spec.n_fft // 2 + 1)[:, np.newaxis] * (spec.sample_rate / spec.n_fft)
    rising = (hertz - lower) / (centre - lower)
    falling = (upper - hertz) / (upper - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    return weights * (2.0 / (upper - lower)) if spec.mel_norm == "slaney" else weights


def analysis_window(spec: FrontendSpec) -> NDArray[np.float64]:
    """Return the window that a frame is multiplied with, float64 ``(n_fft,)``."""
    phase = 2.0 * np.pi * np.arange(spec.n_fft) / spec.n_fft
    floor = {"hann-periodic": 0.5, "hamming-periodic": 0.54}[spec.window]
    return floor - (1.0 - floor) * np.cos(phase)


class MelSpectrogram:
    """A mel spectrogram of fixed settings; safe to share between threads.

    Parameters
    ----------
    spec : FrontendSpec
        A spec of kind ``"mel-spectrogram"``. Its volume and trimming are not applied here: they come before.

    Examples
    --------
    >>> frames = MelSpectrogram(FrontendSpec())(np.zeros(1600, dtype=np.float32))
    >>> frames.shape, frames.dtype
    ((11, 40), dtype('float32'))
    """

    def __init__(self, spec: FrontendSpec) -> None:
        self._spec = spec
        self._window = analysis_window(spec).astype(np.float32)
        self._bands = mel_bands(spec).astype(np.float32)
        self._block_frames = max(1, _UNTHREADED_MULTIPLICATIONS // self._bands.size)

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
        bands = np.empty((count, self._spec.mels), dtype=np.float32)
        if count == 0:
            return bands
        framed = sliding_window_view(self._padded(waveform, count), self._spec.n_fft)[:: self._spec.hop]
        for start in range(0, count, self._block_frames):
            block = slice(start, min(start + self._block_frames, count))
            spectrum = np.fft.rfft(framed[block] * self._window)
            powers = spectrum.real**2 + spectrum.imag**2
            if self._spec.power != 2.0:
                powers **= np.float32(self._spec.power / 2.0)
            np.matmul(powers, self._bands, out=bands[block])
        return bands

    def _padded(self, waveform: Waveform, frames: int) -> Waveform:
        """Exactly the samples that so many frames see, zeros where the waveform has none."""
        lead = self._spec.n_fft // 2 if self._spec.centre else 0
        padded = np.zeros((frames - 1) * self._spec.hop + self._spec.n_fft, dtype=np.float32)
        seen = waveform[: padded.size - lead]
        padded[lead : lead + seen.size] = seen
        return padded
