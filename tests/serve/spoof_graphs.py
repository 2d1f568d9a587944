"""Countermeasures of a handful of nodes: the mean of a recording's absolute samples stands for how genuine it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

Shape = Sequence[int | str]


def loudness_graph(
    path: Path,
    shape: Shape = ("batch", "samples"),
    *,
    outputs: int = 1,
    metadata: dict[str, str] | None = None,
    kind: int = TensorProto.FLOAT,
    keep_axis: bool = False,
) -> Path:
    """Write a graph that gives the mean of the absolute values of its input, over the last axis."""
    given = helper.make_tensor_value_info("sound", kind, list(shape))
    names = [f"score {number}" for number in range(outputs)]
    found = [helper.make_tensor_value_info(name, kind, None) for name in names]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [len(shape) - 1])
    nodes = [helper.make_node("Abs", ["sound"], ["loud"])] + [
        helper.make_node("ReduceMean", ["loud", "axes"], [name], keepdims=int(keep_axis)) for name in names
    ]
    graph = helper.make_graph(nodes, "loudness", [given], found, [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, str(path))
    return path
