"""Mel frequency cepstral coefficients, in NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Waveform
from vecsv.frontend.centred import normalised
from vecsv.frontend.filterbank import product
from vecsv.frontend.log_mel import LogMel
from vecsv.frontend.spec import MfccSpec


def cosines(spec: MfccSpec) -> NDArray[np.float64]:
    """Make the matrix that a frame of mel bands is multiplied with: the orthonormal DCT-II, liftered.

    Returns
    -------
    ndarray
        Float64 ``(mels, coefficients)``.

    Examples
    --------
    >>> cosines(MfccSpec(mels=2, coefficients=2)).round(3).tolist()
    [[0.707, 0.707], [0.707, -0.707]]
    """
    order = np.arange(spec.coefficients)
    middles = (np.arange(spec.mels) + 0.5) / spec.mels
    scales = np.sqrt(np.where(order == 0, 1.0, 2.0) / spec.mels)
    if spec.lifter > 0.0:
        scales *= 1.0 + 0.5 * spec.lifter * np.sin(np.pi * order / spec.lifter)
    matrix: NDArray[np.float64] = np.cos(np.pi * np.outer(middles, order)) * scales
    return matrix


class Mfcc:
    """Cepstral coefficients of fixed settings; safe to share between threads.

    Parameters
    ----------
    spec : MfccSpec
        A spec of kind ``"mfcc"``.

    Examples
    --------
    >>> frames = Mfcc(MfccSpec(coefficients=20))(np.zeros(1600, dtype=np.float32))
    >>> frames.shape, frames.dtype
    ((11, 20), dtype('float32'))
    """

    def __init__(self, spec: MfccSpec) -> None:
        self._spec = spec
        self._log_mel = LogMel(spec.log_mel())
        self._cosines = cosines(spec).astype(np.float32)

    def __call__(self, waveform: Waveform) -> NDArray[np.float32]:
        """Compute the features of a waveform.

        Parameters
        ----------
        waveform : ndarray
            Mono float32 ``(samples,)`` at the spec's rate.

        Returns
        -------
        ndarray
            Float32 ``(frames, coefficients)``; see `vecsv.frontend.centred.frame_count`.
        """
        return normalised(product(self._log_mel(waveform), self._cosines), self._spec.normalise)
