"""What a foreign graph does when it is run, found out in a process of its own with bounded memory and time.

A graph may ask for more memory than there is, run for ever, or bring its runtime down; none of that may happen to the
process that a person waits for. Run as a program, this module answers a `Question` (see `vecsv.models.apart`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.engines.graph_calls import feeds
from vecsv.engines.protocol import GraphInterface
from vecsv.errors import ModelError
from vecsv.models import apart

TIME_LIMIT_S: Final = 300.0
MEMORY_LIMIT: Final = 12 << 30
"""Bytes of address space: several times what the largest speaker models take."""

# One window of each length that is tried until one works.
_FRAMES: Final = (200, 400, 1000)
_SAMPLES: Final = (32000, 64000, 160000)
_SAME: Final = 1e-5


@dataclass(frozen=True)
class Question:
    """What is to be tried.

    Attributes
    ----------
    path : str
        The ONNX file.
    interface : dict
        A `GraphInterface` as JSON.
    bands : int or None
        Bands of the features; None where the graph takes the wave.
    min_frames : int or None
        Fewest frames (samples) where that is known; None finds out.
    one_at_a_time : bool
        Whether batches are out of the question.
    memory : int
        Bytes of address space.
    """

    path: str
    interface: dict[str, Any]
    bands: int | None
    min_frames: int | None = None
    one_at_a_time: bool = False
    memory: int = MEMORY_LIMIT


@dataclass(frozen=True)
class Findings:
    """What was found.

    Attributes
    ----------
    dim : int
        Length of an embedding.
    min_frames : int
        Fewest frames (samples) that the graph takes.
    batched : bool
        Whether recordings in one batch get what each gets alone.
    """

    dim: int
    min_frames: int
    batched: bool


def probe(question: Question, *, where: str, time_limit_s: float | None = None) -> Findings:
    """Run a graph on noise of several lengths, in a process of its own.

    Raises
    ------
    ModelError
        When it cannot be run, or gives no embeddings; `where` is what the error calls it.
    """
    limit = TIME_LIMIT_S if time_limit_s is None else time_limit_s
    asked = asdict(question)
    found = apart.ask("vecsv.models.probing", asked, where=where, time_limit_s=limit, memory=question.memory)
    return Findings(**found)


class _UnusableError(Exception):
    """Why a trial gave no embedding."""


class _Trial:
    """A session and the inputs that are tried on it."""

    def __init__(self, question: Question) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self.question = question
        self.interface = GraphInterface.from_json(question.interface)
        self._run = onnxruntime.InferenceSession(question.path, options, providers=["CPUExecutionProvider"]).run

    def noise(self, length: int, seed: int) -> NDArray[np.float32]:
        """Something a front end might give; noise is what networks refuse least."""
        shape = (length,) if self.question.bands is None else (length, self.question.bands)
        scale = 0.1 if self.question.bands is None else 1.0
        values: NDArray[np.float32] = (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)
        return values

    def __call__(self, *inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            (output,) = self._run([self.interface.output], feeds(inputs, self.interface))
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            raise _UnusableError(lines[0][:300]) from error
        if output.ndim < 2 or output.shape[0] != len(inputs) or max(output.shape[1:]) != output[0].size:
            raise _UnusableError(f"it gives shape {tuple(output.shape)} for a batch of {len(inputs)}, not (batch, dim)")
        rows: NDArray[np.float32] = output.reshape(len(inputs), -1)
        if not np.isfinite(rows).all():
            raise _UnusableError("it gives values that are not finite")
        if not np.linalg.norm(rows, axis=1).all():
            raise _UnusableError("it gives nothing but zeros")
        return rows


def find_out(question: Question) -> Findings:
    """Try a graph, in this very process.

    Raises
    ------
    ModelError
        When it cannot be run, or gives no embeddings.
    """
    try:
        trial = _Trial(question)
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise ModelError(f"cannot be loaded by ONNX Runtime: {first}") from error
    sizes = _SAMPLES if question.bands is None else _FRAMES
    works = _works(trial)
    enough = next((size for size in sizes if works(size)), None)
    if enough is None:
        try:
            trial(trial.noise(sizes[0], 0))
        except _UnusableError as error:
            raise ModelError(f"its network cannot be run on {_shape(trial, sizes[0])}: {error}") from error
    assert enough is not None  # noqa: S101 - one of them ran just now
    least = question.min_frames if question.min_frames is not None else _least(works, enough)
    if not works(least):
        raise ModelError(f"its network does not take {_shape(trial, least)}, the fewest that were said to do")
    for size in (least + 1, least + 2, least + 3, 2 * least + 1, enough + 37, enough + 1):
        if not works(size):
            raise ModelError(f"its network takes {_shape(trial, least)}, but not {_shape(trial, size)}")
    one, other = (trial(trial.noise(enough, seed)) for seed in (1, 2))
    if _distance(one, other) < 1e-9:
        raise ModelError(f"its output {trial.interface.output} is the same whatever it is given")
    batched = not question.one_at_a_time and _batches(trial, enough)
    return Findings(dim=int(one.shape[1]), min_frames=least, batched=batched)


def _works(trial: _Trial) -> Callable[[int], bool]:
    def works(size: int) -> bool:
        try:
            trial(trial.noise(size, 0))
        except _UnusableError:
            return False
        return True

    return works


def _least(works: Callable[[int], bool], enough: int) -> int:
    """The smallest size that works, when all above one do."""
    low, high = 0, enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(middle) else (middle, high)
    return high


def _batches(trial: _Trial, enough: int) -> bool:
    """Whether a batch gives what its recordings give alone: of one length, and of several where lengths are taken."""
    lengths = [(enough, enough, enough)]
    if trial.interface.lengths is not None:
        lengths.append((enough, enough + 61, enough + 7))
    for sizes in lengths:
        inputs = [trial.noise(size, seed) for seed, size in enumerate(sizes)]
        try:
            together = trial(*inputs)
        except _UnusableError:
            return False
        alone = np.concatenate([trial(one) for one in inputs])
        if together.shape != alone.shape or _distance(together, alone) > _SAME:
            return False
    return True


def _distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Largest cosine distance between rows."""
    first, second = one.astype(np.float64), other.astype(np.float64)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    # As half a squared length: one minus a cosine near 1 would be rounding.
    return float((((first - second) ** 2).sum(axis=1) / 2).max())


def _shape(trial: _Trial, size: int) -> str:
    return f"{size} samples" if trial.question.bands is None else f"{size} frames of {trial.question.bands} bands"


def _answer(values: dict[str, Any]) -> dict[str, Any]:
    return asdict(find_out(Question(**values)))


if __name__ == "__main__":
    apart.answer(_answer)
