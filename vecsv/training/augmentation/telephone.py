"""The telephone line: a narrow band and companded samples of eight bits."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Waveform
from vecsv.training.augmentation.waves import aligned, at_rate

RATE: Final = 8000
"""Of a telephone line, in Hz."""

BAND_HZ: Final = (300.0, 3400.0)
"""Where the line passes half the amplitude, in Hz."""

COMPANDING: Final = ("ULAW", "ALAW")
"""North America's and Japan's, and everybody else's."""

# The band's edges are then about 100 Hz wide.
_TAPS: Final = 255
_LOUDEST: Final = 32767
_LEVELS: Final = 65536


class Telephone:
    """Sends speech over a telephone line.

    It is brought to 8 kHz, cut to 300-3400 Hz by a filter without delay, companded by G.711's mu-law or A-law (each
    equally often) and brought back.

    Parameters
    ----------
    sample_rate : int
        Of the speech, in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        from scipy import signal

        self._sample_rate = sample_rate
        self._filter = signal.firwin(_TAPS, BAND_HZ, pass_zero=False, fs=RATE).astype(np.float32)
        self._tables = tuple(companding_table(law) for law in COMPANDING)

    def __call__(self, wave: Waveform, generator: np.random.Generator) -> Waveform:
        """Return the speech as it comes out at the other end, ``(samples,)``."""
        from scipy import signal

        table = self._tables[int(generator.integers(len(self._tables)))]
        narrow = at_rate(wave, self._sample_rate, RATE)
        # Not mode="same", which for a waveform shorter than the filter gives something else than one expects.
        passed = aligned(signal.fftconvolve(narrow, self._filter), _TAPS // 2, narrow.size)
        return aligned(at_rate(companded(passed, table), RATE, self._sample_rate), 0, wave.size)


def companding_table(law: str) -> Waveform:
    """What each of the 65536 values of a 16-bit sample becomes by companding and expanding.

    Parameters
    ----------
    law : str
        ``"ULAW"`` or ``"ALAW"``, libsndfile's names for G.711's two.

    Returns
    -------
    ndarray
        Float32 ``(65536,)`` in [-1, 1], for the values from -32768 up.

    Examples
    --------
    >>> table = companding_table("ULAW")
    >>> table.shape, len(set(table.tolist()))
    ((65536,), 255)
    """
    import soundfile

    values = (np.arange(_LEVELS) - _LEVELS // 2).astype(np.int16)
    line = io.BytesIO()
    with soundfile.SoundFile(line, "w", samplerate=RATE, channels=1, format="AU", subtype=law) as file:
        file.write(values)
    line.seek(0)
    table: Waveform = soundfile.read(line, dtype="float32")[0]
    return table


def companded(wave: Waveform, table: Waveform) -> Waveform:
    """Pass each sample ``(samples,)`` through a companding table as a 16-bit number; what is above 1 is clipped."""
    levels: NDArray[np.int64] = np.rint(np.clip(wave, -1.0, 1.0) * _LOUDEST).astype(np.int64)
    heard: Waveform = table[levels + _LEVELS // 2]
    return heard
