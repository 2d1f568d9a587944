"""From a PyTorch module to an ONNX graph that is the same bytes every time."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from vecsv.errors import ModelError

if TYPE_CHECKING:
    import onnx

# ONNX Runtime 1.20 reads graphs of these versions, and the newer ones have nothing that speaker networks need.
_OPSET: Final = 18
_IR_VERSION: Final = 10


def onnx_graph(
    module: nn.Module,
    example: torch.Tensor,
    *,
    input_name: str,
    output_name: str,
    dynamic: Mapping[int, str],
) -> bytes:
    """Write a module as a serialised ONNX model.

    Parameters
    ----------
    module : nn.Module
        Takes one tensor and gives one; it is exported as it computes in evaluation mode.
    example : Tensor
        An input to follow the computation with; no dynamic axis of it should be of length 1.
    input_name, output_name : str
        What the graph's input and output are called.
    dynamic : mapping of int to str
        Axes of the input whose length may be any, with their names; the first axis is always the batch.

    Returns
    -------
    bytes
        The model, weights included. The same module gives the same bytes, wherever it is written.

    Raises
    ------
    ModelError
        When the exporter's package is missing, or the module cannot be written as a graph.

    Examples
    --------
    >>> graph = onnx_graph(
    ...     nn.Linear(4, 2), torch.zeros(2, 4), input_name="features", output_name="embedding", dynamic={0: "batch"}
    ... )
    >>> import onnxruntime
    >>> onnxruntime.InferenceSession(graph).get_inputs()[0].shape
    ['batch', 4]
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ModelError(
            "writing a network as ONNX needs onnxscript, which is not installed", hint="pip install 'vecsv[torch]'"
        ) from error
    was_training = module.training
    try:
        module.eval()
        model = _exported(module, example, input_name, output_name, dynamic)
    finally:
        module.train(was_training)
    _strip(model)
    _name_axes(model, dynamic)
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"the network cannot be written as ONNX: {str(error).splitlines()[0]}") from error
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _exported(
    module: nn.Module, example: torch.Tensor, input_name: str, output_name: str, dynamic: Mapping[int, str]
) -> onnx.ModelProto:
    shapes = dict.fromkeys(dynamic, torch.export.Dim.DYNAMIC)
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                dynamic_shapes=(shapes,),
                input_names=[input_name],
                output_names=[output_name],
                opset_version=_OPSET,
                external_data=False,
                optimize=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ModelError(f"the network cannot be written as ONNX: {str(error).splitlines()[0]}") from error
    if program is None:  # pragma: no cover - only the older exporter gives nothing back
        raise ModelError("the network cannot be written as ONNX")
    return program.model_proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter has to say about itself and absent packages from the user."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _strip(model: Any) -> None:
    """Take out what the exporter notes for people: stack traces, paths, types of its own."""
    model.ir_version = min(model.ir_version, _IR_VERSION)
    model.producer_name, model.producer_version = "vecsv", ""
    model.doc_string = ""
    del model.metadata_props[:]
    graph = model.graph
    graph.name, graph.doc_string = "network", ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]


def _name_axes(model: Any, dynamic: Mapping[int, str]) -> None:
    """Call the input's free axes what the caller does, and the output's where they are the same."""
    found: dict[str, str] = {}
    for axis, name in dynamic.items():
        dimension = model.graph.input[0].type.tensor_type.shape.dim[axis]
        found[dimension.dim_param] = name
        dimension.dim_param = name
    for dimension in model.graph.output[0].type.tensor_type.shape.dim:
        if dimension.dim_param:
            dimension.dim_param = found.get(dimension.dim_param, dimension.dim_param)
