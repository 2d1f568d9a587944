"""What makes a WavLM x-vector network besides its weights, as data that can be checked before anything is built."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from vecsv.errors import ModelError

SAMPLE_RATE: Final = 16000
"""Rate of the waveforms it takes, in Hz."""

# A standard deviation over the frames that come out of the last TDNN layer takes two of them.
_FEWEST_POOLED_FRAMES: Final = 2

# Far beyond the largest WavLM that was published, far below what brings a machine down.
_RANGES: Final[Mapping[str, tuple[int, int]]] = {
    "hidden_size": (1, 4096),
    "num_hidden_layers": (1, 64),
    "num_attention_heads": (1, 64),
    "intermediate_size": (1, 16384),
    "num_conv_pos_embeddings": (1, 1024),
    "num_conv_pos_embedding_groups": (1, 4096),
    "num_buckets": (4, 4096),
    "max_bucket_distance": (2, 65536),
    "xvector_output_dim": (1, 4096),
    "conv_dim": (1, 4096),
    "conv_stride": (1, 64),
    "conv_kernel": (1, 128),
    "tdnn_dim": (1, 8192),
    "tdnn_kernel": (1, 64),
    "tdnn_dilation": (1, 64),
}
_MOST_LAYERS: Final = 16
_ACTIVATIONS: Final = frozenset({"gelu", "gelu_new", "relu", "silu"})
_NORMS: Final = frozenset({"group", "layer"})
_LARGEST_EPSILON: Final = 0.1

# Attention takes memory by the square of the frames, and the convolutions by the numbers they make of a second.
_SAMPLES_PER_FRAME: Final = (160, SAMPLE_RATE)
_MOST_NUMBERS_PER_SECOND: Final = 10_000_000
_LONGEST_CONTEXT: Final = 10 * SAMPLE_RATE


@dataclass(frozen=True)
class WavLMSpec:
    """The fields of ``transformers``' ``WavLMConfig`` that decide an embedding, under their names and defaults there.

    Attributes
    ----------
    hidden_size, num_hidden_layers, num_attention_heads, intermediate_size
        Size of the transformer.
    hidden_act, feat_extract_activation : str
        ``"gelu"``, ``"gelu_new"``, ``"relu"`` or ``"silu"``: in the transformer, and in the convolutions.
    layer_norm_eps : float
        What layer normalisation adds to the variance.
    feat_extract_norm : str
        ``"group"``: group normalisation after the first convolution; ``"layer"``: layer normalisation after each.
    conv_dim, conv_stride, conv_kernel : tuple of int
        Channels, stride and kernel of each convolution over the waveform.
    conv_bias : bool
        Whether those have a bias.
    num_conv_pos_embeddings, num_conv_pos_embedding_groups : int
        Kernel and groups of the convolution that tells positions.
    num_buckets, max_bucket_distance : int
        Distances between frames that attention tells apart, and the largest of them.
    do_stable_layer_norm : bool
        Whether normalisation comes before attention and feed-forward rather than after.
    use_weighted_layer_sum : bool
        Whether the x-vector head sees the learned mean of all layers rather than the last one.
    tie_last_hidden_states : bool
        Whether the last layer goes into that mean after its normalisation. It matters with `do_stable_layer_norm` only,
        and is true everywhere else.
    tdnn_dim, tdnn_kernel, tdnn_dilation : tuple of int
        Channels, kernel and dilation of each TDNN layer.
    xvector_output_dim : int
        Length of an embedding.

    Raises
    ------
    ModelError
        When a value is out of range, or several do not go together.

    Examples
    --------
    >>> WavLMSpec().min_samples
    5200
    >>> WavLMSpec(hidden_size=10**9)
    Traceback (most recent call last):
    ...
    vecsv.errors.ModelError: hidden_size is 1000000000, but has to be between 1 and 4096
    """

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    feat_extract_norm: str = "group"
    feat_extract_activation: str = "gelu"
    conv_dim: tuple[int, ...] = (512, 512, 512, 512, 512, 512, 512)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_bias: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    num_buckets: int = 320
    max_bucket_distance: int = 800
    do_stable_layer_norm: bool = False
    use_weighted_layer_sum: bool = False
    tie_last_hidden_states: bool = True
    tdnn_dim: tuple[int, ...] = (512, 512, 512, 512, 1500)
    tdnn_kernel: tuple[int, ...] = (5, 3, 3, 1, 1)
    tdnn_dilation: tuple[int, ...] = (1, 2, 3, 1, 1)
    xvector_output_dim: int = 512

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            values = value if isinstance(value, tuple) else (value,)
            if isinstance(value, tuple) and not 1 <= len(value) <= _MOST_LAYERS:
                raise ModelError(f"{name} has {len(value)} entries, but has to have between 1 and {_MOST_LAYERS}")
            for one in values:
                if not least <= one <= most:
                    raise ModelError(f"{name} is {_short(one)}, but has to be between {least} and {most}")
        if not 0.0 < self.layer_norm_eps <= _LARGEST_EPSILON:
            raise ModelError(f"layer_norm_eps is {self.layer_norm_eps}, but has to be in (0, {_LARGEST_EPSILON}]")
        for name, known in (
            ("hidden_act", _ACTIVATIONS),
            ("feat_extract_activation", _ACTIVATIONS),
            ("feat_extract_norm", _NORMS),
        ):
            if getattr(self, name) not in known:
                found = _short(repr(getattr(self, name)))
                raise ModelError(f"{name} is {found}, this version knows {', '.join(sorted(known))}")
        for names in (("conv_dim", "conv_stride", "conv_kernel"), ("tdnn_dim", "tdnn_kernel", "tdnn_dilation")):
            if len({len(getattr(self, name)) for name in names}) > 1:
                raise ModelError(f"{', '.join(names)} are of different lengths")
        for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
            if self.hidden_size % getattr(self, name):
                raise ModelError(f"hidden_size {self.hidden_size} is no multiple of {name} {getattr(self, name)}")
        if self.max_bucket_distance <= self.num_buckets // 4:
            raise ModelError(
                f"max_bucket_distance {self.max_bucket_distance} is too small for {self.num_buckets} buckets"
            )
        self._require_affordable()

    def _require_affordable(self) -> None:
        per_frame, numbers = 1, 0.0
        for channels, stride in zip(self.conv_dim, self.conv_stride, strict=True):
            per_frame *= stride
            numbers += channels * SAMPLE_RATE / per_frame
        least, most = _SAMPLES_PER_FRAME
        if not least <= per_frame <= most:
            raise ModelError(f"a frame stands for {per_frame} samples, but has to for between {least} and {most}")
        if numbers > _MOST_NUMBERS_PER_SECOND:
            raise ModelError(f"its convolutions make {numbers:.0f} numbers of a second, more than vecsv takes")
        if self.min_samples > _LONGEST_CONTEXT:
            raise ModelError(f"no recording under {self.min_samples / SAMPLE_RATE:.0f} s is long enough for it")

    @property
    def min_samples(self) -> int:
        """Fewest samples that give an embedding: two frames have to be left after the TDNN layers."""
        length = _FEWEST_POOLED_FRAMES
        for kernel, dilation in zip(self.tdnn_kernel, self.tdnn_dilation, strict=True):
            length += (kernel - 1) * dilation
        for kernel, stride in zip(reversed(self.conv_kernel), reversed(self.conv_stride), strict=True):
            length = (length - 1) * stride + kernel
        return length

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values, every field spelt out."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> WavLMSpec:
        """Read what `to_json` wrote; a ModelError when a field is missing, unknown or of another type.

        Examples
        --------
        >>> WavLMSpec.from_json(WavLMSpec().to_json()) == WavLMSpec()
        True
        """
        declared = {field.name for field in fields(cls)}
        if different := sorted(declared ^ values.keys()):
            raise ModelError(f"unknown or missing: {', '.join(different)}")
        return cls.from_config(values)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> WavLMSpec:
        """Take the fields out of a Hugging Face configuration; those left out have their defaults.

        Raises
        ------
        ModelError
            When a value is of another type or out of range; when the fields mean different networks to different
            versions of ``transformers``, and the one that tells them apart is left out.

        Examples
        --------
        >>> WavLMSpec.from_config({"model_type": "wavlm", "tdnn_dim": [8, 8, 8, 8, 8]}).tdnn_dim
        (8, 8, 8, 8, 8)
        """
        tied = config.get("tie_last_hidden_states")
        two_means = config.get("do_stable_layer_norm") is True and config.get("use_weighted_layer_sum") is True
        if two_means and tied is None:
            # 4.57 and 5.0 take it after the last normalisation, 5.23 before.
            raise ModelError(
                "do_stable_layer_norm and use_weighted_layer_sum together were one network to transformers 5.0 and are "
                "another to 5.23",
                hint='add "tie_last_hidden_states": true for a model trained with 5.0 or before, else false',
            )
        config = {**config, "tie_last_hidden_states": tied if two_means else True}
        return cls(
            **{
                field.name: _typed(field.name, config[field.name], str(field.type))
                for field in fields(cls)
                if field.name in config
            }
        )


def _typed(name: str, value: Any, kind: str) -> Any:
    """Check a value's type, since JSON may hold any; lists become tuples, integers floats where one is meant."""
    if kind == "tuple[int, ...]":
        if isinstance(value, list) and all(_is_integer(one) for one in value):
            return tuple(value)
        raise ModelError(f"{name} is {_short(repr(value))}, which is no list of integers")
    fits = {
        "int": _is_integer(value),
        "float": _is_integer(value) or isinstance(value, float),
        "bool": isinstance(value, bool),
        "str": isinstance(value, str),
    }
    if not fits[kind]:
        raise ModelError(f"{name} is {_short(repr(value))}, which is no {kind}")
    if kind != "float":
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _is_integer(value: Any) -> bool:
    # To Python a bool is an int; to a configuration it is not.
    return isinstance(value, int) and not isinstance(value, bool)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
