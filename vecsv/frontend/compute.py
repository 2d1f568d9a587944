"""From a spec to the front end that computes it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Waveform
from vecsv.frontend.spec import FrontendSpec, KaldiSpec, LogMelSpec, MelSpectrogramSpec, WaveformSpec


class FrontEnd(Protocol):
    """A front end of fixed settings; safe to share between threads."""

    def __call__(self, waveform: Waveform) -> NDArray[np.float32]:
        """Compute the features of a waveform, mono float32 ``(samples,)``.

        Returns
        -------
        ndarray
            Float32 ``(frames, bands)``, or ``(samples,)`` for a spec of kind ``"waveform"``. No frames for a waveform
            that is too short for one.
        """


def front_end(spec: FrontendSpec) -> FrontEnd:
    """Make the front end of a spec.

    Examples
    --------
    >>> front_end(KaldiSpec())(np.zeros(16000, dtype=np.float32)).shape
    (98, 80)
    """
    match spec:
        case MelSpectrogramSpec():
            from vecsv.frontend.mel import MelSpectrogram

            return MelSpectrogram(spec)
        case LogMelSpec():
            from vecsv.frontend.log_mel import LogMel

            return LogMel(spec)
        case KaldiSpec():
            from vecsv.frontend.kaldi import KaldiFilterbank

            return KaldiFilterbank(spec)
        case WaveformSpec():
            from vecsv.frontend.waveform import ScaledWaveform

            return ScaledWaveform(spec)
