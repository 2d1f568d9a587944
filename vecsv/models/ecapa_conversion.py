"""From SpeechBrain's and WeSpeaker's ECAPA-TDNN checkpoints to a bundle's content.

The names of their tensors were read from ``speechbrain/lobes/models/ECAPA_TDNN.py`` (SpeechBrain 1.1) and from
``wespeaker/models/ecapa_tdnn.py`` and ``pooling_layers.py`` (WeSpeaker). The design is worked out from the tensors'
shapes; only dilations, padding and the pooling's floors do not show there and are taken from the toolkit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from vecsv.checkpoints.hugging_face import as_float32
from vecsv.errors import ModelError
from vecsv.frontend import known
from vecsv.frontend.spec import FrontendSpec
from vecsv.models.conversion import Conversion
from vecsv.models.fitting import listed, require_fit
from vecsv.networks.ecapa_spec import SPEECHBRAIN, WESPEAKER_512, EcapaSpec, tensor_shapes

FAMILY: Final = "ecapa-tdnn"
INPUT: Final = "features"
OUTPUT: Final = "embedding"

Tensors = Mapping[str, NDArray[Any]]

# Written by PyTorch beside a BatchNorm's statistics: how often they were updated.
_COUNTER: Final = ".num_batches_tracked"
# The classifier over the training speakers, which WeSpeaker keeps with the network.
_CLASSIFIER: Final = "projection."
# Long enough to follow every layer, short enough to be quick.
_EXAMPLE_FRAMES: Final = 50


def speechbrain_names(spec: EcapaSpec) -> dict[str, str]:
    """Map the name of each of our tensors to SpeechBrain's.

    Examples
    --------
    >>> speechbrain_names(SPEECHBRAIN)["blocks.2.parts.6.norm.running_var"]
    'blocks.3.res2net_block.blocks.6.norm.norm.running_var'
    """
    modules = {
        "stem.convolution": "blocks.0.conv.conv",
        "stem.norm": "blocks.0.norm.norm",
        "aggregation.convolution": "mfa.conv.conv",
        "aggregation.norm": "mfa.norm.norm",
        "attention.hidden": "asp.tdnn.conv.conv",
        "attention.norm": "asp.tdnn.norm.norm",
        "attention.scores": "asp.conv.conv",
        "pooling_norm": "asp_bn.norm",
        "projection": "fc.conv",
    }
    for block in range(len(spec.channels) - 2):
        ours, theirs = f"blocks.{block}", f"blocks.{block + 1}"
        modules |= {
            f"{ours}.entry.convolution": f"{theirs}.tdnn1.conv.conv",
            f"{ours}.entry.norm": f"{theirs}.tdnn1.norm.norm",
            f"{ours}.exit.convolution": f"{theirs}.tdnn2.conv.conv",
            f"{ours}.exit.norm": f"{theirs}.tdnn2.norm.norm",
            f"{ours}.squeeze": f"{theirs}.se_block.conv1.conv",
            f"{ours}.excite": f"{theirs}.se_block.conv2.conv",
            f"{ours}.shortcut": f"{theirs}.shortcut.conv",
        }
        for part in range(spec.scale - 1):
            modules |= {
                f"{ours}.parts.{part}.convolution": f"{theirs}.res2net_block.blocks.{part}.conv.conv",
                f"{ours}.parts.{part}.norm": f"{theirs}.res2net_block.blocks.{part}.norm.norm",
            }
    return _tensor_names(spec, modules)


def wespeaker_names(spec: EcapaSpec) -> dict[str, str]:
    """Map the name of each of our tensors to WeSpeaker's.

    Examples
    --------
    >>> wespeaker_names(WESPEAKER_512)["blocks.2.parts.6.norm.running_var"]
    'layer4.se_res2block.1.bns.6.running_var'
    """
    modules = {
        "stem.convolution": "layer1.conv",
        "stem.norm": "layer1.bn",
        "aggregation.convolution": "conv",
        "attention.hidden": "pool.linear1",
        "attention.scores": "pool.linear2",
        "pooling_norm": "bn",
        "projection": "linear",
        "output_norm": "bn2",
    }
    for block in range(len(spec.channels) - 2):
        ours, theirs = f"blocks.{block}", f"layer{block + 2}.se_res2block"
        modules |= {
            f"{ours}.entry.convolution": f"{theirs}.0.conv",
            f"{ours}.entry.norm": f"{theirs}.0.bn",
            f"{ours}.exit.convolution": f"{theirs}.2.conv",
            f"{ours}.exit.norm": f"{theirs}.2.bn",
            f"{ours}.squeeze": f"{theirs}.3.linear1",
            f"{ours}.excite": f"{theirs}.3.linear2",
        }
        for part in range(spec.scale - 1):
            modules |= {
                f"{ours}.parts.{part}.convolution": f"{theirs}.1.convs.{part}",
                f"{ours}.parts.{part}.norm": f"{theirs}.1.bns.{part}",
            }
    return _tensor_names(spec, modules)


def _tensor_names(spec: EcapaSpec, modules: Mapping[str, str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for tensor in tensor_shapes(spec):
        module, _, part = tensor.rpartition(".")
        names[tensor] = f"{modules[module]}.{part}"
    return names


def recognise(names: Iterable[str]) -> Literal["speechbrain", "wespeaker"] | None:
    """Say which toolkit's ECAPA-TDNN a checkpoint's tensor names are of; None when of neither.

    Examples
    --------
    >>> recognise(["layer1.conv.weight", "layer2.se_res2block.0.conv.weight"])
    'wespeaker'
    """
    known = set(names)
    if any(name.startswith("blocks.") and ".res2net_block." in name for name in known):
        return "speechbrain"
    if any(name.startswith("layer") and ".se_res2block." in name for name in known):
        return "wespeaker"
    return None


def from_speechbrain(tensors: Tensors, *, where: str) -> Conversion:
    """Read SpeechBrain's ``embedding_model.ckpt``.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        Its state dict.
    where : str
        What to call it in errors.

    Raises
    ------
    ModelError
        When tensors are missing, unexpected, of a wrong shape or not finite, with a list of them; or when PyTorch,
        which the network is written as ONNX with, is not installed.
    """
    blocks = _count(tensors, "blocks.{}.res2net_block.", first=1)
    parts = [_count(tensors, f"blocks.{block + 1}.res2net_block.blocks.{{}}.") for block in range(blocks)]
    spec = _inferred(SPEECHBRAIN, parts, speechbrain_names, tensors, where)
    return _conversion(spec, speechbrain_names(spec), tensors, frontend=known.SPEECHBRAIN, unneeded=(), where=where)


def from_wespeaker(tensors: Tensors, *, where: str) -> Conversion:
    """Read the ``avg_model.pt`` of WeSpeaker's ECAPA-TDNN, of 512 or 1024 channels, with global context or without.

    Parameters and errors are those of `from_speechbrain`. The pooling's least variance is 1e-7, as WeSpeaker has it
    now; in its first versions it was 1e-10, which matters only to channels that hardly vary.
    """
    blocks = _count(tensors, "layer{}.se_res2block.", first=2)
    parts = [_count(tensors, f"layer{block + 2}.se_res2block.1.convs.{{}}.") for block in range(blocks)]
    base = replace(WESPEAKER_512, output_norm="bn2.weight" in tensors)
    spec = _inferred(base, parts, wespeaker_names, tensors, where)
    names = wespeaker_names(spec)
    return _conversion(spec, names, tensors, frontend=known.WESPEAKER, unneeded=(_CLASSIFIER,), where=where)


def _count(tensors: Tensors, pattern: str, first: int = 0) -> int:
    """How many parts with numbers from `first` on a checkpoint has, going by the largest in its tensors' names."""
    before, _, after = pattern.partition("{}")
    largest = first - 1
    for name in tensors:
        number, found, _ = name.removeprefix(before).partition(after)
        # No honest checkpoint numbers further than it has tensors.
        if name.startswith(before) and found and number.isascii() and number.isdecimal() and len(number) < 4:
            largest = max(largest, int(number))
    return largest - first + 1


