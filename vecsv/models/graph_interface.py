"""How a graph that somebody else exported is called: told from its inputs and outputs, and from a preset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vecsv.engines.protocol import GraphInterface
from vecsv.errors import ModelError
from vecsv.frontend import compute
from vecsv.frontend.spec import FrontendSpec, WaveformSpec
from vecsv.models.graph_structure import Port
from vecsv.models.graphs import Graph
from vecsv.models.presets import InterfaceHints

# What exporters call the embedding, where a graph has several outputs; the others are a classifier's.
_EMBEDDINGS: Final = ("embs", "embedding", "embeddings", "emb", "xvector", "x-vector", "speaker_embedding")


def choose_interface(graph: Graph, hints: InterfaceHints, frontend: FrontendSpec) -> GraphInterface:
    """Tell how a graph is called, from its inputs and outputs and what a preset says of them.

    Raises
    ------
    ModelError
        When it cannot be told, or the graph cannot be called in any way that vecsv knows.
    """
    lengths = _lengths(graph, hints)
    signal = _signal(graph, hints, lengths)
    layout = _layout(signal, hints, bands_of(frontend))
    return GraphInterface(
        input=signal.name,
        output=_output(graph, hints),
        layout=layout,
        lengths=lengths,
        frame_multiple=hints.frame_multiple if lengths is not None else 1,
    )


def bands_of(frontend: FrontendSpec) -> int | None:
    """How many bands a front end gives; None where it gives the wave."""
    return None if isinstance(frontend, WaveformSpec) else compute.bands_of(frontend)


def _lengths(graph: Graph, hints: InterfaceHints) -> str | None:
    """The input that says how long each recording is."""
    vectors = [port for port in graph.inputs if port.kind == "int64" and (port.shape is None or len(port.shape) == 1)]
    if hints.lengths is not None:
        if hints.lengths not in {port.name for port in vectors}:
            raise ModelError(f"has no int64 input {hints.lengths} for lengths: {_listing(graph.inputs)}")
        return hints.lengths
    return vectors[0].name if len(vectors) == 1 else None


def _signal(graph: Graph, hints: InterfaceHints, lengths: str | None) -> Port:
    """The input that takes the wave or the features; no other may be left over."""
    others = [port for port in graph.inputs if port.name != lengths]
    if len(others) != 1:
        raise ModelError(f"takes more than a signal and its length: {_listing(graph.inputs)}")
    (signal,) = others
    # Preset or not: an input's name is no secret of the file, so that one of another name is another file.
    if hints.input is not None and hints.input != signal.name:
        raise ModelError(f"has no input {hints.input}: {_listing(graph.inputs)}", hint="is it another preset's?")
    if signal.kind != "float":
        raise ModelError(f"takes {signal}, but only float inputs are fed", hint="export it in float32")
    return signal


def _layout(signal: Port, hints: InterfaceHints, bands: int | None) -> str:
    """The layout of the signal."""
    shape = signal.shape
    if shape is None:
        if hints.layout is None:
            raise ModelError(f"does not say what shape {signal.name} has", hint="say interface.layout in a preset")
        return hints.layout
    if bands is None:
        fitting = ["wave"] if len(shape) == 2 else []
        time = {"wave": 1}
    else:
        by_rank = {3: {"time-features": 1, "features-time": 2}, 4: {"image-features-time": 3}}
        time = by_rank.get(len(shape), {})
        band_axes = {"time-features": 2, "features-time": 1, "image-features-time": 2}
        fitting = [one for one in time if shape[band_axes[one]] in {None, bands}]
        exact = [one for one in fitting if shape[band_axes[one]] == bands]
        fitting = exact if exact and hints.layout is None else fitting
        if len(shape) == 4 and shape[1] not in {None, 1}:
            fitting = []
    wanted = "the wave" if bands is None else f"features of {bands} bands"
    if hints.layout is not None:
        fitting = [one for one in fitting if one == hints.layout]
    if not fitting:
        raise ModelError(
            f"takes {signal}, which is not {wanted}" + (f" as {hints.layout}" if hints.layout is not None else ""),
            hint="is it another preset's?",
        )
    if len(fitting) > 1:
        raise ModelError(
            f"takes {signal}: {' and '.join(fitting)} both fit", hint="say interface.layout in a preset of your own"
        )
    layout = fitting[0]
    if shape[0] not in {None, 1}:
        raise ModelError(f"takes {shape[0]} recordings at once, no more and no fewer", hint="export a dynamic batch")
    if shape[time[layout]] is not None:
        raise ModelError(
            f"takes recordings of one length only ({shape[time[layout]]})", hint="export it with a dynamic time axis"
        )
    return layout


def _output(graph: Graph, hints: InterfaceHints) -> str:
    """The output that is the embedding."""
    floats = [port for port in graph.outputs if port.kind == "float"]
    if hints.output is not None:
        if hints.output not in {port.name for port in floats}:
            raise ModelError(f"has no float output {hints.output}: {_listing(graph.outputs)}")
        return hints.output
    if len(floats) == 1:
        return floats[0].name
    named = [port for port in floats if port.name.lower() in _EMBEDDINGS]
    flat = [port for port in floats if port.shape is not None and len(port.shape) == 2]
    for candidates in (named, flat):
        if len(candidates) == 1:
            return candidates[0].name
    raise ModelError(
        f"which output is the embedding cannot be told: {_listing(graph.outputs)}",
        hint="say interface.output in a preset of your own",
    )


def _listing(ports: Sequence[Port]) -> str:
    return "; ".join(map(str, ports[:8])) or "none"
