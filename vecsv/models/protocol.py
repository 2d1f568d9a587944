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
    """One recording (at most a block of it) as its model's network takes it.

    Attributes
    ----------
    features : ndarray
        The network's input, in the model's own shape.
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
        """SHA-256 (hex) over canonical tensors, network, front end, windowing and pooling: equal means comparable."""

    @property
    def dim(self) -> int:
        """Length of an embedding."""

    @property
    def sample_rate(self) -> int:
        """Rate the waveforms must have, in Hz."""

    @property
    def block_s(self) -> float:
        """Longest stretch that is embedded in one piece, in seconds; longer recordings are embedded in blocks."""

    @property
    def batch_s(self) -> float:
        """Seconds of audio that one call of `embed` should be given: enough to fill the device, no more."""

    @property
    def engine(self) -> str:
        """What runs the network, with version, device and precision; not part of the fingerprint."""

    @property
    def reference_calibration(self) -> Mapping[str, Any] | None:
        """Thresholds its makers measured on data they name, as `vecsv.calibration.record` writes them; None without."""

    def prepare(self, waveform: Waveform, activity: Activity | None = None) -> Prepared:
        """Turn one waveform of at most `block_s` into the network's input.

        Raises
        ------
        AudioError
            ``no-speech`` when nothing in it is speech, ``too-short`` when the model cannot use it.
        """

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        """Embed prepared recordings; returns float32 ``(n, dim)``, rows of unit length."""
