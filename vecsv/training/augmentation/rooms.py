"""Rooms: convolution with recorded impulse responses."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Waveform
from vecsv.training.augmentation.sounds import Sounds
from vecsv.training.augmentation.waves import SILENT_POWER, power, scaled

LONGEST_S: Final = 5.0
"""More of a response is not read, in seconds: the reverberation of a cathedral fits."""

TAIL: Final = 1e-6
"""The end of a response that holds this part of its energy (60 dB less) is left out."""

_CACHED: Final = 64


@dataclass(frozen=True)
class Response:
    """An impulse response that is ready to be convolved with waveforms of one length.

    Attributes
    ----------
    spectrum : ndarray
        Complex64 ``(size // 2 + 1,)``.
    size : int
        Of the transform.
    direct : int
        The sample of the response at which sound arrives on the direct path: its strongest one.
    samples : int
        Length of the waveforms.
    """

    spectrum: NDArray[np.complex64]
    size: int
    direct: int
    samples: int

    @classmethod
    def of(cls, response: Waveform, samples: int) -> Response:
        """Prepare a response ``(any,)`` that is not silent for waveforms of so many samples."""
        from scipy import fft

        direct = int(np.abs(response).argmax())
        energy_left = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]
        length = int(np.count_nonzero(energy_left > TAIL * energy_left[0]))
        # Nothing later than this reaches the waveform's last sample.
        kept = response[: min(length, direct + samples)] / response[direct]
        size = int(fft.next_fast_len(samples + kept.size - 1, real=True))
        return cls(fft.rfft(kept, size), size, direct, samples)

    def reverberate(self, wave: Waveform) -> Waveform:
        """Convolve a waveform ``(samples,)``, without the delay of the direct path, and keep its power and its sign.

        Returns
        -------
        ndarray
            Float32 ``(samples,)``: what lies beyond the end of the waveform is cut off. Silence is returned as it is.
        """
        from scipy import fft

        heard = fft.irfft(fft.rfft(wave, self.size) * self.spectrum, self.size)
        heard = heard[self.direct : self.direct + self.samples]
        heard_power = power(heard)
        # A waveform of nothing but rounding errors could be turned up without end.
        return scaled(heard, math.sqrt(power(wave) / heard_power)) if heard_power >= SILENT_POWER else wave


class Rooms:
    """Puts speech into rooms, every response equally often.

    The responses used last stay in memory, ready for the next crop: with a handful of rooms nothing is read twice.

    Parameters
    ----------
    sounds : Sounds
        The responses.
    sample_rate : int
        Of the speech, in Hz.
    """

    def __init__(self, sounds: Sounds, sample_rate: int) -> None:
        self._sounds = sounds
        self._sample_rate = sample_rate
        self._recent: OrderedDict[tuple[int, int], Response] = OrderedDict()

    def __call__(self, wave: Waveform, generator: np.random.Generator) -> Waveform:
        """Return the speech as it sounds in one of the rooms, ``(samples,)``.

        Raises
        ------
        TrainingError
            When a response cannot be decoded, or is silent.
        """
        return self._response(int(generator.integers(len(self._sounds))), wave.size).reverberate(wave)

    def _response(self, index: int, samples: int) -> Response:
        key = (index, samples)
        if key not in self._recent:
            self._recent[key] = self._prepared(index, samples)
            if len(self._recent) > _CACHED:
                self._recent.popitem(last=False)
        self._recent.move_to_end(key)
        return self._recent[key]

    def _prepared(self, index: int, samples: int) -> Response:
        response = self._sounds.whole(index, sample_rate=self._sample_rate, most_s=LONGEST_S)
        if not response.any():
            raise self._sounds.unusable(index, "is a silent room response")
        return Response.of(response, samples)
