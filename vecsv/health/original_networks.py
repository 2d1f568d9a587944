"""Small networks, with drawn weights, whose embeddings by the original implementations are on record."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.errors import ModelError
from vecsv.health.signals import drawn, speech_like, uniform
from vecsv.models.conversion import Conversion

if TYPE_CHECKING:
    from vecsv.networks.ecapa_spec import EcapaSpec

_ECAPA_SECONDS: Final = (0.5, 0.77, 2.31, 8.0)
_WAVLM_COMPARED: Final = (0.9, 2.3, 4.17, 9.0)

WAVLM_SECONDS: Final = (0.5, 0.9, 2.3, 4.17, 9.0, 30.0)
"""Lengths of the recordings that WavLM's embeddings are on record of; each one's seed is its place."""


@dataclass(frozen=True)
class Case:
    """One network on record.

    Attributes
    ----------
    name : str
        The original implementation.
    record : str
        Which file of ``golden/`` has its embeddings.
    convert : callable
        Draws the checkpoint as the original has it and reads it as users' are read; is given a scratch folder.
    recordings : callable
        Gives the signals.
    expected : callable
        Picks the original's embeddings, float32 ``(recordings, dim)``, out of the record.
    """

    name: str
    record: str
    convert: Callable[[Path], Conversion]
    recordings: Callable[[], list[NDArray[np.float32]]]
    expected: Callable[[Mapping[str, Any]], NDArray[np.float32]]


def cases(family: str) -> list[Case]:
    """The networks on record of a family; none for one that has no original of its own."""
    if family == "ecapa-tdnn":
        return [_ecapa("SpeechBrain"), _ecapa("WeSpeaker")]
    if family == "wavlm-xvector":
        return [_wavlm()]
    return []


def _ecapa(toolkit: str) -> Case:
    def convert(scratch: Path) -> Conversion:
        from vecsv.models import ecapa_conversion
        from vecsv.networks.ecapa_spec import SPEECHBRAIN, WESPEAKER_512

        if toolkit == "SpeechBrain":
            spec = replace(SPEECHBRAIN, channels=(64, 64, 64, 64, 96), attention_width=16, se_width=16, dim=48)
            return ecapa_conversion.from_speechbrain(drawn(ecapa_shapes("speechbrain", spec)), where=toolkit)
        spec = replace(WESPEAKER_512, channels=(64, 64, 64, 64, 1536), dim=48)
        return ecapa_conversion.from_wespeaker(drawn(ecapa_shapes("wespeaker", spec)), where=toolkit)

    return Case(
        name=toolkit,
        record=f"ecapa-{toolkit.lower()}",
        convert=convert,
        recordings=lambda: [speech_like(seconds, seed=round(100 * seconds)) for seconds in _ECAPA_SECONDS],
        expected=lambda record: _rows([record[f"small/{seconds}"] for seconds in _ECAPA_SECONDS]),
    )


# What each toolkit has as a convolution over single frames, and vecsv as a dense layer.
_CONVOLVED: Final = {
    "speechbrain": ("squeeze", "excite", "attention.hidden", "attention.scores", "projection"),
    "wespeaker": ("attention.hidden", "attention.scores"),
}


def ecapa_shapes(toolkit: str, spec: EcapaSpec) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor in a toolkit's checkpoint of an ECAPA-TDNN, without the counters of BatchNorm.

    Parameters
    ----------
    toolkit : str
        ``"speechbrain"`` or ``"wespeaker"``.
    spec : EcapaSpec
    """
    from vecsv.models.ecapa_conversion import speechbrain_names, wespeaker_names
    from vecsv.networks.ecapa_spec import tensor_shapes

    names = (speechbrain_names if toolkit == "speechbrain" else wespeaker_names)(spec)
    shapes = {}
    for ours, shape in tensor_shapes(spec).items():
        convolved = len(shape) == 2 and ours.removesuffix(".weight").endswith(_CONVOLVED[toolkit])
        shapes[names[ours]] = (*shape, 1) if convolved else shape
    return shapes


#: As the published base model, a few sizes smaller.
WAVLM_CONFIG: Final[Mapping[str, Any]] = {
    "model_type": "wavlm",
    "architectures": ["WavLMForXVector"],
    "hidden_size": 24,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "intermediate_size": 32,
    "conv_dim": [12] * 4,
    "conv_stride": [5, 4, 4, 4],
    "conv_kernel": [10, 5, 4, 4],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "num_buckets": 32,
    "max_bucket_distance": 80,
    "use_weighted_layer_sum": True,
    "tdnn_dim": [20, 20, 30],
    "tdnn_kernel": [5, 3, 1],
    "tdnn_dilation": [1, 3, 1],
    "xvector_output_dim": 16,
    # Speakers of its training, which nobody needs any more.
    "id2label": {str(number): f"speaker {number}" for number in range(7)},
}


def _wavlm() -> Case:
    def convert(scratch: Path) -> Conversion:
        from vecsv.models import wavlm_xvector

        return wavlm_xvector.from_folder(
            write_wavlm(scratch / "wavlm", WAVLM_CONFIG, wavlm_weights(WAVLM_CONFIG), normalise=True)
        )

    places = [WAVLM_SECONDS.index(seconds) for seconds in _WAVLM_COMPARED]
    return Case(
        name="transformers",
        record="wavlm",
        convert=convert,
        recordings=lambda: [speech_like(WAVLM_SECONDS[place], seed=place) for place in places],
        expected=lambda record: _rows([record["embeddings"]["base, normalised"][place] for place in places]),
    )


def wavlm_weights(config: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Draw a WavLM x-vector model's weights under the names of the installed ``transformers``.

    Raises
    ------
    ModelError
        When it or PyTorch is not installed.
    """
    try:
        import torch
        from transformers import WavLMConfig, WavLMForXVector
    except ImportError as error:
        raise ModelError("needs PyTorch and transformers", hint="pip install 'vecsv[torch]'") from error

    with torch.device("meta"):
        state = WavLMForXVector(WavLMConfig(**config)).state_dict()
    filled = {}
    for name, tensor in state.items():
        low, high = _wavlm_range(name, tuple(tensor.shape))
        filled[name] = uniform(tuple(tensor.shape), zlib.crc32(name.encode()), low, high).astype(np.float32)
    return filled


def _wavlm_range(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    # Where training starts with ones, one does not: a scale that is left out has to show.
    if name.endswith(("layer_norm.weight", "original0", "gru_rel_pos_const")):
        return 0.5, 1.5
    if name.endswith("layer_weights"):
        return -1.0, 1.0
    if name.endswith("rel_attn_embed.weight"):
        return -2.0, 2.0
    if len(shape) == 1:
        return -0.2, 0.2
    reach = float(np.sqrt(6.0 / np.prod(shape[1:])))
    # What attention does would drown in what goes past it.
    if "_proj.weight" in name:
        reach *= 2.0
    return -reach, reach


def write_wavlm(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, NDArray[np.float32]], *, normalise: bool
) -> Path:
    """Write a model's folder as Hugging Face keeps it."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True)
    preprocessor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": 16000,
        "padding_value": 0.0,
        "do_normalize": normalise,
        "return_attention_mask": True,
    }
    (folder / "config.json").write_text(json.dumps(dict(config)), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
    save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _rows(rows: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    return np.array(rows, dtype=np.float32)
