"""Small speaker networks as ONNX graphs, in every layout, and what NumPy makes of the same weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from vecsv.health.signals import uniform

Array = NDArray[np.float32]

HIDDEN = 24
KERNEL, STRIDE = 400, 160
OPSET = 17


@dataclass(frozen=True)
class Exported:
    """A graph to be made.

    `layout` and the names are those of its interface; `batch` and `time` fix an axis; `masked` says whether a graph
    with lengths looks at them; `logits` adds a classifier's output; `convolution` makes the hidden layer look at 5
    frames.
    """

    layout: str = "time-features"
    bands: int = 80
    dim: int = 16
    input: str = "feats"
    output: str = "embs"
    lengths: str | None = None
    masked: bool = True
    logits: bool = False
    batch: int | str = "batch"
    time: int | str = "frames"
    convolution: bool = False
    seed: int = 0

    def weights(self) -> dict[str, Array]:
        """The same numbers on every machine."""
        wide = KERNEL if self.layout == "wave" else self.bands
        shapes: dict[str, tuple[int, ...]] = {"hidden.weight": (wide, HIDDEN), "hidden.bias": (HIDDEN,)}
        if self.convolution:
            shapes["hidden.weight"] = (HIDDEN, wide, 5)
        shapes |= {"out.weight": (2 * HIDDEN, self.dim), "out.bias": (self.dim,)}
        made = {}
        for number, (name, shape) in enumerate(shapes.items()):
            fan_in = {1: 1, 2: shape[0]}.get(len(shape), int(np.prod(shape[1:])))
            bound = fan_in**-0.5
            made[name] = uniform(shape, self.seed * 100 + number, -bound, bound).astype(np.float32)
        return made

    def embeddings(self, inputs: Sequence[Array]) -> Array:
        """What the network gives for each input alone: ``(frames, bands)`` or ``(samples,)``."""
        return np.concatenate([self._embedding(one.astype(np.float64))[np.newaxis] for one in inputs]).astype(
            np.float32
        )

    def _embedding(self, signal: NDArray[np.float64]) -> NDArray[np.float64]:
        weights = {name: values.astype(np.float64) for name, values in self.weights().items()}
        frames = sliding_window_view(signal, KERNEL)[::STRIDE] if self.layout == "wave" else signal
        if self.convolution:
            windows = sliding_window_view(frames, 5, axis=0)
            hidden = np.einsum("tfk,hfk->th", windows, weights["hidden.weight"]) + weights["hidden.bias"]
        else:
            hidden = frames @ weights["hidden.weight"] + weights["hidden.bias"]
        hidden = np.maximum(hidden, 0.0)
        mean = hidden.mean(axis=0)
        pooled = np.concatenate([mean, (hidden**2).mean(axis=0)])
        embedding: NDArray[np.float64] = pooled @ weights["out.weight"] + weights["out.bias"]
        return embedding

    def model(self, metadata: Mapping[str, object] | None = None) -> ModelProto:
        """The graph."""
        weights = self.weights()
        shapes = {
            "wave": [self.batch, self.time],
            "time-features": [self.batch, self.time, self.bands],
            "features-time": [self.batch, self.bands, self.time],
            "image-features-time": [self.batch, 1, self.bands, self.time],
        }
        constants = {name: numpy_helper.from_array(values, name) for name, values in weights.items()}
        nodes = [*self._frames(constants), *self._hidden(constants), *self._pooled(constants)]
        nodes.append(helper.make_node("Gemm", ["pooled", "out.weight", "out.bias"], [self.output]))
        outputs = [helper.make_tensor_value_info(self.output, TensorProto.FLOAT, [self.batch, self.dim])]
        if self.logits:
            rows = uniform((self.dim, 7), 9).astype(np.float32)
            constants["classes"] = numpy_helper.from_array(rows, "classes")
            nodes.append(helper.make_node("MatMul", [self.output, "classes"], ["logits"]))
            outputs.insert(0, helper.make_tensor_value_info("logits", TensorProto.FLOAT, [self.batch, 7]))
        inputs = [helper.make_tensor_value_info(self.input, TensorProto.FLOAT, shapes[self.layout])]
        if self.lengths is not None:
            inputs.append(helper.make_tensor_value_info(self.lengths, TensorProto.INT64, [self.batch]))
        graph = helper.make_graph(nodes, "network", inputs, outputs, list(constants.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        if metadata is not None:
            helper.set_model_props(model, {key: str(value) for key, value in metadata.items()})
        checker.check_model(model)
        return model

    def write(self, path: Path, metadata: Mapping[str, object] | None = None) -> Path:
        """The graph as a file."""
        path.write_bytes(self.model(metadata).SerializeToString())
        return path

    def but(self, **changes: Any) -> Exported:
        """Another one, different in some respects."""
        return replace(self, **changes)

    def _frames(self, constants: dict[str, TensorProto]) -> list[Any]:
        """From the input to ``frames``, (batch, time, bands)."""
        if self.layout == "time-features":
            return [helper.make_node("Identity", [self.input], ["frames"])]
        if self.layout == "features-time":
            return [helper.make_node("Transpose", [self.input], ["frames"], perm=[0, 2, 1])]
        constants["axis_one"] = numpy_helper.from_array(np.array([1], np.int64), "axis_one")
        if self.layout == "image-features-time":
            squeeze = helper.make_node("Squeeze", [self.input, "axis_one"], ["image"])
            return [squeeze, helper.make_node("Transpose", ["image"], ["frames"], perm=[0, 2, 1])]
        cut = np.eye(KERNEL, dtype=np.float32)[:, np.newaxis]
        constants["cut"] = numpy_helper.from_array(cut, "cut")
        return [
            helper.make_node("Unsqueeze", [self.input, "axis_one"], ["channel"]),
            helper.make_node("Conv", ["channel", "cut"], ["windows"], strides=[STRIDE]),
            helper.make_node("Transpose", ["windows"], ["frames"], perm=[0, 2, 1]),
        ]

    def _hidden(self, constants: dict[str, TensorProto]) -> list[Any]:
        """From ``frames`` to ``hidden``, (batch, time, HIDDEN)."""
        if self.convolution:
            return [
                helper.make_node("Transpose", ["frames"], ["bands_first"], perm=[0, 2, 1]),
                helper.make_node("Conv", ["bands_first", "hidden.weight", "hidden.bias"], ["convolved"]),
                helper.make_node("Relu", ["convolved"], ["active"]),
                helper.make_node("Transpose", ["active"], ["hidden"], perm=[0, 2, 1]),
            ]
        return [
            helper.make_node("MatMul", ["frames", "hidden.weight"], ["multiplied"]),
            helper.make_node("Add", ["multiplied", "hidden.bias"], ["added"]),
            helper.make_node("Relu", ["added"], ["hidden"]),
        ]

    def _pooled(self, constants: dict[str, TensorProto]) -> list[Any]:
        """From ``hidden`` to ``pooled``, (batch, 2 * HIDDEN): the means of values and of their squares."""
        square = helper.make_node("Mul", ["hidden", "hidden"], ["squares"])
        join = helper.make_node("Concat", ["mean", "power"], ["pooled"], axis=1)
        if self.lengths is None or not self.masked:
            means = [
                helper.make_node("ReduceMean", [one], [mean], axes=[1], keepdims=0)
                for one, mean in (("hidden", "mean"), ("squares", "power"))
            ]
            # An input that nothing looks at is an input all the same.
            return [square, *means, join]
        constants |= {
            "zero": numpy_helper.from_array(np.array(0, np.int64), "zero"),
            "one": numpy_helper.from_array(np.array(1, np.int64), "one"),
            "last_axis": numpy_helper.from_array(np.array([1], np.int64), "last_axis"),
            "third_axis": numpy_helper.from_array(np.array([2], np.int64), "third_axis"),
        }
        nodes = [
            square,
            helper.make_node("Shape", ["hidden"], ["shape"]),
            helper.make_node("Gather", ["shape", "one"], ["time"]),
            helper.make_node("Range", ["zero", "time", "one"], ["positions"]),
            helper.make_node("Unsqueeze", [str(self.lengths), "last_axis"], ["counts"]),
            helper.make_node("Less", ["positions", "counts"], ["inside"]),
            helper.make_node("Cast", ["inside"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["numbers", "third_axis"], ["mask"]),
            helper.make_node("Cast", ["counts"], ["divisors"], to=TensorProto.FLOAT),
        ]
        for one, mean in (("hidden", "mean"), ("squares", "power")):
            nodes += [
                helper.make_node("Mul", [one, "mask"], [f"{one}_kept"]),
                helper.make_node("ReduceSum", [f"{one}_kept", "last_axis"], [f"{one}_sum"], keepdims=0),
                helper.make_node("Div", [f"{one}_sum", "divisors"], [mean]),
            ]
        return [*nodes, join]


SHERPA_WESPEAKER = {
    "framework": "wespeaker",
    "language": "English",
    "sample_rate": 16000,
    "output_dim": 16,
    "normalize_samples": 0,
}
SHERPA_3D_SPEAKER = {
    "framework": "3d-speaker",
    "language": "Chinese",
    "sample_rate": 16000,
    "output_dim": 16,
    "normalize_samples": 1,
    "feature_normalize_type": "global-mean",
}
NEMO = {
    "framework": "nemo",
    "language": "English",
    "sample_rate": 16000,
    "output_dim": 16,
    "feature_normalize_type": "per_feature",
    "window_size_ms": 25,
    "window_stride_ms": 10,
    "window_type": "hann",
    "feat_dim": 80,
}
