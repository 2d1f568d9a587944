"""An optional countermeasure: is a recording a live person, or played back, or synthetic?

A speaker model does not ask that: a good copy of a voice is that voice to it. Any ONNX graph will do that takes a
waveform at 16 kHz and gives one score; higher is more genuine, unless the graph's metadata says
``higher = spoofed``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Waveform
from vecsv.errors import ModelError

HIGHER: Final = "higher"
"""Key of the graph's metadata that says what a higher score means: ``genuine`` or ``spoofed``."""

_SAMPLE_TYPE: Final = "tensor(float)"


class SpoofModel:
    """A countermeasure, run by ONNX Runtime on one thread a call; safe to share between threads.

    Parameters
    ----------
    path : Path
        The graph. Its one input is float32 ``(samples,)``, ``(batch, samples)`` or ``(batch, 1, samples)``; a number
        in place of ``samples`` is how many it takes, and recordings are cut or repeated to that. Its one output is one
        number for a recording.

    Raises
    ------
    ModelError
        When it cannot be loaded, or is no such graph.
    """

    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # ONNX Runtime's exceptions have no class of their own in common.
            raise ModelError("is no ONNX graph that can be run", where=str(path)) from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelError(
                f"has {len(inputs)} inputs and {len(outputs)} outputs; a countermeasure has one of each",
                where=str(path),
            )
        self._input, self._output = inputs[0].name, outputs[0].name
        self._rank, self._samples = _shape(inputs[0], path)
        self._sign = _sign(self._session.get_modelmeta().custom_metadata_map, path)
        self._path = path
        # A graph that fails on any recording is found out now.
        self.score(np.zeros(self._samples or 16000, np.float32))

    def score(self, waveform: Waveform) -> float:
        """How genuine a recording is; higher is more.

        Parameters
        ----------
        waveform : ndarray
            Mono float32 ``(samples,)`` at 16 kHz.

        Raises
        ------
        ModelError
            When the graph fails on it, or gives no single finite number.
        """
        samples = waveform if self._samples is None else np.resize(waveform, self._samples)
        shaped = samples.reshape((1,) * (self._rank - 1) + (samples.size,))
        try:
            (found,) = self._session.run([self._output], {self._input: np.ascontiguousarray(shaped, np.float32)})
        except Exception as error:
            raise ModelError("fails on a recording", where=str(self._path)) from error
        scores: NDArray[Any] = np.asarray(found)
        if scores.size != 1 or not np.isfinite(scores).all():
            raise ModelError(
                f"gives {scores.size} numbers for a recording, not one that is finite", where=str(self._path)
            )
        return self._sign * float(scores.ravel()[0])


def _shape(given: Any, path: Path) -> tuple[int, int | None]:
    """How many axes the input has, and how many samples where the graph says so."""
    axes = list(given.shape)
    sizes = [axis if isinstance(axis, int) else None for axis in axes]
    if given.type != _SAMPLE_TYPE or not 1 <= len(axes) <= 3 or any(size not in {1, None} for size in sizes[:-1]):
        raise ModelError(f"takes {given.type} of shape {axes}, not one waveform of float32", where=str(path))
    return len(axes), sizes[-1]


def _sign(metadata: dict[str, str], path: Path) -> float:
    match metadata.get(HIGHER, "genuine"):
        case "genuine":
            return 1.0
        case "spoofed":
            return -1.0
        case other:
            raise ModelError(f"says {HIGHER} = {other!r}; it is genuine or spoofed", where=str(path))
