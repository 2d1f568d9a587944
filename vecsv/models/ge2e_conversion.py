"""From the published GE2E checkpoint to a bundle's content.

The ONNX operator LSTM is described in ONNX's ``docs/Operators.md``; PyTorch's layout of the same weights in
``torch.nn.LSTM``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vecsv.checkpoints import reading
from vecsv.errors import ModelError
from vecsv.models.conversion import Conversion
from vecsv.models.ge2e import DIM, FAMILY, FRONTEND, INPUT, OUTPUT, WINDOWING

_LAYERS: Final = 3
_HIDDEN: Final = 256
_GATES: Final = 4

# Old enough for the oldest ONNX Runtime that vecsv takes; the graph needs nothing newer.
_OPSET: Final = 17
_IR_VERSION: Final = 8

# Left over from training: the scale and offset of the loss. Embeddings do not depend on them.
_UNUSED: Final = frozenset({"similarity_weight", "similarity_bias"})


def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor the network needs, in PyTorch's naming."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(_LAYERS):
        inputs = FRONTEND.mels if layer == 0 else _HIDDEN
        shapes[f"lstm.weight_ih_l{layer}"] = (_GATES * _HIDDEN, inputs)
        shapes[f"lstm.weight_hh_l{layer}"] = (_GATES * _HIDDEN, _HIDDEN)
        shapes[f"lstm.bias_ih_l{layer}"] = (_GATES * _HIDDEN,)
        shapes[f"lstm.bias_hh_l{layer}"] = (_GATES * _HIDDEN,)
    return {**shapes, "linear.weight": (DIM, _HIDDEN), "linear.bias": (DIM,)}


def read_checkpoint(source: Path | bytes, *, where: str) -> dict[str, NDArray[np.float32]]:
    """Read the canonical tensors out of the published checkpoint, as data.

    Parameters
    ----------
    source : Path or bytes
        The checkpoint.
    where : str
        What to call it in errors.

    Returns
    -------
    dict of str to ndarray
        Float32 tensors, exactly those of `expected_shapes`.

    Raises
    ------
    ModelError
        When it is no checkpoint, or its tensors are not those of this network, or not finite.
    """
    tensors = reading.read_checkpoint(source, key="model_state", where=where)
    shapes = expected_shapes()
    if different := sorted((tensors.keys() - _UNUSED) ^ shapes.keys()):
        raise ModelError(f"unknown or missing tensors: {', '.join(different)}", where=where)
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != np.float32:
            raise ModelError(f"{name} is {tensor.dtype} {tensor.shape}, expected float32 {shape}", where=where)
        if not np.isfinite(tensor).all():
            raise ModelError(f"{name} holds values that are not finite", where=where)
    return {name: tensors[name] for name in shapes}


def convert(source: Path | bytes, *, where: str) -> Conversion:
    """Read the published checkpoint into what a bundle holds; errors as `read_checkpoint`."""
    tensors = read_checkpoint(source, where=where)
    return Conversion(
        family=FAMILY,
        dim=DIM,
        frontend=FRONTEND,
        tensors=tensors,
        network={},
        graph=onnx_network(tensors),
        windowing=WINDOWING,
    )


def onnx_network(tensors: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Build the network as a serialised ONNX model.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        The canonical tensors.

    Returns
    -------
    bytes
        A model that takes float32 ``(windows, 160, 40)`` and gives float32 ``(windows, 256)``: the last
        hidden state of the third layer, through the linear layer and ReLU, not scaled to unit length.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    initialisers = [numpy_helper.from_array(np.array([1], dtype=np.int64), "direction_axis")]
    # ONNX's LSTM takes time first.
    nodes = [helper.make_node("Transpose", [INPUT], ["sequence_0"], perm=[1, 0, 2])]
    for layer in range(_LAYERS):
        weights = {
            f"input_weights_{layer}": _onnx_gates(tensors[f"lstm.weight_ih_l{layer}"])[np.newaxis],
            f"hidden_weights_{layer}": _onnx_gates(tensors[f"lstm.weight_hh_l{layer}"])[np.newaxis],
            f"biases_{layer}": np.concatenate(
                [_onnx_gates(tensors[f"lstm.bias_{side}_l{layer}"]) for side in ("ih", "hh")]
            )[np.newaxis],
        }
        initialisers += [numpy_helper.from_array(values, name) for name, values in weights.items()]
        last = layer == _LAYERS - 1
        outputs = ["", "last_hidden"] if last else [f"directions_{layer}"]
        nodes.append(helper.make_node("LSTM", [f"sequence_{layer}", *weights], outputs, hidden_size=_HIDDEN))
        if not last:
            squeezed = [f"directions_{layer}", "direction_axis"], [f"sequence_{layer + 1}"]
            nodes.append(helper.make_node("Squeeze", *squeezed))
    initialisers += [
        numpy_helper.from_array(np.array([0], dtype=np.int64), "layer_axis"),
        numpy_helper.from_array(np.ascontiguousarray(tensors["linear.weight"]), "linear_weight"),
        numpy_helper.from_array(np.ascontiguousarray(tensors["linear.bias"]), "linear_bias"),
    ]
    nodes += [
        helper.make_node("Squeeze", ["last_hidden", "layer_axis"], ["state"]),
        helper.make_node("Gemm", ["state", "linear_weight", "linear_bias"], ["projected"], transB=1),
        helper.make_node("Relu", ["projected"], [OUTPUT]),
    ]
    graph = helper.make_graph(
        nodes,
        "ge2e",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["windows", WINDOWING.frames, FRONTEND.mels])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["windows", DIM])],
        initialisers,
    )
    model = helper.make_model(
        graph, producer_name="vecsv", opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
    )
    checker.check_model(model, full_check=True)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _onnx_gates(stacked: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reorder stacked gates from PyTorch's input, forget, cell, output to ONNX's input, output, forget, cell."""
    input_gate, forget_gate, cell_gate, output_gate = np.split(stacked, _GATES)
    return np.concatenate([input_gate, output_gate, forget_gate, cell_gate])
