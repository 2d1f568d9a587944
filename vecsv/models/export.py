"""A model as one ONNX file for other programs: the waveform in, the embedding out, the front end inside the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.durable import write_bytes
from vecsv.engines.protocol import EngineSettings
from vecsv.errors import ModelError
from vecsv.frontend.spec import MelSpectrogramSpec
from vecsv.models.bundle import Bundle, read_bundle
from vecsv.models.encoder import Encoder
from vecsv.models.families import torch_module
from vecsv.models.registry import load

if TYPE_CHECKING:
    import torch

INPUT: Final = "wave"
OUTPUT: Final = "embeddings"

#: Largest cosine distance to the model that is exported.
TOLERANCE: Final = 1e-5

_LENGTHS_S: Final = (0.6, 1.0, 3.0, 7.31)
_BATCHES: Final = (1, 3)


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    path : Path
        The file.
    megabytes : float
        Its size.
    cosine_distance : float
        Largest distance to the model's own embeddings that was seen.
    compared : int
        Embeddings that were compared, of several lengths and batch sizes.
    against : str
        The engine of the model's own embeddings.
    """

    path: Path
    megabytes: float
    cosine_distance: float
    compared: int
    against: str


def export_onnx(folder: Path, path: Path, signal: Callable[[float, int], NDArray[np.float32]]) -> Exported:
    """Write a model with its front end as one ONNX file, after checking that it gives the same embeddings.

    The graph takes ``wave``, float32 ``(batch, samples)`` in [-1, 1] at the model's rate, batch and samples as wanted,
    all of a batch equally long; it gives ``embeddings``, float32 ``(batch, dim)``, rows of unit length. What vecsv does
    around a model stays outside: refusing silence, cutting long recordings into blocks.

    Parameters
    ----------
    folder : Path
        The model's bundle.
    path : Path
        Where the file goes; one that is there is replaced.
    signal : callable
        Makes a test signal from seconds and a seed.

    Raises
    ------
    ModelError
        When the family has no form that can be exported, torch is not installed, or the exported graph does not give
        what the model gives; nothing is written then.
    """
    bundle = read_bundle(folder)
    if isinstance(bundle.frontend, MelSpectrogramSpec):
        raise ModelError(
            f"{bundle.name} cannot be exported with its front end: it cuts out silences by voice activity, which no "
            "graph can do",
            hint=f"the network alone, over windows of mel spectrograms, is model.onnx in {folder}",
        )
    module = _whole(bundle, torch_module(folder))
    graph = _described(_graph(module, bundle), bundle)
    engine, distances = _compare(graph, folder, signal)
    largest = max(distances)
    if not largest <= TOLERANCE:
        raise ModelError(
            f"the exported graph gives other embeddings than {bundle.name}: cosine distance {largest:.1e}, at most "
            f"{TOLERANCE:g} is allowed; nothing was written",
            where=str(path),
        )
    try:
        write_bytes(path, graph)
    except OSError as error:
        raise ModelError(f"cannot be written: {error.strerror}", where=str(path)) from error
    return Exported(path, len(graph) / 1e6, largest, len(distances), engine)


def _whole(bundle: Bundle, network: torch.nn.Module) -> torch.nn.Module:
    """The front end, the network and the scaling to unit length, as one module."""
    import torch

    from vecsv.networks.features import feature_module

    class WaveToEmbedding(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = feature_module(bundle.frontend)
            self.network = network

        def forward(self, wave: torch.Tensor) -> torch.Tensor:
            raw: torch.Tensor = self.network(self.features(wave))
            unit: torch.Tensor = raw / torch.linalg.vector_norm(raw, dim=1, keepdim=True).clamp_min(1e-12)
            return unit

    return WaveToEmbedding().eval()


def _graph(module: torch.nn.Module, bundle: Bundle) -> bytes:
    import torch

    from vecsv.networks.export import onnx_graph

    example = torch.linspace(-0.5, 0.5, 2 * 2 * bundle.sample_rate).reshape(2, -1)
    return onnx_graph(module, example, input_name=INPUT, output_name=OUTPUT, dynamic={0: "batch", 1: "samples"})


def _described(graph: bytes, bundle: Bundle) -> bytes:
    """The graph with what another program has to know written into its metadata."""
    import onnx

    model = onnx.load_from_string(graph)
    model.doc_string = bundle.description
    facts = {
        "framework": "vecsv",
        "model": bundle.name,
        "family": bundle.family,
        "fingerprint": bundle.fingerprint,
        "licence": bundle.licence,
        "sample_rate": bundle.sample_rate,
        "output_dim": bundle.dim,
    }
    onnx.helper.set_model_props(model, {name: str(value) for name, value in facts.items()})
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _compare(
    graph: bytes, folder: Path, signal: Callable[[float, int], NDArray[np.float32]]
) -> tuple[str, list[float]]:
    """Cosine distances between the exported graph's embeddings and the model's own, in PyTorch."""
    import onnxruntime

    model = load(folder, EngineSettings(engine="torch"))
    if not isinstance(model, Encoder):
        raise ModelError(f"{model.name} is of a family that cannot be exported")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    distances: list[float] = []
    for waves in _batches(signal):
        (found,) = session.run([OUTPUT], {INPUT: waves})
        expected = model.embed([model.prepare(wave) for wave in waves])
        difference = found.astype(np.float64) - expected
        distances += (np.einsum("ij,ij->i", difference, difference) / 2.0).tolist()
    return model.engine, distances


def _batches(signal: Callable[[float, int], NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    for position, seconds in enumerate(_LENGTHS_S):
        for size in _BATCHES:
            yield np.stack([signal(seconds, 100 * position + item) for item in range(size)])


def facts(exported: Exported) -> dict[str, Any]:
    """What was written, as JSON values with stable keys."""
    return {
        "path": str(exported.path),
        "megabytes": round(exported.megabytes, 3),
        "cosine_distance": exported.cosine_distance,
        "compared": exported.compared,
        "against": exported.against,
    }
