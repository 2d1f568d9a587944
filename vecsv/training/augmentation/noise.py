"""Noise and other voices beneath speech."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from vecsv.arrays import Waveform
from vecsv.training.augmentation.sounds import Sounds
from vecsv.training.augmentation.waves import SILENT_POWER, power, scaled
from vecsv.training.specs import BabbleSpec, NoiseSpec

Voice: TypeAlias = Callable[[int, np.random.Generator], Waveform]
"""Draws one voice: called with a number of samples and what to draw from, gives float32 ``(samples,)``."""


def add_at_snr(speech: Waveform, noise: Waveform, snr_db: float) -> Waveform:
    """Add noise so that speech has so many dB more power than it, both over the whole of the crop.

    Parameters
    ----------
    speech, noise : ndarray
        Float32 ``(samples,)`` of the same length.
    snr_db : float
        ``10 * log10(power(speech) / power(added noise))``.

    Returns
    -------
    ndarray
        Float32 ``(samples,)``; the speech as it is where either is silent, since no gain gives a ratio then.

    Examples
    --------
    >>> speech, noise = np.ones(4, np.float32), np.array([5, -5, 5, -5], np.float32)
    >>> add_at_snr(speech, noise, 20.0)
    array([1.1, 0.9, 1.1, 0.9], dtype=float32)
    """
    speech_power, noise_power = power(speech), power(noise)
    if min(speech_power, noise_power) < SILENT_POWER:
        return speech
    return speech + scaled(noise, math.sqrt(speech_power / noise_power) * 10.0 ** (-snr_db / 20.0))


class Noise:
    """Adds a stretch of a recorded noise.

    Parameters
    ----------
    spec : NoiseSpec
        The range of the signal-to-noise ratio.
    sounds : Sounds
        The noises.
    sample_rate : int
        Of the speech, in Hz.
    """

    def __init__(self, spec: NoiseSpec, sounds: Sounds, sample_rate: int) -> None:
        self._snr_db = spec.snr_db
        self._sounds = sounds
        self._sample_rate = sample_rate

    def __call__(self, wave: Waveform, generator: np.random.Generator) -> Waveform:
        """Return the speech with noise in it, ``(samples,)``."""
        snr_db = generator.uniform(*self._snr_db)
        noise = self._sounds.draw(wave.size, sample_rate=self._sample_rate, generator=generator)
        return add_at_snr(wave, noise, snr_db)


class Babble:
    """Adds several other voices at once, each equally loud.

    Parameters
    ----------
    spec : BabbleSpec
        How many voices, and the range of the ratio of speech to all of them together.
    voice : callable
        Draws one voice at the rate of the speech.
    """

    def __init__(self, spec: BabbleSpec, voice: Voice) -> None:
        self._spec = spec
        self._voice = voice

    def __call__(self, wave: Waveform, generator: np.random.Generator) -> Waveform:
        """Return the speech with voices behind it, ``(samples,)``."""
        snr_db = generator.uniform(*self._spec.snr_db)
        fewest, most = self._spec.voices
        babble = np.zeros(wave.size, np.float32)
        for _ in range(int(generator.integers(fewest, most + 1))):
            voice = self._voice(wave.size, generator)
            voice_power = power(voice)
            # A silent stretch of somebody is one voice less.
            if voice_power >= SILENT_POWER:
                babble += scaled(voice, 1.0 / math.sqrt(voice_power))
        return add_at_snr(wave, babble, snr_db)
