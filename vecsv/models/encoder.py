"""A speaker model made of a front end and a network that takes a whole recording: every family but GE2E."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Vectors, Waveform
from vecsv.audio.activity import Activity, detect
from vecsv.engines.protocol import Network
from vecsv.errors import AudioError
from vecsv.frontend.compute import front_end
from vecsv.models.bundle import Bundle
from vecsv.models.protocol import Prepared


class Encoder:
    """An `vecsv.models.protocol.Embedder`; safe to share between threads.

    Parameters
    ----------
    bundle : Bundle
        What the model is.
    network : Network
        Its network, on the engine that was asked for.
    min_frames : int
        Fewest frames (or samples, for a network that takes the waveform) that the network can use.
    """

    def __init__(self, bundle: Bundle, network: Network, *, min_frames: int = 1) -> None:
        self._bundle = bundle
        self._network = network
        self._front_end = front_end(bundle.frontend)
        self._min_frames = min_frames

    @property
    def name(self) -> str:
        """Name the model goes by."""
        return self._bundle.name

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the canonical tensors and rules."""
        return self._bundle.fingerprint

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self._bundle.dim

    @property
    def sample_rate(self) -> int:
        """Rate the waveforms must have, in Hz."""
        return self._bundle.sample_rate

    @property
    def block_s(self) -> float:
        """Longest stretch that is embedded in one piece, in seconds."""
        return self._bundle.pooling.block_s

    @property
    def batch_s(self) -> float:
        """Seconds of audio that one call of `embed` should be given."""
        return self._network.in_flight_s

    @property
    def engine(self) -> str:
        """What runs the network."""
        return self._network.engine

    @property
    def bundle(self) -> Bundle:
        """What the model's bundle says of it."""
        return self._bundle

    @property
    def reference_calibration(self) -> Mapping[str, Any] | None:
        """Thresholds measured elsewhere, as the bundle holds them."""
        return self._bundle.reference_calibration

    def prepare(self, waveform: Waveform, activity: Activity | None = None) -> Prepared:
        """Turn one waveform into what the network takes.

        Parameters
        ----------
        waveform : ndarray
            Mono float32 ``(samples,)`` at `sample_rate`; at most `block_s` long, so that memory stays bounded.
        activity : Activity, optional
            What `vecsv.audio.activity.detect` says of this waveform, where that is known already.

        Returns
        -------
        Prepared
            Features float32 ``(frames, bands)``, or ``(samples,)`` for a network that takes the waveform.

        Raises
        ------
        AudioError
            ``no-speech`` when nothing in it is speech, ``too-short`` when the network cannot use it, ``not-finite``
            when a sample is not finite or absurdly large.
        """
        if not (detect(waveform) if activity is None else activity).kept().any():
            raise AudioError("no-speech", "no speech was found in it")
        with np.errstate(over="ignore", invalid="ignore"):
            features = self._front_end(waveform)
            finite = bool(np.isfinite(features.sum(dtype=np.float64)))
        if features.shape[0] < self._min_frames:
            raise AudioError("too-short", f"{waveform.size / self.sample_rate:.3f} s are too short for {self.name}")
        if not finite:
            raise AudioError("not-finite", "holds samples that are not finite or absurdly large")
        return Prepared(features=features, seconds=waveform.size / self.sample_rate)

    def raw(self, prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        """Run prepared recordings through the network; float32 ``(recordings, dim)``, not scaled to unit length."""
        if not prepared:
            return np.empty((0, self.dim), dtype=np.float32)
        return self._network.run([one.features for one in prepared])

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        """Embed prepared recordings; float32 ``(recordings, dim)``, rows of unit length.

        Raises
        ------
        AudioError
            ``no-embedding`` when the network gives zeros, or no numbers, for a recording.
        """
        activations = self.raw(prepared)
        lengths = np.linalg.norm(activations, axis=1, keepdims=True)
        for position in np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0.0))):
            raise AudioError("no-embedding", f"the network gives no direction (recording {position + 1} of the batch)")
        vectors: Vectors = (activations / lengths).astype(np.float32)
        return vectors
