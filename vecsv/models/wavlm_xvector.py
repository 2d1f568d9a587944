"""WavLM x-vector models: a Hugging Face folder to a bundle, and a bundle to an embedder.

The names of files and fields are those of ``transformers`` (``WavLMForXVector``, ``Wav2Vec2FeatureExtractor``) and of
models such as ``microsoft/wavlm-base-plus-sv``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.checkpoints.hugging_face import CONFIG_FILE, PREPROCESSOR_FILE, as_float32, read_json, read_weights
from vecsv.engines.choose import open_network
from vecsv.engines.protocol import EngineSettings, GraphInterface, NetworkSource
from vecsv.errors import ModelError
from vecsv.frontend.spec import WaveformSpec
from vecsv.models.bundle import ONNX_FILE, TENSORS_FILE, Bundle, read_bundle
from vecsv.models.conversion import Conversion
from vecsv.models.encoder import Encoder
from vecsv.models.fitting import listed, require_fit
from vecsv.models.windows import Pooling
from vecsv.networks.wavlm_spec import SAMPLE_RATE, WavLMSpec

if TYPE_CHECKING:
    import torch

FAMILY: Final = "wavlm-xvector"
INTERFACE: Final = GraphInterface(input="wave", output="embeddings", layout="wave")
POOLING: Final = Pooling(block_s=30.0)
"""Attention takes memory by the square of the time: at the base size 0.7 GB for 30 s, 2.5 GB for 60 s."""

_MODEL_TYPE: Final = "wavlm"
_ARCHITECTURE: Final = "WavLMForXVector"
_FEATURE_EXTRACTOR: Final = "Wav2Vec2FeatureExtractor"

# Of training only: the classifier over its speakers, and what masked frames were filled with.
_UNNEEDED: Final = ("classifier.", "objective.", "wavlm.masked_spec_embed")

# A serialised ONNX model cannot reach 2 GiB.
_LARGEST_GRAPH: Final = 2_000_000_000
_TOLERANCE: Final = 1e-5


def from_folder(folder: Path) -> Conversion:
    """Read a WavLM x-vector model as Hugging Face keeps it; nothing in the folder is run, nothing is fetched.

    Parameters
    ----------
    folder : Path
        With ``config.json``, ``preprocessor_config.json`` and the weights: ``model.safetensors`` or
        ``pytorch_model.bin``, in one file or in several with an index.

    Raises
    ------
    ModelError
        When something is missing, is not of this architecture or too large, when tensors are missing, unexpected, of
        another shape or not finite, with a list of them; or when PyTorch or ``transformers`` is not installed.
    """
    config = read_json(folder / CONFIG_FILE)
    spec = _spec(config, where=str(folder / CONFIG_FILE))
    frontend = _frontend(read_json(folder / PREPROCESSOR_FILE), where=str(folder / PREPROCESSOR_FILE))
    networks = _networks()
    try:
        shapes = networks.expected_shapes(spec)
    except ModelError as error:
        raise ModelError(error.what, where=str(folder / CONFIG_FILE)) from error
    found, where = read_weights(folder)
    tensors, notes = _fitted(found, shapes, where=where)
    if "auto_map" in config:
        notes.append(f"{CONFIG_FILE} names code of its own, which was not run: the network is {_ARCHITECTURE}")
    module = _module(spec, tensors, where=where)
    graph: bytes | None = None
    try:
        graph = _graph(module, spec)
    except ModelError as error:
        notes.append(f"only PyTorch can run it: {error}")
    return Conversion(
        family=FAMILY,
        dim=spec.xvector_output_dim,
        frontend=frontend,
        tensors=tensors,
        network=spec.to_json(),
        graph=graph,
        pooling=POOLING,
        notes=tuple(notes),
    )


def load(folder: Path, settings: EngineSettings | None = None) -> Encoder:
    """Load a WavLM x-vector bundle.

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
    """
    bundle, spec = _read(folder)
    graph = folder / ONNX_FILE if ONNX_FILE in bundle.sha256 else None
    source = NetworkSource(
        name=bundle.name,
        graph=graph,
        interface=None if graph is None else INTERFACE,
        module=partial(torch_module, folder),
    )
    return Encoder(bundle, open_network(source, settings or EngineSettings()), min_frames=spec.min_samples)


def torch_module(folder: Path) -> torch.nn.Module:
    """Make a bundle's network as a PyTorch module: waveforms ``(batch, samples)`` to embeddings ``(batch, dim)``.

    Raises
    ------
    ModelError
        When the folder is no bundle of this family, its tensors are damaged, or PyTorch or ``transformers`` is not
        installed.
    """
    _, spec = _read(folder)
    networks = _networks()
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / TENSORS_FILE
    try:
        module: torch.nn.Module = networks.with_tensors(spec, load_file(path))
    except (OSError, SafetensorError) as error:
        raise ModelError("missing or damaged", where=str(path), hint="pull the model again") from error
    except ModelError as error:
        raise ModelError(error.what, where=str(path), hint=error.hint or "pull the model again") from error
    return module


def _read(folder: Path) -> tuple[Bundle, WavLMSpec]:
    bundle = read_bundle(folder)
    if bundle.family != FAMILY:
        raise ModelError(f"is of the family {bundle.family}, not {FAMILY}", where=str(folder))
    if not isinstance(bundle.frontend, WaveformSpec):
        raise ModelError("its network takes the waveform, but it says otherwise", where=str(folder))
    try:
        return bundle, WavLMSpec.from_json(bundle.network)
    except ModelError as error:
        raise ModelError(f"its network: {error.what}", where=str(folder)) from error


def _networks() -> ModuleType:
    """Import what needs PyTorch and ``transformers``."""
    try:
        import transformers  # noqa: F401

        from vecsv.networks import wavlm
    except ImportError as error:
        raise ModelError(
            "a WavLM model needs PyTorch and transformers, which are not installed", hint="pip install 'vecsv[torch]'"
        ) from error
    return wavlm


def _spec(config: Mapping[str, Any], *, where: str) -> WavLMSpec:
    """Read the network's size out of ``config.json``."""
    kind, architectures = config.get("model_type"), config.get("architectures")
    if kind != _MODEL_TYPE:
        raise ModelError(f"model_type is {_short(kind)}, expected {_MODEL_TYPE!r}", where=where)
    if not isinstance(architectures, list) or _ARCHITECTURE not in architectures:
        raise ModelError(
            f"architectures is {_short(architectures)}, expected {_ARCHITECTURE}: without its x-vector head a WavLM "
            "gives no speaker embedding",
            where=where,
        )
    if config.get("add_adapter", False) is not False:
        raise ModelError("has an adapter (add_adapter), which an x-vector head does not see", where=where)
    try:
        return WavLMSpec.from_config(config)
    except ModelError as error:
        raise ModelError(error.what, where=where, hint=error.hint) from error


