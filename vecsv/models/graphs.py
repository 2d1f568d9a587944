"""ONNX graphs that somebody else exported: read as data, looked through before anything runs them.

The format is described in ONNX's ``docs/IR.md``. A graph is refused when it reaches outside its own file, asks for
operators that ONNX Runtime does not bring along, or says things about itself that cannot be true.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from vecsv.errors import ModelError
from vecsv.models.fingerprint import canonical_json
from vecsv.models.graph_structure import Describer, Port, first_line, port_of

MOST_BYTES: Final = (1 << 31) - 1
"""Protocol buffers hold no more."""
MOST_ELEMENTS: Final = 1 << 28
"""Of a tensor whose size stands in the file: a gigabyte of float32."""

_MOST_NODES: Final = 200_000
_MOST_NESTING: Final = 8
_MOST_TURNS: Final = 1_000_000
# What ONNX Runtime has built in; anything else is code that would have to be loaded.
_DOMAINS: Final = frozenset({"", "ai.onnx", "com.microsoft"})


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph that was looked through.

    Attributes
    ----------
    data : bytes
        The file.
    inputs, outputs : tuple of Port
    metadata : mapping of str to str
        What its maker wrote beside it.
    tensors : mapping of str to ndarray
        Every number in it: ``initialiser/NAME``, and ``attribute/N`` for the tensors within nodes, in order.
    structure : str
        SHA-256 over operators, attributes, wiring, inputs and outputs; neither numbers nor texts for people count, nor
        the names of values between nodes.
    operators : frozenset of str
        Names of the operators in use.
    """

    data: bytes
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]
    tensors: Mapping[str, NDArray[Any]]
    structure: str
    operators: frozenset[str]


def read_graph(path: Path) -> Graph:
    """Read an ONNX file.

    Raises
    ------
    ModelError
        When it cannot be read, is no ONNX file, or is one that vecsv does not run.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ModelError("is larger than 2 GiB, which no ONNX file in one piece can be", where=str(path))
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return parse_graph(data, where=str(path))


def parse_graph(data: bytes, *, where: str) -> Graph:
    """Read an ONNX file's content; errors as `read_graph`, which call it `where`."""
    import onnx

    try:
        model = onnx.load_model_from_string(data)
    # Protocol buffers have no public base of their errors.
    except Exception as error:
        raise ModelError("is no ONNX file, or a damaged one", where=where) from error
    try:
        return _looked_through(model, data)
    except ModelError as error:
        raise ModelError(error.what, where=where, hint=error.hint) from error


def _looked_through(model: Any, data: bytes) -> Graph:
    import onnx

    if not model.graph.node:
        raise ModelError("is no ONNX file, or one without a network")
    if model.functions:
        raise ModelError(
            "defines operators of its own (functions)", hint="export it with the functions inlined (onnx.inliner)"
        )
    used = {""}
    operators: set[str] = set()
    for count, (node, _) in enumerate(_nodes(model.graph)):
        if count >= _MOST_NODES:
            raise ModelError(f"has more than {_MOST_NODES:,} nodes")
        if node.domain not in _DOMAINS:
            raise ModelError(f"needs the operator {node.op_type} of {node.domain}, which is no part of ONNX")
        used.add("" if node.domain == "ai.onnx" else node.domain)
        operators.add(node.op_type)
    for tensor in _tensors(model.graph):
        _require_own_data(tensor)
    _require_bounded(model.graph)
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise ModelError(f"is not valid ONNX: {first_line(error)}") from error
    describer = Describer()
    graph = describer.graph(model.graph, {})
    opsets = sorted(
        ("" if one.domain == "ai.onnx" else one.domain, one.version)
        for one in model.opset_import
        if ("" if one.domain == "ai.onnx" else one.domain) in used
    )
    initialisers = {one.name for one in model.graph.initializer}
    return Graph(
        data=data,
        inputs=tuple(port_of(value) for value in model.graph.input if value.name not in initialisers),
        outputs=tuple(port_of(value) for value in model.graph.output),
        metadata={entry.key: entry.value for entry in model.metadata_props},
        tensors=describer.tensors,
        structure=hashlib.sha256(canonical_json({"opsets": opsets, "graph": graph}).encode()).hexdigest(),
        operators=frozenset(operators),
    )


def _nodes(graph: Any, depth: int = 0) -> Iterator[tuple[Any, int]]:
    """Every node, those of inner graphs as well, with how deep it lies."""
    if depth > _MOST_NESTING:
        raise ModelError(f"nests graphs more than {_MOST_NESTING} deep")
    for node in graph.node:
        yield node, depth
        for inner in _inner(node):
            yield from _nodes(inner, depth + 1)


def _inner(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _tensors(graph: Any) -> Iterator[Any]:
    """Every tensor that the file claims to hold."""
    if graph.sparse_initializer:
        raise ModelError("holds sparse tensors, which this version of vecsv does not read")
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                raise ModelError("holds sparse tensors, which this version of vecsv does not read")
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
        for inner in _inner(node):
            yield from _tensors(inner)


def _require_own_data(tensor: Any) -> None:
    import onnx

    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise ModelError(
            f"keeps {tensor.name or 'a tensor'} in another file, which is never opened",
            hint="save it in one file: onnx.save(onnx.load(FILE), NEW_FILE)",
        )
    if any(size < 0 for size in tensor.dims) or math.prod(tensor.dims) > MOST_ELEMENTS * 4:
        raise ModelError(f"{tensor.name or 'a tensor'} has the impossible shape {tuple(tensor.dims)}")


def _require_bounded(graph: Any) -> None:
    """Refuse what a few bytes in the file would blow up: sizes and numbers of turns that stand in it as constants."""
    import onnx

    constants = {one.name: one for one in graph.initializer}
    for node, _ in _nodes(graph):
        if node.op_type == "Constant":
            constants.update((node.output[0], one.t) for one in node.attribute if one.HasField("t"))
        constants.update({one.name: one for inner in _inner(node) for one in inner.initializer})
    at = {"ConstantOfShape": 0, "Expand": 1, "Reshape": 1, "Loop": 0}
    for node, _ in _nodes(graph):
        position = at.get(node.op_type)
        if position is None or len(node.input) <= position or node.input[position] not in constants:
            continue
        try:
            asked = [int(size) for size in onnx.numpy_helper.to_array(constants[node.input[position]]).ravel()[:64]]
        except (ValueError, TypeError) as error:
            raise ModelError(f"{node.input[position]} is damaged: {first_line(error)}") from error
        if node.op_type == "Loop" and asked and asked[0] > _MOST_TURNS:
            raise ModelError(f"asks for a loop of {asked[0]:,} turns")
        if node.op_type != "Loop" and math.prod(abs(size) for size in asked) > MOST_ELEMENTS:
            raise ModelError(f"asks for a tensor of {math.prod(abs(size) for size in asked):,} elements")
