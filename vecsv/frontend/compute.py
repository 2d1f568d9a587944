"""From a spec to the front end that computes it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Waveform
from vecsv.frontend.spec import (
    FrontendSpec,
    KaldiSpec,
    LogMelSpec,
    MelSpectrogramSpec,
    MfccSpec,
    SpectrogramSpec,
    WaveformSpec,
)


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
        case SpectrogramSpec():
            from vecsv.frontend.spectrogram import Spectrogram

            return Spectrogram(spec)
        case MfccSpec():
            from vecsv.frontend.mfcc import Mfcc

            return Mfcc(spec)
        case KaldiSpec():
            from vecsv.frontend.kaldi import KaldiFilterbank

            return KaldiFilterbank(spec)
        case WaveformSpec():
            from vecsv.frontend.waveform import ScaledWaveform

            return ScaledWaveform(spec)


def bands_of(spec: FrontendSpec) -> int:
    """How many numbers the features of a spec have for each frame; 1 for a waveform, whose frames are samples.

    Examples
    --------
    >>> [bands_of(spec) for spec in (LogMelSpec(), SpectrogramSpec(), MfccSpec(coefficients=20), WaveformSpec())]
    [80, 201, 20, 1]
    """
    match spec:
        case MelSpectrogramSpec() | LogMelSpec() | KaldiSpec():
            return spec.mels
        case SpectrogramSpec():
            return spec.n_fft // 2 + 1
        case MfccSpec():
            return spec.coefficients
        case WaveformSpec():
            return 1
