"""What every speaker model looks like to the rest of vecsv.

A model works in two steps, so that one unusable recording never spoils a batch and the front end can run on
other threads than the network: `prepare` turns one waveform into the network's input, `embed` turns many
prepared inputs into unit vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Vectors, Waveform
from vecsv.audio.activity import Activity


@dataclass(frozen=True)
class Prepared:
    """One recording (at most 60 s of it) as its model's network takes it.

    Attributes
    ----------
    features : ndarray
        The network's input, in the model's own shape: windows first.
    seconds : float
        How much audio the features cover, in seconds; what batches are measured by.
    """

    features: NDArray[np.float32]
    seconds: float


class Embedder(Protocol):
    """A speaker model.

    Its result for one recording does not depend on what else is in the batch (<= 1e-5 in cosine).
    """

    @property
    def name(self) -> str:
        """Name the model goes by in commands."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over canonical tensors, FrontendSpec, windowing and pooling: equal means comparable."""

    @property
    def dim(self) -> int:
        """Length of an embedding."""

    @property
    def sample_rate(self) -> int:
        """Rate the waveforms must have, in Hz."""

    @property
    def reference_calibration(self) -> Mapping[str, Any] | None:
        """Thresholds its makers measured on data they name, as `vecsv.calibration.record` writes them; None without."""

    def prepare(self, waveform: Waveform, activity: Activity | None = None) -> Prepared:
        """Turn one waveform of at most 60 s into the network's input.

        Raises
        ------
        AudioError
            ``no-speech`` when nothing in it is speech, ``too-short`` when the model cannot use it.
        """

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        """Embed prepared recordings; returns float32 ``(n, dim)``, rows of unit length."""
