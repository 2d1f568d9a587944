"""What an ONNX graph is made of: its inputs and outputs, its numbers, and how its operators are wired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.errors import ModelError

_STORABLE: Final = frozenset(
    {"float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"}
)


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes
    ----------
    name : str
    kind : str
        Element type: ``"float"``, ``"int64"``, ...
    shape : tuple
        A number for an axis of fixed length, None for one that is not; the whole is None where the file does not say.
    """

    name: str
    kind: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        axes = "?" if self.shape is None else ", ".join("?" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name} {self.kind} ({axes})"


def port_of(value: Any) -> Port:
    """Read what a graph says of an input or output."""
    import onnx

    which = value.type.WhichOneof("value")
    if which != "tensor_type":
        return Port(value.name, (which or "nothing").removesuffix("_type"), None)
    tensor = value.type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    if not tensor.HasField("shape"):
        return Port(value.name, kind, None)
    axes = (axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim)
    # Some exporters write 0 for an axis of any length.
    return Port(value.name, kind, tuple(axis if axis is not None and axis > 0 else None for axis in axes))


class Describer:
    """Takes a graph apart into its numbers and, as JSON values, its structure.

    Attributes
    ----------
    tensors : dict of str to ndarray
        The numbers, see `vecsv.models.graphs.Graph`.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, NDArray[Any]] = {}
        self._values = 0
        self._attributes = 0

    def graph(self, graph: Any, outer: Mapping[str, str], prefix: str = "") -> dict[str, Any]:
        """Describe a graph; `outer` says what the names of the graphs around it stand for."""
        names = dict(outer)
        names.update({value.name: f"input/{prefix}{value.name}" for value in graph.input})
        initialisers = []
        for tensor in sorted(graph.initializer, key=lambda one: one.name):
            names[tensor.name] = f"initialiser/{prefix}{tensor.name}"
            initialisers.append(self._tensor(names[tensor.name], tensor))
        nodes = []
        for node in graph.node:
            taken = [names.get(name, name) for name in node.input]
            for name in node.output:
                if name:
                    names[name] = f"value/{self._values}"
                    self._values += 1
            nodes.append(
                {
                    "operator": [node.domain if node.domain != "ai.onnx" else "", node.op_type],
                    "takes": taken,
                    "gives": [names.get(name, "") for name in node.output],
                    "attributes": [
                        [one.name, *self._attribute(one, names)]
                        for one in sorted(node.attribute, key=lambda one: one.name)
                    ],
                }
            )
        return {
            "inputs": [[value.name, self._type(value)] for value in graph.input],
            "initialisers": initialisers,
            "nodes": nodes,
            "outputs": [[value.name, names.get(value.name, value.name)] for value in graph.output],
        }

    def _attribute(self, attribute: Any, names: Mapping[str, str]) -> tuple[str, Any]:
        import onnx

        kinds = onnx.AttributeProto
        match attribute.type:
            case kinds.FLOAT:
                return "float", float(attribute.f).hex()
            case kinds.FLOATS:
                return "floats", [float(value).hex() for value in attribute.floats]
            case kinds.INT:
                return "int", attribute.i
            case kinds.INTS:
                return "ints", list(attribute.ints)
            case kinds.STRING:
                return "text", attribute.s.hex()
            case kinds.STRINGS:
                return "texts", [value.hex() for value in attribute.strings]
            case kinds.TENSOR:
                return "tensor", self._numbered(attribute.t)
            case kinds.TENSORS:
                return "tensors", [self._numbered(one) for one in attribute.tensors]
            case kinds.GRAPH:
                return "graph", self._within(attribute.g, names)
            case kinds.GRAPHS:
                return "graphs", [self._within(one, names) for one in attribute.graphs]
        raise ModelError(f"has an attribute {attribute.name} of a kind that this version of vecsv does not read")

    def _within(self, graph: Any, names: Mapping[str, str]) -> dict[str, Any]:
        self._values += 1
        return self.graph(graph, names, prefix=f"{self._values}/")

    def _numbered(self, tensor: Any) -> list[Any]:
        self._attributes += 1
        return self._tensor(f"attribute/{self._attributes - 1}", tensor)

    def _tensor(self, key: str, tensor: Any) -> list[Any]:
        """Keep a tensor's numbers; what stays of it is its name, type and shape."""
        import onnx

        try:
            values: NDArray[Any] = onnx.numpy_helper.to_array(tensor)
        except Exception as error:
            raise ModelError(f"{tensor.name or key} is damaged: {first_line(error)}") from error
        if values.dtype.kind not in "fiub" or values.dtype.name not in _STORABLE:
            raise ModelError(f"{tensor.name or key} is of the type {values.dtype.name}, which cannot be kept")
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise ModelError(f"{tensor.name or key} holds values that are no numbers")
        # Tensors of no axes do not come back as such from the bundle's file; their shape is in the structure.
        self.tensors[key] = np.atleast_1d(values)
        return [key, values.dtype.name, list(values.shape)]

    def _type(self, value: Any) -> list[Any]:
        port = port_of(value)
        return [port.kind, None if port.shape is None else list(port.shape)]


def first_line(error: Exception) -> str:
    """What an error of ONNX says, as far as one line goes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:200]
