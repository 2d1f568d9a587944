"""Log power spectra of centred frames, in NumPy: every frequency of the transform a band of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Waveform
from vecsv.frontend.centred import frames_of, logarithms, normalised
from vecsv.frontend.filterbank import Filterbank, analysis_window
from vecsv.frontend.spec import SpectrogramSpec


class Spectrogram:
    """A log power spectrogram of fixed settings; safe to share between threads.

    Parameters
    ----------
    spec : SpectrogramSpec
        A spec of kind ``"spectrogram"``.

    Examples
    --------
    >>> frames = Spectrogram(SpectrogramSpec())(np.zeros(1600, dtype=np.float32))
    >>> frames.shape, frames.dtype
    ((11, 201), dtype('float32'))
    """

    def __init__(self, spec: SpectrogramSpec) -> None:
        self._spec = spec
        self._filterbank = Filterbank(analysis_window(spec.window, spec.window_length), None, n_fft=spec.n_fft)

    def __call__(self, waveform: Waveform) -> NDArray[np.float32]:
        """Compute the features of a waveform.

        Parameters
        ----------
        waveform : ndarray
            Mono float32 ``(samples,)`` at the spec's rate.

        Returns
        -------
        ndarray
            Float32 ``(frames, n_fft // 2 + 1)``; see `vecsv.frontend.centred.frame_count`.
        """
        powers = self._filterbank(frames_of(self._spec, waveform))
        return normalised(logarithms(self._spec, powers), self._spec.normalise)
