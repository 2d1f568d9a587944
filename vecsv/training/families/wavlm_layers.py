"""Where each parameter of a WavLM stands between the waveform and the embedding, and whether weight decay is for it."""

from __future__ import annotations

import re
from typing import Final

from torch import nn

from vecsv.networks.wavlm_spec import WavLMSpec

FEATURE_ENCODER: Final = -1
"""Depth of the convolutions over the waveform."""

PROJECTION: Final = 0
"""Depth of what lies between those and the transformer's layers, whose depths count from 1; the head is above all."""

_BODY: Final = "wavlm."
_LAYER: Final = re.compile(r"wavlm\.encoder\.layers\.(\d+)\.")


def depth_of(name: str, spec: WavLMSpec) -> int:
    """Depth of a parameter, by its name in the package's ``WavLMForXVector``.

    Examples
    --------
    >>> base = WavLMSpec(num_hidden_layers=12)
    >>> names = ["feature_extractor.conv_layers.0.conv.weight", "feature_projection.projection.bias"]
    >>> [depth_of(f"wavlm.{name}", base) for name in [*names, "encoder.layers.11.layer_norm.bias"]]
    [-1, 0, 12]
    >>> depth_of("projector.weight", base)
    13
    """
    if not name.startswith(_BODY):
        return spec.num_hidden_layers + 1
    if found := _LAYER.match(name):
        return int(found[1]) + 1
    if name.startswith(f"{_BODY}feature_extractor."):
        return FEATURE_ENCODER
    if name.startswith(f"{_BODY}encoder.layer_norm.") and spec.do_stable_layer_norm:
        # There it normalises what comes out of the last layer, elsewhere what goes into the first.
        return spec.num_hidden_layers
    return PROJECTION


def name_of(depth: int, spec: WavLMSpec) -> str:
    """What to call a depth.

    Examples
    --------
    >>> [name_of(depth, WavLMSpec(num_hidden_layers=2)) for depth in range(-1, 4)]
    ['feature encoder', 'projection', 'layer 1', 'layer 2', 'x-vector head']
    """
    if depth > spec.num_hidden_layers:
        return "x-vector head"
    return {FEATURE_ENCODER: "feature encoder", PROJECTION: "projection"}.get(depth, f"layer {depth}")


def decaying(network: nn.Module) -> set[int]:
    """The ``id`` of each weight of a dense layer or convolution; biases, norms and gains are not to shrink.

    Nor is a normalised weight, whose direction is a parameter of its normalisation: that one's length means nothing.
    """
    return {
        id(parameter)
        for module in network.modules()
        if isinstance(module, nn.Linear | nn.Conv1d)
        for name, parameter in module.named_parameters(recurse=False)
        if name == "weight"
    }
