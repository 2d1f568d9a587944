"""Small networks for engines, as ONNX graphs and in NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, save

from vecsv.engines.protocol import GraphInterface, NetworkSource

BANDS, DIM = 6, 5
WEIGHT: NDArray[np.float32] = np.sin(np.arange(BANDS * DIM, dtype=np.float32)).reshape(BANDS, DIM)
WAVE_WEIGHT: NDArray[np.float32] = WEIGHT[:1]

_TIME_AXIS = {"wave": 1, "time-features": 1, "features-time": 2, "image-features-time": 3}


def reference(one: NDArray[np.float32], *, frames: int | None = None) -> NDArray[np.float64]:
    """What the graphs compute: the mean over time of tanh, projected; then how many frames the graph is shown."""
    wide = np.tanh(one.astype(np.float64))
    mean = wide.mean(axis=0, keepdims=one.ndim == 1)
    weight = WAVE_WEIGHT if one.ndim == 1 else WEIGHT
    return np.concatenate([mean @ weight.astype(np.float64), [one.shape[0] if frames is None else frames]])


def source(
    folder: Path,
    layout: str = "time-features",
    *,
    lengths: bool = False,
    frame_multiple: int = 1,
    batch: int | str = "batch",
    trailing_axes: int = 0,
    cpu_batch: int = 1,
) -> NetworkSource:
    """Write a graph of a layout, and say how it is called.

    Without ``lengths`` it averages over all it is shown; with them it divides a sum by the length, so that only
    zeros may follow a recording.
    """
    time = _TIME_AXIS[layout]
    shape: list[int | str] = {
        "wave": [batch, "time"],
        "time-features": [batch, "time", BANDS],
        "features-time": [batch, BANDS, "time"],
        "image-features-time": [batch, 1, BANDS, "time"],
    }[layout]
    weight = WAVE_WEIGHT if layout == "wave" else WEIGHT
    constants: dict[str, NDArray[Any]] = {
        "weight": weight,
        "nothing": np.zeros((len(weight), 1), np.float32),
        "time": np.array([time], np.int64),
        "columns": np.array([-1, len(weight)], np.int64),
        "one_column": np.array([-1, 1], np.int64),
        "trailing": np.array([2 + axis for axis in range(trailing_axes)], np.int64),
    }
    nodes = [
        helper.make_node("Tanh", ["x"], ["active"]),
        helper.make_node("ReduceSum", ["active", "time"], ["sum"], keepdims=0),
        helper.make_node("Reshape", ["sum", "columns"], ["sums"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "time"], ["shown"]),
        helper.make_node("Cast", ["shown"], ["shown_float"], to=TensorProto.FLOAT),
        # The number of frames that it is shown, once for each of the batch.
        helper.make_node("MatMul", ["sums", "nothing"], ["zeros"]),
        helper.make_node("Add", ["zeros", "shown_float"], ["counted"]),
    ]
    if lengths:
        nodes += [
            helper.make_node("Cast", ["n"], ["n_float"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["n_float", "one_column"], ["divisor"]),
        ]
    nodes += [
        helper.make_node("Div", ["sums", "divisor" if lengths else "shown_float"], ["mean"]),
        helper.make_node("MatMul", ["mean", "weight"], ["projected"]),
        helper.make_node("Concat", ["projected", "counted"], ["flat" if trailing_axes else "y"], axis=1),
    ]
    if trailing_axes:
        nodes.append(helper.make_node("Unsqueeze", ["flat", "trailing"], ["y"]))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    if lengths:
        inputs.append(helper.make_tensor_value_info("n", TensorProto.INT64, [batch]))
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, DIM + 1, *[1] * trailing_axes])]
    used = {name for node in nodes for name in node.input}
    initialisers = [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used]
    graph = helper.make_graph(nodes, "small", inputs, outputs, initialisers)
    path = folder / f"{layout}-{lengths}-{frame_multiple}-{batch}-{trailing_axes}.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), str(path))
    interface = GraphInterface("x", "y", layout, "n" if lengths else None, frame_multiple)
    return NetworkSource("small", path, interface, cpu_batch=cpu_batch)


def recordings(*frames: int, wave: bool = False) -> list[NDArray[np.float32]]:
    """Recordings of so many frames, each of its own content."""
    made = []
    for seed, count in enumerate(frames):
        shape: Any = (count,) if wave else (count, BANDS)
        made.append(np.random.default_rng(seed).uniform(-2, 2, shape).astype(np.float32))
    return made
