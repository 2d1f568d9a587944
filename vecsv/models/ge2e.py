"""The GE2E speaker encoder: an LSTM over short windows of a mel spectrogram.

L. Wan, Q. Wang, A. Papir, I. Lopez Moreno, "Generalized End-to-End Loss for Speaker Verification", ICASSP
2018; the front end, the windows and the weights are those of ``resemblyzer`` 0.1.4. A quiet recording is made
louder, long silences are cut out, and each window of 1.6 s gives a unit vector; their mean, scaled to unit
length, is the embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vecsv.arrays import Vectors, Waveform
from vecsv.audio.activity import Activity, detect, raise_volume, trim
from vecsv.errors import AudioError, ModelError
from vecsv.frontend.mel import MelSpectrogram
from vecsv.frontend.spec import FrontendSpec, Trimming
from vecsv.models.bundle import ONNX_FILE, Bundle, read_bundle
from vecsv.models.protocol import Prepared
from vecsv.models.windows import Windowing

FAMILY: Final = "ge2e"
DIM: Final = 256
FRONTEND: Final = FrontendSpec()
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
    session : onnxruntime.InferenceSession
        Its network: float32 ``(windows, frames, mels)`` to float32 ``(windows, dim)``, not scaled.

    Raises
    ------
    ModelError
        When the bundle asks for a front end that this family has not.
    """

    def __init__(self, bundle: Bundle, session: Any) -> None:
        if bundle.frontend.trimming not in {None, _TRIMMING}:
            raise ModelError("its way of trimming silences is not known to this version of vecsv", where=bundle.name)
        self._bundle = bundle
        self._session = session
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
        spec, rule = self._bundle.frontend, self._bundle.windowing
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
        activations = np.concatenate([self._session.run([OUTPUT], {INPUT: batch})[0] for batch in _batches(prepared)])
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


def load(folder: Path, *, threads: int = 1) -> Ge2e:
    """Load a GE2E bundle.

    Parameters
    ----------
    folder : Path
        The bundle.
    threads : int
        Threads that one call of `Ge2e.embed` may use. The embedding stage calls it from one thread for each
        core and so wants 1; a single verification may want more.

    Raises
    ------
    ModelError
        When the folder is no bundle of this family, or its network cannot be loaded.
    """
    bundle = read_bundle(folder)
    if bundle.family != FAMILY:
        raise ModelError(f"is of the family {bundle.family}, not {FAMILY}", where=str(folder))
    return Ge2e(bundle, _session(folder / ONNX_FILE, threads))


def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    # ONNX Runtime has a dozen exception classes for a damaged file, without a common base of its own.
    except Exception as error:
        raise ModelError(
            "cannot be loaded by ONNX Runtime: missing or damaged",
            where=str(path),
            hint="pull the model again",
        ) from error


def _batches(prepared: Sequence[Prepared]) -> Iterator[NDArray[np.float32]]:
    """The windows of all recordings in order, in arrays of at most `_BATCH_WINDOWS`."""
    waiting: list[NDArray[np.float32]] = []
    room = _BATCH_WINDOWS
    for one in prepared:
        windows = one.features
        while windows.shape[0] >= room:
            yield np.concatenate([*waiting, windows[:room]])
            windows, waiting, room = windows[room:], [], _BATCH_WINDOWS
        if windows.shape[0]:
            waiting.append(windows)
            room -= windows.shape[0]
    if waiting:
        yield np.concatenate(waiting)
