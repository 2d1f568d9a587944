"""Voices of the corpus, to babble behind others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from vecsv.arrays import Waveform
from vecsv.errors import AudioError
from vecsv.training.data.crops import draw_crop
from vecsv.training.data.recordings import Recording

_ATTEMPTS: Final = 10


@dataclass(frozen=True)
class CorpusVoice:
    """Draws a stretch of anybody's speech.

    Attributes
    ----------
    recordings : sequence of Recording
        Whose; packed ones (`Corpus.packed`) are cheap to hand to a process.
    sample_rate : int
        Of what is drawn, in Hz.
    """

    recordings: Sequence[Recording]
    sample_rate: int

    def __call__(self, samples: int, generator: np.random.Generator) -> Waveform:
        """Draw float32 ``(samples,)``; an AudioError when ten recordings in a row cannot be decoded."""
        attempts = 1
        while True:
            recording = self.recordings[int(generator.integers(len(self.recordings)))]
            try:
                return draw_crop(recording, samples=samples, sample_rate=self.sample_rate, generator=generator)
            except AudioError:
                if attempts == _ATTEMPTS:
                    raise
                attempts += 1
