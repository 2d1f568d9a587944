"""ECAPA-TDNN speaker models: a bundle as an embedder, or as the PyTorch module itself.

B. Desplanques, J. Thienpondt, K. Demuynck, "ECAPA-TDNN: Emphasized Channel Attention, Propagation and Aggregation in
TDNN Based Speaker Verification", Interspeech 2020.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from vecsv.engines.protocol import EngineSettings, GraphInterface, NetworkSource
from vecsv.errors import ModelError
from vecsv.models.bundle import ONNX_FILE, TENSORS_FILE, Bundle, read_bundle
from vecsv.models.ecapa_conversion import FAMILY, INPUT, OUTPUT, from_speechbrain, from_wespeaker, recognise
from vecsv.models.encoder import Encoder
from vecsv.networks.ecapa_spec import EcapaSpec

if TYPE_CHECKING:
    from vecsv.networks.ecapa_tdnn import EcapaTdnn

__all__ = ["FAMILY", "INTERFACE", "from_speechbrain", "from_wespeaker", "load", "module", "recognise"]

INTERFACE: Final = GraphInterface(input=INPUT, output=OUTPUT, layout="time-features")


def load(folder: Path, settings: EngineSettings | None = None) -> Encoder:
    """Load an ECAPA-TDNN bundle.

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
    from vecsv.engines.choose import open_network

    bundle, spec = _described(folder)
    graph = folder / ONNX_FILE
    source = NetworkSource(
        name=bundle.name,
        graph=graph if ONNX_FILE in bundle.sha256 else None,
        interface=INTERFACE if ONNX_FILE in bundle.sha256 else None,
        module=lambda: module(folder),
        takes_lengths=True,
    )
    return Encoder(bundle, open_network(source, settings or EngineSettings()), min_frames=spec.min_frames)


def module(folder: Path) -> EcapaTdnn:
    """Make the network of a bundle as a PyTorch module, in evaluation mode.

    Raises
    ------
    ModelError
        When the folder is no bundle of this family, its tensors do not fit, or PyTorch is not installed.
    """
    _, spec = _described(folder)
    try:
        from safetensors.torch import load_file

        from vecsv.networks.ecapa_tdnn import EcapaTdnn
    except ImportError as error:
        raise ModelError(
            "running an ECAPA-TDNN this way needs PyTorch, which is not installed", hint="pip install 'vecsv[torch]'"
        ) from error
    from safetensors import SafetensorError

    path = folder / TENSORS_FILE
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot be read: {error}", where=str(path), hint="pull the model again") from error
    try:
        return EcapaTdnn.of(spec, tensors)
    except ModelError as error:
        raise ModelError(error.what, where=str(path), hint="pull the model again") from error


def _described(folder: Path) -> tuple[Bundle, EcapaSpec]:
    bundle = read_bundle(folder)
    if bundle.family != FAMILY:
        raise ModelError(f"is of the family {bundle.family}, not {FAMILY}", where=str(folder))
    try:
        return bundle, EcapaSpec.from_json(bundle.network)
    except ModelError as error:
        raise ModelError(error.what, where=str(folder)) from error