def _frontend(values: Mapping[str, Any], *, where: str) -> WaveformSpec:
    """Read out of ``preprocessor_config.json`` how the waveform is scaled; the package's defaults stand in for gaps."""
    kind = values.get("feature_extractor_type", _FEATURE_EXTRACTOR)
    if kind != _FEATURE_EXTRACTOR:
        raise ModelError(f"feature_extractor_type is {_short(kind)}, expected {_FEATURE_EXTRACTOR}", where=where)
    for name, expected in (("sampling_rate", SAMPLE_RATE), ("feature_size", 1)):
        if values.get(name, expected) != expected:
            raise ModelError(f"{name} is {_short(values[name])}, expected {expected}", where=where)
    normalise = values.get("do_normalize", True)
    if not isinstance(normalise, bool):
        raise ModelError(f"do_normalize is {_short(normalise)}, expected true or false", where=where)
    return WaveformSpec(sample_rate=SAMPLE_RATE, normalise=normalise)


def _fitted(
    found: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]], *, where: str
) -> tuple[dict[str, NDArray[np.float32]], list[str]]:
    """The canonical tensors, and what there is to say of the others."""
    canonical_name = _networks().canonical_name
    needed: dict[str, NDArray[Any]] = {}
    for name, tensor in found.items():
        if name.startswith(_UNNEEDED):
            continue
        if canonical_name(name) in needed:
            raise ModelError(f"holds {canonical_name(name)} twice, by an old and a new name", where=where)
        needed[canonical_name(name)] = tensor
    require_fit(needed, shapes, where=where)
    left = sorted(name for name in found if name.startswith(_UNNEEDED))
    notes = [f"of training only, and not needed: {listed(left)}"] if left else []
    tensors = as_float32({name: needed[name] for name in shapes}, where=where)
    return tensors, notes


def _module(spec: WavLMSpec, tensors: Mapping[str, NDArray[np.float32]], *, where: str) -> torch.nn.Module:
    """Make the network, and make sure that it gives numbers at all."""
    import torch

    try:
        module: torch.nn.Module = _networks().with_tensors(
            spec, {name: torch.tensor(tensor) for name, tensor in tensors.items()}
        )
    except ModelError as error:
        raise ModelError(error.what, where=where, hint=error.hint) from error
    if not np.isfinite(_expected(module, _probe(spec))).all():
        raise ModelError("with these weights the network gives no numbers", where=where)
    return module


def _graph(module: torch.nn.Module, spec: WavLMSpec) -> bytes:
    """Write the network as ONNX, and make sure that it still computes the same."""
    import torch

    from vecsv.networks.export import onnx_graph

    if sum(tensor.nbytes for tensor in module.state_dict().values()) > _LARGEST_GRAPH:
        raise ModelError("it is too large for one ONNX file")
    graph = onnx_graph(
        module,
        torch.zeros(2, spec.min_samples + SAMPLE_RATE),
        input_name=INTERFACE.input,
        output_name=INTERFACE.output,
        dynamic={0: "batch", 1: "samples"},
    )
    wave = _probe(spec)
    if not _cosine_distance(_run(graph, wave), _expected(module, wave)) <= _TOLERANCE:
        raise ModelError("its ONNX graph gives other embeddings than PyTorch")
    return graph


def _probe(spec: WavLMSpec) -> NDArray[np.float32]:
    """A waveform of another length and batch than a graph is written with: what should be free has to be."""
    wave = np.random.default_rng(0).uniform(-0.5, 0.5, (1, spec.min_samples + SAMPLE_RATE // 3))
    return wave.astype(np.float32)


def _expected(module: torch.nn.Module, wave: NDArray[np.float32]) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        embeddings: NDArray[np.float32] = module(torch.from_numpy(wave)).numpy()
    return embeddings


def _run(graph: bytes, wave: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    embeddings: NDArray[np.float32] = session.run([INTERFACE.output], {INTERFACE.input: wave})[0]
    return embeddings


def _cosine_distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    first, second = (vector.astype(np.float64) / np.linalg.norm(vector) for vector in (one, other))
    return float(np.square(first - second).sum()) / 2.0


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
