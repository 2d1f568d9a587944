"""Any exported speaker model: an ONNX graph that takes the wave or features, with the front end it was trained with.

What a graph was trained to see, the graph does not say. It comes from a preset (`vecsv.models.presets`), from a
preset's file beside the graph, or from metadata that name the toolkit; never from a guess. sherpa-onnx's metadata name
the toolkit, but what its own runtime then computes is not what the models were trained with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.engines.protocol import EngineSettings, GraphInterface, Network, NetworkSource
from vecsv.errors import ModelError
from vecsv.frontend.spec import FrontendSpec
from vecsv.models.bundle import ONNX_FILE, Bundle, read_bundle
from vecsv.models.conversion import Conversion
from vecsv.models.encoder import Encoder
from vecsv.models.graph_interface import bands_of, choose_interface
from vecsv.models.graphs import Graph, read_graph
from vecsv.models.int8 import PRECISION, open_int8
from vecsv.models.presets import SAMPLE_RATE, Preset, known_presets, preset_for, read_preset
from vecsv.models.probing import Findings, Question, probe

FAMILY: Final = "onnx"


@dataclass(frozen=True)
class RunRules:
    """How an ``onnx`` bundle's graph is run; its ``network`` in ``bundle.json``, and part of its fingerprint.

    Attributes
    ----------
    interface : GraphInterface
    structure : str
        See `vecsv.models.graphs.Graph`.
    min_frames : int
        Fewest frames (samples, where the wave is taken) that the graph can use.
    batched : bool
        Whether recordings may share a batch; otherwise they run one at a time.
    precision : str
        ``"fp32"`` or ``"int8"``.
    parent : str or None
        Fingerprint of the model that an int8 one was made of.
    """

    interface: GraphInterface
    structure: str
    min_frames: int
    batched: bool
    precision: str = "fp32"
    parent: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the rules as JSON values."""
        return {**vars(self), "interface": self.interface.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunRules:
        """Read what `to_json` wrote; a ModelError when it is none."""
        try:
            rules = cls(**{**values, "interface": GraphInterface.from_json(values["interface"])})
        except (KeyError, TypeError) as error:
            raise ModelError("its network is not described as an onnx model's is") from error
        plain = isinstance(rules.min_frames, int) and isinstance(rules.batched, bool) and rules.min_frames >= 1
        if not plain or rules.precision not in {"fp32", PRECISION}:
            raise ModelError("its network is not described as an onnx model's is")
        return rules


def from_file(path: Path, *, preset: Preset | None = None) -> Conversion:
    """Read an exported speaker model.

    Parameters
    ----------
    path : Path
        The ONNX file.
    preset : Preset, optional
        What it was trained to see. Otherwise a preset's file beside it (``NAME.yaml`` for ``NAME.onnx``) says so, or
        its metadata.

    Raises
    ------
    ModelError
        When the file is no graph that vecsv runs, or nothing says what it was trained to see.
    """
    graph = read_graph(path)
    chosen, because = _chosen(graph, path, preset)
    try:
        interface = choose_interface(graph, chosen.interface, chosen.frontend)
        _require_metadata(graph.metadata, chosen.frontend)
    except ModelError as error:
        raise ModelError(error.what, where=str(path), hint=error.hint) from error
    found = try_graph(graph, path, interface, chosen.frontend, min_frames=chosen.min_frames, where=str(path))
    declared = graph.metadata.get("output_dim")
    if declared is not None and declared != str(found.dim):
        raise ModelError(f"its metadata say output_dim {declared}, but it gives {found.dim}", where=str(path))
    rules = RunRules(interface, graph.structure, found.min_frames, found.batched)
    notes = [f"front end of the preset {chosen.name} ({because})"]
    if not found.batched:
        notes.append("its batches are not what single recordings are: it runs one recording at a time")
    if language := graph.metadata.get("language"):
        notes.append(f"trained for: {language[:80]}")
    return Conversion(
        family=FAMILY,
        dim=found.dim,
        frontend=chosen.frontend,
        tensors=graph.tensors,
        network=rules.to_json(),
        graph=graph.data,
        notes=tuple(notes),
    )


def load(folder: Path, settings: EngineSettings | None = None) -> Encoder:
    """Load an ``onnx`` bundle.

    Parameters
    ----------
    folder : Path
        The bundle.
    settings : EngineSettings, optional
        How the network is run.

    Raises
    ------
    ModelError
        When the folder is no bundle of this family, or its network cannot be loaded.
    UsageError
        When an int8 model is to be run by another engine than ONNX Runtime.
    """
    bundle = read_bundle(folder)
    if bundle.family != FAMILY:
        raise ModelError(f"is of the family {bundle.family}, not {FAMILY}", where=str(folder))
    try:
        rules = RunRules.from_json(bundle.network)
    except ModelError as error:
        raise ModelError(error.what, where=str(folder), hint="add the model again") from error
    network = open_graph(bundle, folder, rules, settings or EngineSettings())
    return Encoder(bundle, network, min_frames=rules.min_frames)


def open_graph(bundle: Bundle, folder: Path, rules: RunRules, settings: EngineSettings) -> Network:
    """Open a bundle's graph by its rules."""
    from vecsv.engines.choose import open_network

    source = NetworkSource(name=bundle.name, graph=folder / ONNX_FILE, interface=rules.interface)
    network = (open_int8 if rules.precision == PRECISION else open_network)(source, settings)
    return network if rules.batched else _OneAtATime(network)


class _OneAtATime:
    """A network whose batches are not what its recordings are alone."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.engine = network.engine
        self.in_flight_s = network.in_flight_s

    def run(self, inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """See `vecsv.engines.protocol.Network`."""
        return np.concatenate([self._network.run([one]) for one in inputs])


def try_graph(
    graph: Graph, path: Path, interface: GraphInterface, frontend: FrontendSpec, *, min_frames: int | None, where: str
) -> Findings:
    """Run a graph on noise, see `vecsv.models.probing`; `path` is where the graph lies."""
    port = next(port for port in graph.inputs if port.name == interface.input)
    question = Question(
        path=str(path),
        interface=interface.to_json(),
        bands=bands_of(frontend),
        min_frames=min_frames,
        one_at_a_time=port.shape is not None and port.shape[0] == 1,
    )
    return probe(question, where=where)


def _chosen(graph: Graph, path: Path, preset: Preset | None) -> tuple[Preset, str]:
    """The preset that counts, and why."""
    if preset is not None:
        return preset, "as asked for"
    beside = path.with_suffix(".yaml")
    if beside.is_file():
        return read_preset(beside), f"as {beside.name} beside it says"
    try:
        found = preset_for(graph.metadata)
    except ModelError as error:
        raise ModelError(error.what, where=str(path), hint=error.hint) from error
    if found is not None:
        return found, f"as its metadata say, framework {graph.metadata['framework']}"
    names = ", ".join(one.name for one in known_presets())
    raise ModelError(
        "nothing says which features it was trained with, and a wrong front end gives embeddings that are almost right",
        where=str(path),
        hint=f"name a preset with --preset: {names}; or write what it was trained with into {beside.name} beside it "
        "(kind: preset, name, description, files, frontend; configs/preset-wespeaker.yaml is one to start from)",
    )


def _require_metadata(metadata: Mapping[str, str], frontend: FrontendSpec) -> None:
    """Refuse a file whose metadata contradict the front end that is to feed it."""
    rate, bands = metadata.get("sample_rate"), metadata.get("feat_dim")
    if rate is not None and rate != str(SAMPLE_RATE):
        raise ModelError(
            f"its metadata say that it takes {rate} Hz; vecsv tells speech from silence at {SAMPLE_RATE} Hz and takes "
            "models of that rate alone"
        )
    if bands is not None and bands != str(bands_of(frontend)):
        raise ModelError(f"its metadata say feat_dim {bands}, but the front end gives {bands_of(frontend)} bands")