def _inferred(
    base: EcapaSpec, parts: list[int], names_of: Callable[[EcapaSpec], dict[str, str]], tensors: Tensors, where: str
) -> EcapaSpec:
    """Work a design out from tensors' shapes; what none shows is the base's, and what does not fit is found later."""
    blocks = len(parts) or len(base.channels) - 2
    scale = max(2, 1 + max(parts, default=base.scale - 1))
    dilations = (1, *range(2, blocks + 2), 1)
    draft = replace(
        base, channels=(scale,) * (blocks + 2), kernels=(1,) * (blocks + 2), dilations=dilations, scale=scale
    )
    shapes = {ours: tensors[theirs].shape for ours, theirs in names_of(draft).items() if theirs in tensors}

    def size(otherwise: int, *places: tuple[str, int]) -> int:
        """What most of the tensors say that have this size, so that one of a wrong shape stands out later."""
        found = Counter(shapes[name][axis] for name, axis in places if axis < len(shapes.get(name, ())))
        return max(1, found.most_common(1)[0][0]) if found else otherwise

    def width(layer: str, otherwise: int) -> int:
        names = "convolution.weight", "convolution.bias", "norm.weight", "norm.bias"
        return size(otherwise, *((f"{layer}.{name}", 0) for name in names))

    wide = width("aggregation", base.channels[-1])
    try:
        return replace(
            draft,
            bands=size(base.bands, ("stem.convolution.weight", 1)),
            channels=(
                width("stem", base.channels[0]),
                *(width(f"blocks.{block}.entry", base.channels[1]) for block in range(blocks)),
                wide,
            ),
            kernels=(
                size(base.kernels[0], ("stem.convolution.weight", 2)),
                *(
                    size(
                        base.kernels[1],
                        *((f"blocks.{block}.parts.{part}.convolution.weight", 2) for part in range(count)),
                    )
                    for block, count in enumerate(parts or [0] * blocks)
                ),
                size(base.kernels[-1], ("aggregation.convolution.weight", 2)),
            ),
            se_width=size(base.se_width, *((f"blocks.{block}.squeeze.bias", 0) for block in range(blocks))),
            attention_width=size(
                base.attention_width,
                ("attention.hidden.weight", 0),
                ("attention.hidden.bias", 0),
                ("attention.scores.weight", 1),
            ),
            global_context=size(wide, ("attention.hidden.weight", 1)) > wide,
            dim=size(base.dim, ("projection.weight", 0), ("projection.bias", 0)),
        )
    except ModelError as error:
        raise ModelError(f"{error.what}, going by its tensors' shapes", where=where) from error


