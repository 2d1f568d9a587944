"""A WavLM as Hugging Face keeps it: what its files say, whichever head it has.

The names of files and fields are those of ``transformers`` (``WavLMConfig``, ``Wav2Vec2FeatureExtractor``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.checkpoints.hugging_face import PREPROCESSOR_FILE, as_float32, read_json
from vecsv.errors import ModelError
from vecsv.frontend.spec import WaveformSpec
from vecsv.models.fitting import listed, require_fit
from vecsv.networks.wavlm_spec import SAMPLE_RATE, WavLMSpec

ARCHITECTURE: Final = "WavLMForXVector"
"""What ``transformers`` calls a WavLM with an x-vector head."""

_MODEL_TYPE: Final = "wavlm"
_FEATURE_EXTRACTOR: Final = "Wav2Vec2FeatureExtractor"

# Of training only: the classifier over its speakers, and what masked frames were filled with.
_UNNEEDED: Final = ("classifier.", "objective.", "wavlm.masked_spec_embed")


def torch_networks() -> ModuleType:
    """Import what needs PyTorch and ``transformers``."""
    try:
        import transformers  # noqa: F401

        from vecsv.networks import wavlm
    except ImportError as error:
        raise ModelError(
            "a WavLM model needs PyTorch and transformers, which are not installed", hint="pip install 'vecsv[torch]'"
        ) from error
    return wavlm


def require_xvector(config: Mapping[str, Any], *, where: str) -> None:
    """Refuse a ``config.json`` of anything but a WavLM with its x-vector head."""
    require_wavlm(config, where=where)
    if not has_head(config):
        raise ModelError(
            f"architectures is {_short(config.get('architectures'))}, expected {ARCHITECTURE}: without its x-vector "
            "head a WavLM gives no speaker embedding",
            where=where,
            hint="`vecsv train wavlm` can give it one",
        )


def require_wavlm(config: Mapping[str, Any], *, where: str) -> None:
    """Refuse a ``config.json`` of anything but a WavLM."""
    kind = config.get("model_type")
    if kind != _MODEL_TYPE:
        raise ModelError(f"model_type is {_short(kind)}, expected {_MODEL_TYPE!r}", where=where)


def has_head(config: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` is of a WavLM with its x-vector head."""
    architectures = config.get("architectures")
    return isinstance(architectures, list) and ARCHITECTURE in architectures


def spec_of(config: Mapping[str, Any], *, where: str) -> WavLMSpec:
    """Read the network's size out of the fields of a ``config.json``, whatever head it names."""
    if config.get("add_adapter", False) is not False:
        raise ModelError("has an adapter (add_adapter), which an x-vector head does not see", where=where)
    try:
        return WavLMSpec.from_config(config)
    except ModelError as error:
        raise ModelError(error.what, where=where, hint=error.hint) from error


def shapes_of(spec: WavLMSpec, *, where: str) -> dict[str, tuple[int, ...]]:
    """See `vecsv.networks.wavlm.expected_shapes`; an error names the file `where` that the network is described in."""
    try:
        shapes: dict[str, tuple[int, ...]] = torch_networks().expected_shapes(spec)
    except ModelError as error:
        raise ModelError(error.what, where=where) from error
    return shapes


def read_frontend(folder: Path) -> WaveformSpec:
    """Read out of ``preprocessor_config.json`` how the waveform is scaled; the package's defaults stand in for gaps."""
    values, where = read_json(folder / PREPROCESSOR_FILE), str(folder / PREPROCESSOR_FILE)
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


def fitted(
    found: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]], *, where: str
) -> tuple[dict[str, NDArray[np.float32]], list[str]]:
    """Pick the tensors of these shapes out of a checkpoint, under their canonical names, and say what was left."""
    canonical_name = torch_networks().canonical_name
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


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
