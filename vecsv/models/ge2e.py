"""The GE2E speaker encoder: an LSTM over short windows of a mel spectrogram.

L. Wan, Q. Wang, A. Papir, I. Lopez Moreno, "Generalized End-to-End Loss for Speaker Verification", ICASSP
2018; the front end, the windows and the weights are those of ``resemblyzer`` 0.1.4. A quiet recording is made
louder, long silences are cut out, and each window of 1.6 s gives a unit vector; their mean, scaled to unit
length, is the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from vecsv.arrays import Vectors, Waveform
from vecsv.audio.activity import Activity, detect, raise_volume, trim
from vecsv.engines.choose import open_network
from vecsv.engines.protocol import EngineSettings, GraphInterface, Network, NetworkSource
from vecsv.errors import AudioError, ModelError
from vecsv.frontend.mel import MelSpectrogram
from vecsv.frontend.spec import MelSpectrogramSpec, Trimming
from vecsv.models.bundle import ONNX_FILE, TENSORS_FILE, Bundle, read_bundle
from vecsv.models.int8 import is_int8, open_int8
from vecsv.models.protocol import Prepared
from vecsv.models.windows import Windowing

if TYPE_CHECKING:
    from vecsv.networks.ge2e import Ge2eNetwork

FAMILY: Final = "ge2e"
DIM: Final = 256
FRONTEND: Final = MelSpectrogramSpec()
WINDOWING: Final = Windowing(frames=160, step=77, min_coverage=0.75)
"""Windows of 1.6 s; 77 frames are the nearest to 1.3 windows a second."""

INPUT: Final = "windows"
OUTPUT: Final = "activations"

# What `vecsv.audio.activity` computes; no other trimming can be asked of it.
_TRIMMING: Final = Trimming()

# More windows at once gain no speed: the LSTM's states no longer stay within a core's cache.
_BATCH_WINDOWS: Final = 24


class Ge2e:
    """A GE2E encoder, an `vecsv.models.protocol.Embedder`; safe to share between threads.

    Parameters
    ----------
    bundle : Bundle
        What the model is.
    network : Network
        Its network: windows, float32 ``(frames, mels)``, to float32 ``(windows, dim)``, not scaled.

    Raises
    ------
    ModelError
        When the bundle asks for a front end that this family has not.
    """

    def __init__(self, bundle: Bundle, network: Network) -> None:
        if not isinstance(bundle.frontend, MelSpectrogramSpec) or bundle.windowing is None:
            raise ModelError("has no mel spectrogram, or no windows over it", where=bundle.name)
        if bundle.frontend.trimming not in {None, _TRIMMING}:
            raise ModelError("its way of trimming silences is not known to this version of vecsv", where=bundle.name)
        self._spec = bundle.frontend
        self._windowing = bundle.windowing
        self._bundle = bundle
        self._network = network
        self._alone = is_int8(bundle.network)
        self._spectrogram = MelSpectrogram(bundle.frontend)

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
        """Turn one waveform into windows of its mel spectrogram.

        Parameters
        ----------
        waveform : ndarray
            Mono float32 ``(samples,)`` at `sample_rate`; at most 60 s, so that memory stays bounded.
        activity : Activity, optional
            What `vecsv.audio.activity.detect` says of this waveform, where that is known already.

        Returns
        -------
        Prepared
            Features float32 ``(windows, 160, 40)``; windows overlap, so this may be a read-only view.

        Raises
        ------
        AudioError
            ``no-speech`` when nothing stays after trimming, ``not-finite`` when a sample is not finite or
            absurdly large.
        """
        spec, rule = self._spec, self._windowing
        speech = waveform if spec.volume_dbfs is None else raise_volume(waveform, spec.volume_dbfs)
        if spec.trimming is not None:
            speech = trim(speech, detect(waveform) if activity is None else activity)
        if speech.size == 0:
            raise AudioError("no-speech", "no speech was found in it")
        starts = rule.starts(samples=speech.size, hop=spec.hop)
        frames = starts[-1] + rule.frames
        with np.errstate(over="ignore", invalid="ignore"):
            mels = self._spectrogram(speech, frames)
            finite = bool(np.isfinite(mels.sum(dtype=np.float64)))
        if not finite:
            raise AudioError("not-finite", "holds samples that are not finite or absurdly large")
        windows = sliding_window_view(mels, rule.frames, axis=0)[:: rule.step].transpose(0, 2, 1)
        return Prepared(features=windows, seconds=frames * spec.hop / spec.sample_rate)

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        """Embed prepared recordings.

        Parameters
        ----------
        prepared : sequence of Prepared
            What `prepare` gave, of as many recordings as wanted.

        Returns
        -------
        ndarray
            Float32 ``(recordings, dim)``, rows of unit length.

        Raises
        ------
        AudioError
            ``no-embedding`` when the network gives nothing but zeros for a recording, so that it has no
            direction.
        """
        if not prepared:
            return np.empty((0, self.dim), dtype=np.float32)
        # An int8 network takes its input's range from the whole call: there, a recording is one by itself.
        calls = [[one] for one in prepared] if self._alone else [prepared]
        activations = np.concatenate(
            [self._network.run([row for one in call for row in one.features]) for call in calls]
        )
        lengths = np.linalg.norm(activations, axis=1, keepdims=True)
        # A window of zeros has no direction: it stays zero and so takes no part in the mean.
        directions = activations / np.where(lengths > 0.0, lengths, 1.0)
        firsts = np.cumsum([0, *(one.features.shape[0] for one in prepared[:-1])])
        sums = np.add.reduceat(directions, firsts, axis=0)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        for position in np.flatnonzero(~(norms[:, 0] > 0.0)):
            raise AudioError("no-embedding", f"the network gives only zeros (recording {position + 1} of the batch)")
        vectors: Vectors = (sums / norms).astype(np.float32)
        return vectors


def load(folder: Path, settings: EngineSettings | None = None) -> Ge2e:
    """Load a GE2E bundle.

    Parameters
    ----------
    folder : Path
        The bundle.
    settings : EngineSettings, optional
        How the network is run.

    Raises
    ------
    ModelError
        When the folder is no bundle of this family, or its network cannot be loaded.
    """
    bundle = read_bundle(folder)
    if bundle.family != FAMILY:
        raise ModelError(f"is of the family {bundle.family}, not {FAMILY}", where=str(folder))
    source = NetworkSource(
        bundle.name,
        graph=folder / ONNX_FILE,
        interface=GraphInterface(INPUT, OUTPUT),
        module=partial(torch_module, folder),
        cpu_batch=_BATCH_WINDOWS,
    )
    open_it = open_int8 if is_int8(bundle.network) else open_network
    return Ge2e(bundle, open_it(source, settings or EngineSettings()))


def torch_module(folder: Path) -> Ge2eNetwork:
    """Make the network of a bundle as a PyTorch module, in evaluation mode.

    Raises
    ------
    ModelError
        When the tensors cannot be read, or are not those of this network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from vecsv.networks.ge2e import Ge2eNetwork

    path = folder / TENSORS_FILE
    try:
        return Ge2eNetwork.of(load_file(path))
    except (OSError, SafetensorError, ModelError) as error:
        raise ModelError(f"cannot be used: {error}", where=str(path), hint="pull the model again") from error
