"""What makes one ECAPA-TDNN different from another, besides its weights. Needs no PyTorch.

B. Desplanques, J. Thienpondt, K. Demuynck, "ECAPA-TDNN: Emphasized Channel Attention, Propagation and Aggregation in
TDNN Based Speaker Verification", Interspeech 2020. Where SpeechBrain (``speechbrain/lobes/models/ECAPA_TDNN.py``) and
WeSpeaker (``wespeaker/models/ecapa_tdnn.py``, ``pooling_layers.py``) went different ways, a field says which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from vecsv.errors import ModelError

PADDINGS: Final = ("zero", "reflect")
PASSED_PARTS: Final = ("first", "last")
DEVIATIONS: Final = ("population", "sample")


@dataclass(frozen=True)
class EcapaSpec:
    """The shape of an ECAPA-TDNN; the defaults are the original design's, with a plain embedding.

    Attributes
    ----------
    bands : int
        Bands of its features.
    channels : tuple of int
        Channels of the first convolution, of each SE-Res2Block, and of the aggregation of all blocks.
    kernels, dilations : tuple of int
        Of the same layers; kernels are odd, so that frames stay as many as they are.
    padding : str
        What a convolution sees beyond a recording: ``"zero"`` (WeSpeaker) or ``"reflect"`` (SpeechBrain).
    norm_first : bool
        Whether a layer's BatchNorm stands before its ReLU; published models have it after.
    scale : int
        Into how many parts a Res2Net layer cuts its channels.
    passed_part : str
        Which of them a Res2Net layer passes on as it is: the ``"first"`` (the original design, SpeechBrain) or the
        ``"last"`` (WeSpeaker).
    se_width : int
        Channels of the squeeze-and-excitation between its two layers.
    attention_width : int
        Channels of the pooling's attention between its two layers.
    attention_norm : bool
        Whether ReLU and BatchNorm stand before the attention's hyperbolic tangent (SpeechBrain).
    global_context : bool
        Whether the attention sees, beside each frame, the mean and deviation over the recording.
    context_deviation : str
        Which deviation that is: ``"population"``, its variance raised to `variance_floor` (SpeechBrain), or
        ``"sample"``, of ``frames - 1`` degrees of freedom with `variance_floor` added to its variance (WeSpeaker).
    variance_floor : float
        Least variance of the pooled frames.
    aggregation_norm : bool
        Whether the aggregation has a BatchNorm (SpeechBrain).
    dim : int
        Length of an embedding.
    output_norm : bool
        Whether a BatchNorm stands after the last layer (the original design; WeSpeaker's ``emb_bn``).

    Raises
    ------
    ModelError
        When values are out of range or do not fit each other.

    Examples
    --------
    >>> EcapaSpec.from_json(SPEECHBRAIN.to_json()) == SPEECHBRAIN
    True
    >>> SPEECHBRAIN.min_frames, WESPEAKER_512.min_frames
    (5, 1)
    """

    bands: int = 80
    channels: tuple[int, ...] = (512, 512, 512, 512, 1536)
    kernels: tuple[int, ...] = (5, 3, 3, 3, 1)
    dilations: tuple[int, ...] = (1, 2, 3, 4, 1)
    padding: str = "zero"
    norm_first: bool = False
    scale: int = 8
    passed_part: str = "first"
    se_width: int = 128
    attention_width: int = 128
    attention_norm: bool = False
    global_context: bool = False
    context_deviation: str = "population"
    variance_floor: float = 1e-7
    aggregation_norm: bool = False
    dim: int = 192
    output_norm: bool = False

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.kernels) == len(self.dilations) >= 3:
            raise _refusal("channels, kernels and dilations have to be as many as each other, and at least three")
        sizes = {
            "bands": (self.bands,),
            "channels": self.channels,
            "kernels": self.kernels,
            "dilations": self.dilations,
            "se_width": (self.se_width,),
            "attention_width": (self.attention_width,),
            "dim": (self.dim,),
        }
        for name, values in sizes.items():
            if any(value < 1 for value in values):
                raise _refusal(f"{name} is {getattr(self, name)}, but has to be at least 1")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise _refusal(f"kernels are {self.kernels}, but have to be odd")
        if self.scale < 2 or any(channels % self.scale for channels in self.channels[1:-1]):
            raise _refusal(f"channels {self.channels[1:-1]} cannot be cut into {self.scale} equal parts of two or more")
        choices = {"padding": PADDINGS, "passed_part": PASSED_PARTS, "context_deviation": DEVIATIONS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise _refusal(f"{name} is {getattr(self, name)!r}, this version knows {', '.join(known)}")
        if not self.variance_floor > 0.0:
            raise _refusal(f"variance_floor is {self.variance_floor}, but has to be positive")

    @property
    def paddings(self) -> tuple[int, ...]:
        """How many frames each layer's convolutions see beyond a recording, on either side."""
        return tuple(
            (kernel - 1) // 2 * dilation for kernel, dilation in zip(self.kernels, self.dilations, strict=True)
        )

    @property
    def min_frames(self) -> int:
        """Fewest frames it can use: what is reflected has to be there, and a sample deviation needs two."""
        reflected = max(self.paddings) + 1 if self.padding == "reflect" else 1
        return max(reflected, 2 if self.global_context and self.context_deviation == "sample" else 1)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON values, every field spelt out."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EcapaSpec:
        """Read a spec that `to_json` wrote.

        Raises
        ------
        ModelError
            When a field is missing, unknown, or of another type than it should be.
        """
        declared = {field.name: str(field.type) for field in fields(cls)}
        if different := sorted(declared.keys() ^ values.keys()):
            raise _refusal(f"unknown or missing: {', '.join(different)}")
        typed: dict[str, Any] = {}
        for name, kind in declared.items():
            value = values[name]
            if not _is_of(kind, value):
                raise _refusal(f"{name} is {value!r}, which is no {kind}")
            typed[name] = tuple(value) if kind.startswith("tuple") else float(value) if kind == "float" else value
        return cls(**typed)


SPEECHBRAIN: Final = EcapaSpec(
    channels=(1024, 1024, 1024, 1024, 3072),
    padding="reflect",
    attention_norm=True,
    global_context=True,
    variance_floor=1e-12,
    aggregation_norm=True,
)
"""``speechbrain/spkrec-ecapa-voxceleb``."""

WESPEAKER_512: Final = EcapaSpec(passed_part="last", context_deviation="sample")
"""WeSpeaker's ``ECAPA_TDNN_c512``."""

WESPEAKER_512_GLOBAL: Final = EcapaSpec(passed_part="last", context_deviation="sample", global_context=True)
"""WeSpeaker's ``ECAPA_TDNN_GLOB_c512``."""

WESPEAKER_1024: Final = EcapaSpec(
    channels=(1024, 1024, 1024, 1024, 1536), passed_part="last", context_deviation="sample"
)
"""WeSpeaker's ``ECAPA_TDNN_c1024``."""

WESPEAKER_1024_GLOBAL: Final = EcapaSpec(
    channels=(1024, 1024, 1024, 1024, 1536), passed_part="last", context_deviation="sample", global_context=True
)
"""WeSpeaker's ``ECAPA_TDNN_GLOB_c1024``."""

ORIGINAL: Final = EcapaSpec(output_norm=True)
"""The paper's figure 2 with 512 channels, its attention without global context."""

VARIANTS: Final[Mapping[str, EcapaSpec]] = {
    "speechbrain": SPEECHBRAIN,
    "wespeaker-512": WESPEAKER_512,
    "wespeaker-512-global": WESPEAKER_512_GLOBAL,
    "wespeaker-1024": WESPEAKER_1024,
    "wespeaker-1024-global": WESPEAKER_1024_GLOBAL,
    "original": ORIGINAL,
}
"""The published designs by name."""


def tensor_shapes(spec: EcapaSpec) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor of the network of a spec: its weights and its BatchNorms' statistics.

    Examples
    --------
    >>> tensor_shapes(SPEECHBRAIN)["blocks.0.parts.6.convolution.weight"]
    (128, 128, 3)
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.{part}": (width,) for part in ("weight", "bias", "running_mean", "running_var")})

    def linear(name: str, inputs: int, outputs: int, *kernel: int) -> None:
        shapes.update({f"{name}.weight": (outputs, inputs, *kernel), f"{name}.bias": (outputs,)})

    def layer(name: str, inputs: int, outputs: int, kernel: int = 1, *, normed: bool = True) -> None:
        linear(f"{name}.convolution", inputs, outputs, kernel)
        if normed:
            norm(f"{name}.norm", outputs)

    layer("stem", spec.bands, spec.channels[0], spec.kernels[0])
    for block, (inputs, width) in enumerate(zip(spec.channels[:-2], spec.channels[1:-1], strict=True)):
        layer(f"blocks.{block}.entry", inputs, width)
        for part in range(spec.scale - 1):
            part_width = width // spec.scale
            layer(f"blocks.{block}.parts.{part}", part_width, part_width, spec.kernels[block + 1])
        layer(f"blocks.{block}.exit", width, width)
        linear(f"blocks.{block}.squeeze", width, spec.se_width)
        linear(f"blocks.{block}.excite", spec.se_width, width)
        if inputs != width:
            linear(f"blocks.{block}.shortcut", inputs, width, 1)
    pooled = spec.channels[-1]
    layer("aggregation", sum(spec.channels[1:-1]), pooled, spec.kernels[-1], normed=spec.aggregation_norm)
    linear("attention.hidden", pooled * (3 if spec.global_context else 1), spec.attention_width)
    if spec.attention_norm:
        norm("attention.norm", spec.attention_width)
    linear("attention.scores", spec.attention_width, pooled)
    norm("pooling_norm", 2 * pooled)
    linear("projection", 2 * pooled, spec.dim)
    if spec.output_norm:
        norm("output_norm", spec.dim)
    return shapes


def _is_of(kind: str, value: object) -> bool:
    if kind.startswith("tuple"):
        return isinstance(value, list | tuple) and all(_is_of("int", one) for one in value)
    if kind == "bool" or isinstance(value, bool):
        return kind == "bool" and isinstance(value, bool)
    if kind == "float":
        return isinstance(value, float | int)
    return isinstance(value, int) if kind == "int" else isinstance(value, str)


def _refusal(what: str) -> ModelError:
    return ModelError(what, where="ECAPA-TDNN")