def _conversion(
    spec: EcapaSpec,
    names: Mapping[str, str],
    tensors: Tensors,
    *,
    frontend: FrontendSpec,
    unneeded: tuple[str, ...],
    where: str,
) -> Conversion:
    needed = set(names.values())
    passed = sorted(
        name for name in tensors if name not in needed and (name.endswith(_COUNTER) or name.startswith(unneeded))
    )
    fitted = _fitted(spec, names, {name: tensors[name] for name in tensors.keys() - set(passed)}, where)
    notes = [
        f"dilations {', '.join(map(str, spec.dilations))} and {spec.padding} padding are assumed: no tensor shows them"
    ]
    if passed:
        notes.append(f"of training only, and not needed: {listed(passed)}")
    if any(tensors[name].dtype != np.float32 for name in needed):
        notes.append("its half-precision numbers were widened to float32")
    return Conversion(
        family=FAMILY,
        dim=spec.dim,
        frontend=frontend,
        tensors=fitted,
        network=spec.to_json(),
        graph=graph(spec, fitted),
        notes=tuple(notes),
    )


def _fitted(spec: EcapaSpec, names: Mapping[str, str], tensors: Tensors, where: str) -> dict[str, NDArray[np.float32]]:
    """Give a checkpoint's tensors our names and shapes; a ModelError that lists all that does not fit."""
    shapes = tensor_shapes(spec)
    expected = {theirs: shapes[ours] for ours, theirs in names.items()}
    for theirs, shape in expected.items():
        # A dense layer may be written as a convolution that sees one frame.
        if len(shape) == 2 and theirs in tensors and tensors[theirs].shape == (*shape, 1):
            expected[theirs] = (*shape, 1)
    require_fit(tensors, expected, where=where)
    widened = as_float32(tensors, where=where)
    return {ours: np.ascontiguousarray(widened[theirs]).reshape(shapes[ours]) for ours, theirs in names.items()}


def graph(spec: EcapaSpec, tensors: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Write the network of a spec and its tensors, under our names, as a serialised ONNX model.

    It takes float32 ``(batch, frames, bands)`` of recordings of one length, and gives float32 ``(batch, dim)``.

    Raises
    ------
    ModelError
        When PyTorch is not installed.
    """
    try:
        import torch

        from vecsv.networks.ecapa_tdnn import EcapaTdnn
        from vecsv.networks.export import onnx_graph
    except ImportError as error:
        raise ModelError(
            "reading an ECAPA-TDNN checkpoint needs PyTorch, which is not installed", hint="pip install 'vecsv[torch]'"
        ) from error
    network = EcapaTdnn.of(spec, {name: torch.tensor(tensor) for name, tensor in tensors.items()})
    example = torch.zeros(2, max(_EXAMPLE_FRAMES, 2 * spec.min_frames), spec.bands)
    return onnx_graph(network, example, input_name=INPUT, output_name=OUTPUT, dynamic={0: "batch", 1: "frames"})
