"""How recordings become the inputs of an ONNX graph: what ONNX Runtime and OpenVINO have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vecsv.engines.batching import BatchLimits, plan_batches
from vecsv.engines.protocol import GraphInterface
from vecsv.errors import ModelError

Feeds: TypeAlias = dict[str, NDArray[Any]]


def feeds(inputs: Sequence[NDArray[np.float32]], interface: GraphInterface) -> Feeds:
    """Lay inputs out as a graph wants them.

    Parameters
    ----------
    inputs : sequence of ndarray
        Float32 ``(frames, bands)`` or ``(samples,)``; of one length, unless the graph takes lengths.
    interface : GraphInterface

    Returns
    -------
    dict of str to ndarray
        The graph's inputs by name, C-contiguous.

    Examples
    --------
    >>> interface = GraphInterface("x", "y", layout="features-time", lengths="n", frame_multiple=4)
    >>> made = feeds([np.ones((5, 2), np.float32), np.ones((3, 2), np.float32)], interface)
    >>> made["x"].shape, made["n"].tolist()
    ((2, 2, 8), [5, 3])
    """
    lengths = [one.shape[0] for one in inputs]
    longest = -(-max(lengths) // interface.frame_multiple) * interface.frame_multiple
    if min(lengths) == longest:
        batch = np.stack(inputs)
    else:
        batch = np.zeros((len(inputs), longest, *inputs[0].shape[1:]), dtype=np.float32)
        for row, one in zip(batch, inputs, strict=True):
            row[: one.shape[0]] = one
    if interface.layout in {"features-time", "image-features-time"}:
        batch = batch.transpose(0, 2, 1)
    if interface.layout == "image-features-time":
        batch = batch[:, None]
    made: Feeds = {interface.input: np.ascontiguousarray(batch, dtype=np.float32)}
    if interface.lengths is not None:
        made[interface.lengths] = np.array(lengths, dtype=np.int64)
    return made


def run_planned(
    inputs: Sequence[NDArray[np.float32]],
    limits: BatchLimits,
    *,
    pads: bool,
    call: Callable[[list[NDArray[np.float32]]], NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Run inputs in planned batches; float32 ``(inputs, dim)`` in their own order."""
    batches = plan_batches([one.shape[0] for one in inputs], limits, pads=pads)
    if not batches:
        raise ValueError("there is nothing to run")
    parts = [call([inputs[position] for position in batch.positions]) for batch in batches]
    rows = np.empty((len(inputs), parts[0].shape[1]), dtype=np.float32)
    for batch, part in zip(batches, parts, strict=True):
        rows[list(batch.positions)] = part
    return rows


def as_rows(output: NDArray[Any], batch: int, *, name: str) -> NDArray[np.float32]:
    """Drop a graph's further axes of length 1; a ModelError when its output is no embedding for each input."""
    flat = output.reshape(batch, -1) if output.ndim > 1 and output.shape[0] == batch else output
    if flat.ndim != 2 or max(output.shape[1:]) != flat.shape[1]:
        raise ModelError(
            f"its network gives shape {tuple(output.shape)} for a batch of {batch}, not (batch, dim)", where=name
        )
    rows: NDArray[np.float32] = flat.astype(np.float32, copy=False)
    return rows


def require_names(interface: GraphInterface, inputs: Sequence[str], outputs: Sequence[str], *, where: str) -> None:
    """Refuse a graph that has not the inputs and outputs its interface names.

    Raises
    ------
    ModelError
        When one is missing, or the graph wants an input that nothing is said of.
    """
    wanted = {interface.input} | ({interface.lengths} if interface.lengths is not None else set())
    if wanted != set(inputs):
        raise ModelError(f"takes {', '.join(inputs)}, but should take {', '.join(sorted(wanted))}", where=where)
    if interface.output not in outputs:
        raise ModelError(f"gives {', '.join(outputs)}, but should give {interface.output}", where=where)
