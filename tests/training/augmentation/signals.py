"""What is measured on effects."""

from __future__ import annotations

import numpy as np

from vecsv.arrays import Waveform


def generator(seed: int = 0) -> np.random.Generator:
    """What a call draws from."""
    return np.random.Generator(np.random.PCG64(seed))


def decibels(power_ratio: float) -> float:
    return float(10.0 * np.log10(power_ratio))


def mean_square(wave: Waveform) -> float:
    return float(np.mean(wave.astype(np.float64) ** 2))


def lag(heard: Waveform, sent: Waveform) -> int:
    """By how many samples one is later than the other."""
    size = heard.size + sent.size
    spectra = np.fft.rfft(heard.astype(np.float64), size) * np.conj(np.fft.rfft(sent.astype(np.float64), size))
    place = int(np.fft.irfft(spectra, size).argmax())
    return place if place < heard.size else place - size


def amplitude_of(wave: Waveform, hertz: float, rate: int) -> float:
    """How strong one tone is in a waveform; its ends, where filters start and stop, are left out."""
    middle = wave[wave.size // 4 : -wave.size // 4].astype(np.float64) * np.hanning(wave.size - 2 * (wave.size // 4))
    turning = np.exp(-2j * np.pi * hertz * np.arange(middle.size) / rate)
    return float(4.0 * abs((middle * turning).mean()))
