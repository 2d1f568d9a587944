"""WavLM x-vector models: a Hugging Face folder to a bundle, and a bundle to an embedder.

The names of files and fields are those of ``transformers`` (``WavLMForXVector``, ``Wav2Vec2FeatureExtractor``) and of
models such as ``microsoft/wavlm-base-plus-sv``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.checkpoints.hugging_face import CONFIG_FILE, read_json, read_weights
from vecsv.engines.choose import open_network
from vecsv.engines.protocol import EngineSettings, GraphInterface, NetworkSource
from vecsv.errors import ModelError
from vecsv.frontend.spec import WaveformSpec
from vecsv.models.bundle import ONNX_FILE, TENSORS_FILE, Bundle, read_bundle
from vecsv.models.conversion import Conversion
from vecsv.models.encoder import Encoder
from vecsv.models.wavlm_folder import (
    ARCHITECTURE,
    fitted,
    read_frontend,
    require_xvector,
    shapes_of,
    spec_of,
    torch_networks,
)
from vecsv.models.windows import Pooling
from vecsv.networks.wavlm_spec import SAMPLE_RATE, WavLMSpec

if TYPE_CHECKING:
    import torch

FAMILY: Final = "wavlm-xvector"
INTERFACE: Final = GraphInterface(input="wave", output="embeddings", layout="wave")
POOLING: Final = Pooling(block_s=30.0)
"""Attention takes memory by the square of the time: at the base size 0.7 GB for 30 s, 2.5 GB for 60 s."""

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
    config, described = read_json(folder / CONFIG_FILE), str(folder / CONFIG_FILE)
    require_xvector(config, where=described)
    spec = spec_of(config, where=described)
    frontend = read_frontend(folder)
    shapes = shapes_of(spec, where=described)
    found, where = read_weights(folder)
    tensors, notes = fitted(found, shapes, where=where)
    if "auto_map" in config:
        notes.append(f"{CONFIG_FILE} names code of its own, which was not run: the network is {ARCHITECTURE}")
    return conversion_of(spec, frontend, tensors, where=where, notes=notes)


def conversion_of(
    spec: WavLMSpec,
    frontend: WaveformSpec,
    tensors: Mapping[str, NDArray[np.float32]],
    *,
    where: str,
    notes: Sequence[str] = (),
) -> Conversion:
    """Make a bundle's content of a network, its ONNX graph included where it can be made; a note says where not.

    Raises
    ------
    ModelError
        When the tensors, which errors call `where`, are not those of the network or give no numbers.
    """
    module = _module(spec, tensors, where=where)
    notes = list(notes)
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
    networks = torch_networks()
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


def _module(spec: WavLMSpec, tensors: Mapping[str, NDArray[np.float32]], *, where: str) -> torch.nn.Module:
    """Make the network, and make sure that it gives numbers at all."""
    import torch

    try:
        module: torch.nn.Module = torch_networks().with_tensors(
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
