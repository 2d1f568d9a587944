"""Louder and quieter recordings."""

from __future__ import annotations

import numpy as np

from vecsv.arrays import Waveform
from vecsv.training.augmentation.waves import scaled
from vecsv.training.specs import GainSpec


class Gain:
    """Multiplies by a gain drawn evenly in dB.

    Parameters
    ----------
    spec : GainSpec
        The range.

    Examples
    --------
    >>> gain = Gain(GainSpec(db=(-20.0, -20.0)))
    >>> gain(np.array([0.5, -1.0], np.float32), np.random.default_rng(1))
    array([ 0.05, -0.1 ], dtype=float32)
    """

    def __init__(self, spec: GainSpec) -> None:
        self._db = spec.db

    def __call__(self, wave: Waveform, generator: np.random.Generator) -> Waveform:
        """Return it louder or quieter, ``(samples,)``; a peak above 1 is left to the caller."""
        return scaled(wave, 10.0 ** (generator.uniform(*self._db) / 20.0))
