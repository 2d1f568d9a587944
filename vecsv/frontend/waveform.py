"""The waveform as a front end, for networks whose first layers are their own."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Waveform
from vecsv.frontend.spec import WaveformSpec

VARIANCE_OFFSET: Final = 1e-7
"""What is added to a recording's variance before it is divided by its root: ``Wav2Vec2FeatureExtractor``'s own."""


class ScaledWaveform:
    """A waveform, scaled and normalised; safe to share between threads.

    Parameters
    ----------
    spec : WaveformSpec
        A spec of kind ``"waveform"``.

    Examples
    --------
    >>> ScaledWaveform(WaveformSpec(scale=2.0))(np.array([0.5, -0.25], dtype=np.float32)).tolist()
    [1.0, -0.5]
    """

    def __init__(self, spec: WaveformSpec) -> None:
        self._spec = spec

    def __call__(self, waveform: Waveform) -> NDArray[np.float32]:
        """Scale a waveform.

        Parameters
        ----------
        waveform : ndarray
            Mono float32 ``(samples,)`` at the spec's rate.

        Returns
        -------
        ndarray
            Float32 ``(samples,)``.
        """
        values: NDArray[np.float32] = waveform.astype(np.float32, copy=False)
        if self._spec.normalise and values.size:
            # In float64: the sum of a long recording's squares loses digits otherwise, and absurd samples overflow.
            mean = values.mean(dtype=np.float64)
            variance = np.square(values - mean, dtype=np.float64).mean()
            values = ((values - mean) / np.sqrt(variance + VARIANCE_OFFSET)).astype(np.float32)
        if self._spec.scale != 1.0:
            values = values * np.float32(self._spec.scale)
        return values
