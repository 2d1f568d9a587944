"""From a model in float32 to one in int8: a graph of a quarter of the size, and a model of its own.

Two ways, both by ``onnxruntime.quantization``:

- ``static``: convolutions and matrix products take and give 8-bit numbers, in ranges that activations had on the user's
  own recordings (QuantizeLinear and DequantizeLinear around each). For networks of convolutions.
- ``dynamic``: weights are 8-bit numbers, an activation's range is that of the very call. For recurrent networks and
  transformers. What shares a call shares the range, so recordings run one at a time.

The layer that takes the front end's numbers stays as it is: those of GE2E, powers without a logarithm, are mostly so
small beside the largest that 8 bits make them one, and the embeddings would be another model's.

Weights take 7 of their 8 bits: with 8, processors without VNNI add two products into 16 bits that do not hold them, and
a model would not be the same one on every machine.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.engines.graph_calls import Feeds, feeds
from vecsv.engines.protocol import GraphInterface
from vecsv.errors import ModelError, UsageError
from vecsv.models.bundle import ONNX_FILE, Bundle
from vecsv.models.conversion import Conversion
from vecsv.models.graph_interface import choose_interface
from vecsv.models.graphs import Graph, parse_graph, read_graph
from vecsv.models.int8 import PRECISION, is_int8
from vecsv.models.onnx_model import FAMILY, RunRules, try_graph
from vecsv.models.presets import InterfaceHints

METHODS: Final = ("auto", "static", "dynamic")
RANGES: Final = ("minmax", "percentile")

# One scale for each channel; signed, which is what the quantiser takes by itself.
_WEIGHTS: Final[Mapping[str, bool]] = {"per_channel": True, "reduce_range": True}
# What speaker networks keep their weights in.
_STATIC: Final = ("Conv", "Gemm", "MatMul")
_DYNAMIC: Final = ("Gemm", "LSTM", "MatMul")
_LAYOUT: Final = frozenset({"Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_RECURRENT: Final = frozenset({"GRU", "LSTM", "RNN"})
# A range is known long before this, and every activation of a recording is in memory at once.
_SECONDS_OF_A_RECORDING: Final = 6
# For percentiles, those of all recordings are, and the quantiser wants recordings of one length.
_PERCENTILE: Final = 99.99
_PERCENTILE_SECONDS: Final = 2
_PERCENTILE_RECORDINGS: Final = 8
_FRAMES_PER_SECOND: Final = 100
_SAMPLES_PER_SECOND: Final = 16000


@dataclass(frozen=True)
class QuantizeSettings:
    """How to quantise.

    Attributes
    ----------
    method : str
        One of `METHODS`; ``"auto"`` is static where convolutions hold most of the weights and nothing is recurrent.
    ranges : str
        One of `RANGES`: a range from the smallest to the largest activation, or one that leaves out 0.01%.
    """

    method: str = "auto"
    ranges: str = "minmax"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"there is no method {self.method!r}", hint=f"methods: {', '.join(METHODS)}")
        if self.ranges not in RANGES:
            raise UsageError(f"there are no ranges {self.ranges!r}", hint=f"ranges: {', '.join(RANGES)}")


@dataclass(frozen=True)
class Quantized:
    """A model in int8, before it is written.

    Attributes
    ----------
    conversion : Conversion
    method : str
        ``"static"`` or ``"dynamic"``.
    recordings : int
        How many gave the ranges; 0 where none were needed.
    """

    conversion: Conversion
    method: str
    recordings: int


def quantize_bundle(
    folder: Path, bundle: Bundle, inputs: Sequence[NDArray[np.float32]], settings: QuantizeSettings | None = None
) -> Quantized:
    """Quantise a model.

    Parameters
    ----------
    folder : Path
        The bundle, with a ``model.onnx``.
    bundle : Bundle
        What it says of itself.
    inputs : sequence of ndarray
        What the model's `prepare` made of some recordings: the activations' ranges are taken from these.
    settings : QuantizeSettings, optional

    Raises
    ------
    ModelError
        When the model has no graph, is in int8 already, or has nothing that can be quantised.

    Returns
    -------
    Quantized
        Of the family ``ge2e`` where the parent is, else ``onnx``, which needs no PyTorch whatever the parent is.
    """
    settings = settings or QuantizeSettings()
    if is_int8(bundle.network):
        raise ModelError("is in int8 already", where=bundle.name)
    if ONNX_FILE not in bundle.sha256:
        raise ModelError("has no model.onnx, and only that can be quantised", where=bundle.name)
    graph = read_graph(folder / ONNX_FILE)
    method = settings.method if settings.method != "auto" else _method(graph)
    interface = _interface(bundle, graph)
    used = list(_for_ranges(inputs, interface.layout, settings.ranges)) if method == "static" else []
    if method == "static" and not used:
        raise ModelError("there is no recording to take ranges from", where=bundle.name)
    data = quantize_graph(graph.data, [feeds([one], interface) for one in used], method, settings.ranges)
    made = parse_graph(data, where=f"{bundle.name} in int8")
    if not any(values.dtype == np.int8 and values.size > 1 for values in made.tensors.values()):
        raise ModelError(f"nothing in it can be quantised by the {method} method", where=bundle.name)
    return Quantized(_conversion(bundle, interface, made, method), method, len(used))


def quantize_graph(data: bytes, samples: Sequence[Feeds], method: str, ranges: str = "minmax") -> bytes:
    """Quantise a graph.

    Parameters
    ----------
    data : bytes
        A serialised ONNX model.
    samples : sequence of dict
        Inputs by name; only for ``"static"``.
    method : str
        ``"static"`` or ``"dynamic"``.
    ranges : str
        One of `RANGES`.

    Returns
    -------
    bytes
        A serialised ONNX model with the same inputs and outputs.
    """
    from onnxruntime import quantization

    with tempfile.TemporaryDirectory(prefix="vecsv-") as scratch:
        source, target = Path(scratch) / "float.onnx", Path(scratch) / "int8.onnx"
        try:
            first = _write_simplified(data, source)
            # It prints what it is about.
            with contextlib.redirect_stdout(io.StringIO()):
                if method == "dynamic":
                    quantization.quantize_dynamic(
                        source, target, op_types_to_quantize=list(_DYNAMIC), nodes_to_exclude=first, **_WEIGHTS
                    )
                else:
                    percentile = ranges == "percentile"
                    methods = quantization.CalibrationMethod
                    quantization.quantize_static(
                        source,
                        target,
                        _reader(samples),
                        quant_format=quantization.QuantFormat.QDQ,
                        op_types_to_quantize=list(_STATIC),
                        nodes_to_exclude=first,
                        activation_type=quantization.QuantType.QUInt8,
                        calibrate_method=methods.Percentile if percentile else methods.MinMax,
                        extra_options={"CalibPercentile": _PERCENTILE} if percentile else {},
                        **_WEIGHTS,
                    )
            return _without_remarks(target.read_bytes())
        # The quantiser raises whatever Python and ONNX Runtime do.
        except Exception as error:
            what = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise ModelError(f"ONNX Runtime's quantiser cannot do it: {what}", hint="try the other --method") from error


def _method(graph: Graph) -> str:
    """Static where convolutions hold most of the weights and nothing is recurrent."""
    import onnx

    if graph.operators & _RECURRENT:
        return "dynamic"
    model = onnx.load_model_from_string(graph.data)
    convolved = {name for node in model.graph.node if node.op_type == "Conv" for name in node.input}
    sizes = {one.name: int(np.prod(one.dims)) for one in model.graph.initializer}
    in_convolutions = sum(size for name, size in sizes.items() if name in convolved)
    return "static" if 2 * in_convolutions >= sum(sizes.values()) else "dynamic"


def _interface(bundle: Bundle, graph: Graph) -> GraphInterface:
    if bundle.family == FAMILY:
        return RunRules.from_json(bundle.network).interface
    if bundle.windowing is not None:
        # A window is of one length, which the graph may say.
        return GraphInterface(graph.inputs[0].name, graph.outputs[0].name)
    return choose_interface(graph, InterfaceHints(), bundle.frontend)


def _for_ranges(inputs: Sequence[NDArray[np.float32]], layout: str, ranges: str) -> Iterator[NDArray[np.float32]]:
    """The middle of each recording; of a few recordings, brought to one length, where percentiles are asked for."""
    rate = _SAMPLES_PER_SECOND if layout == "wave" else _FRAMES_PER_SECOND
    percentile = ranges == "percentile"
    longest = rate * (_PERCENTILE_SECONDS if percentile else _SECONDS_OF_A_RECORDING)
    few = inputs[:: max(1, len(inputs) // _PERCENTILE_RECORDINGS)][:_PERCENTILE_RECORDINGS] if percentile else inputs
    for one in few:
        start = max(0, (one.shape[0] - longest) // 2)
        cut = one[start : start + longest]
        yield np.resize(cut, (longest, *cut.shape[1:])) if percentile else cut


def _conversion(bundle: Bundle, interface: GraphInterface, made: Graph, method: str) -> Conversion:
    notes = (f"int8 ({method}) of {bundle.name}, fingerprint {bundle.fingerprint[:12]}",)
    parent = bundle.fingerprint
    if bundle.windowing is not None:
        family = bundle.family
        network: Mapping[str, Any] = {"precision": PRECISION, "parent": parent, "structure": made.structure}
    else:
        family = FAMILY
        network = _rules(bundle, interface, made, one_at_a_time=method == "dynamic").to_json()
    return Conversion(
        family=family,
        dim=bundle.dim,
        frontend=bundle.frontend,
        tensors=made.tensors,
        network=network,
        graph=made.data,
        windowing=bundle.windowing,
        pooling=bundle.pooling,
        notes=notes,
    )


def _rules(bundle: Bundle, interface: GraphInterface, made: Graph, *, one_at_a_time: bool) -> RunRules:
    """The rules of the quantised graph; those of the parent, but for what int8 changes."""
    with tempfile.TemporaryDirectory(prefix="vecsv-") as scratch:
        path = Path(scratch) / ONNX_FILE
        path.write_bytes(made.data)
        declared = RunRules.from_json(bundle.network) if bundle.family == FAMILY else None
        least = None if declared is None else declared.min_frames
        found = try_graph(made, path, interface, bundle.frontend, min_frames=least, where=f"{bundle.name} in int8")
    if found.dim != bundle.dim:
        raise ModelError(f"gives {found.dim} dimensions in int8 instead of {bundle.dim}", where=bundle.name)
    batched = found.batched and not one_at_a_time and (declared is None or declared.batched)
    rules = RunRules(interface, made.structure, found.min_frames, batched, PRECISION, bundle.fingerprint)
    return replace(rules, min_frames=found.min_frames)


def _reader(samples: Sequence[Feeds]) -> Any:
    """The samples as the quantiser asks for them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(samples)

        def get_next(self) -> Feeds | None:
            return next(self._left, None)

    return Reader()


def _write_simplified(data: bytes, path: Path) -> list[str]:
    """Write a graph with constants folded and normalisations merged into convolutions, as quantising wants it.

    Returns
    -------
    list of str
        Names of the nodes that compute with the graph's inputs themselves.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    model = onnx.load(path)
    for number, node in enumerate(model.graph.node):
        node.name = f"node/{number}"
    # The quantiser's mark of a graph that was prepared; without it, it tells people to.
    model.metadata_props.append(onnx.StringStringEntryProto(key="onnx.quant.pre_process", value="onnxruntime.quant"))
    onnx.save(model, path)
    return _first_layer(model.graph)


def _first_layer(graph: Any) -> list[str]:
    """Nodes that an input reaches through nothing but changes of its layout."""
    reached = {value.name for value in graph.input}
    found = []
    for node in graph.node:
        if not node.input or node.input[0] not in reached:
            continue
        if node.op_type in _LAYOUT:
            reached.update(node.output)
        else:
            found.append(node.name)
    return found


def _without_remarks(data: bytes) -> bytes:
    import onnx

    model = onnx.load_model_from_string(data)
    del model.metadata_props[:]
    del model.graph.value_info[:]
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised
