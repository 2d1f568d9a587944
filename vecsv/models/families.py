"""The families of models: which file loads one, and which reads a foreign checkpoint of it.

This is the only place that knows them all. Each is imported when it is needed: some bring PyTorch with them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vecsv.engines.protocol import EngineSettings
from vecsv.errors import ModelError
from vecsv.models.bundle import ONNX_FILE, Bundle, read_bundle

if TYPE_CHECKING:
    import torch

    from vecsv.models.conversion import Conversion
    from vecsv.models.protocol import Embedder


def load_bundle(folder: Path, family: str, settings: EngineSettings | None = None) -> Embedder:
    """Load a bundle with its family's file.

    Raises
    ------
    ModelError
        When this version does not know the family, or the bundle cannot be loaded.
    """
    if family == "ge2e":
        from vecsv.models import ge2e

        return ge2e.load(folder, settings)
    if family == "ecapa-tdnn":
        from vecsv.models import ecapa_tdnn

        return ecapa_tdnn.load(folder, settings)
    if family == "wavlm-xvector":
        from vecsv.models import wavlm_xvector

        return wavlm_xvector.load(folder, settings)
    if family == "onnx":
        from vecsv.models import onnx_model

        return onnx_model.load(folder, settings)
    raise _unknown(family, str(folder))


def torch_module(folder: Path) -> torch.nn.Module:
    """Make a bundle's network, without its front end, as a PyTorch module in evaluation mode.

    Raises
    ------
    ModelError
        When the family has none, PyTorch is not installed, or the tensors are damaged.
    """
    family = read_bundle(folder).family
    if family == "ge2e":
        from vecsv.models import ge2e

        return ge2e.torch_module(folder)
    if family == "ecapa-tdnn":
        from vecsv.models import ecapa_tdnn

        return ecapa_tdnn.module(folder)
    if family == "wavlm-xvector":
        from vecsv.models import wavlm_xvector

        return wavlm_xvector.torch_module(folder)
    if family == "onnx":
        raise ModelError(
            "was made from an ONNX graph, so there is no PyTorch form of it",
            where=str(folder),
            hint=f"the graph is {ONNX_FILE} in that folder",
        )
    raise _unknown(family, str(folder))


def engines(bundle: Bundle) -> tuple[str, ...]:
    """Which of `vecsv.engines.protocol.ENGINES` can run a bundle, installed or not."""
    from vecsv.models.int8 import is_int8

    if is_int8(bundle.network):
        return ("onnxruntime",)
    with_graph = ("onnxruntime", "openvino") if ONNX_FILE in bundle.sha256 else ()
    return with_graph if bundle.family == "onnx" else (*with_graph, "torch")


def convert(
    family: str, path: Path, *, preset: str | None = None, key: str | None = None, where: str | None = None
) -> Conversion:
    """Read a foreign model.

    Parameters
    ----------
    family : str
        What it is.
    path : Path
        Its checkpoint or graph; a folder where the family's models are folders.
    preset : str, optional
        How an exported graph is used: a preset's name, or the path of one. Only for ``"onnx"``.
    key : str, optional
        Which dictionary of a checkpoint holds the weights, where it has several. Only for ``"ecapa-tdnn"``.
    where : str, optional
        What errors call a checkpoint; by default the file's name.

    Raises
    ------
    ModelError
        When this version does not know the family, or the file is no model of it.
    """
    if family == "ge2e":
        from vecsv.models import ge2e_conversion

        return ge2e_conversion.convert(path, where=where or path.name)
    if family == "ecapa-tdnn":
        return _ecapa(path, key, where or path.name)
    if family == "wavlm-xvector":
        from vecsv.models import wavlm_xvector

        return wavlm_xvector.from_folder(path)
    if family == "onnx":
        from vecsv.models import onnx_model
        from vecsv.models.presets import find_preset

        return onnx_model.from_file(path, preset=None if preset is None else find_preset(preset))
    raise _unknown(family, path.name)


def _ecapa(path: Path, key: str | None, where: str) -> Conversion:
    from vecsv.checkpoints.reading import read_checkpoint
    from vecsv.models import ecapa_tdnn

    tensors = read_checkpoint(path, where=where, key=key)
    toolkit = ecapa_tdnn.recognise(tensors)
    if toolkit == "speechbrain":
        return ecapa_tdnn.from_speechbrain(tensors, where=where)
    if toolkit == "wespeaker":
        return ecapa_tdnn.from_wespeaker(tensors, where=where)
    raise ModelError(
        "is no ECAPA-TDNN of SpeechBrain or WeSpeaker",
        where=where,
        hint="another network comes as an ONNX file, WavLM x-vector as its whole folder",
    )


def _unknown(family: str, where: str) -> ModelError:
    return ModelError(f"is of the family {family}, which this version of vecsv does not know", where=where)
