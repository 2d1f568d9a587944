"""The WavLM x-vector network: ``WavLMForXVector`` of ``transformers``, as far as its embeddings need it.

S. Chen et al., "WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech Processing", IEEE JSTSP 2022,
with the x-vector head of D. Snyder et al., "X-Vectors: Robust DNN Embeddings for Speaker Recognition", ICASSP 2018.
There is no second implementation here: the layers, their order and their names are those of the package.

Recordings of one length only may share a batch. The package's attention mask would not do for others: its convolutions'
group normalisation sees the padding, and its pooling takes lengths that leave the dilation out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import nn
from torch.nn.utils import parametrize

from vecsv.errors import ModelError
from vecsv.networks.wavlm_spec import WavLMSpec

# Most numbers that a network may hold: three times those of WavLM Large with its x-vector head.
MOST_PARAMETERS: Final = 1_000_000_000

BODY: Final = "wavlm."
"""How names of tensors begin that are the transformer's, and not of its x-vector head."""

_POSITIONS: Final = "wavlm.encoder.pos_conv_embed.conv."
# Weight normalisation's two parts, as published checkpoints call them and as PyTorch does since 2.0.
_RENAMED: Final[Mapping[str, str]] = {
    f"{_POSITIONS}weight_g": f"{_POSITIONS}parametrizations.weight.original0",
    f"{_POSITIONS}weight_v": f"{_POSITIONS}parametrizations.weight.original1",
}
_CANONICAL: Final[Mapping[str, str]] = {new: old for old, new in _RENAMED.items()}


class WavLMXVector(nn.Module):
    """From waveforms of one length to x-vectors.

    Parameters
    ----------
    spec : WavLMSpec
        The network's size. Its weights are those that PyTorch starts training with, until others are loaded.
    dropout : float
        Probability that a number of the transformer is dropped in training mode. Whole layers never are: the learned
        mean of all layers needs each of them.

    Raises
    ------
    ModelError
        When it would be larger than vecsv takes.
    """

    def __init__(self, spec: WavLMSpec, *, dropout: float = 0.0) -> None:
        import transformers

        # Its annotations name fewer arguments than it takes.
        package: Any = transformers
        super().__init__()
        # Without masks, which only training knows, there is no vector to mask frames with.
        config = package.WavLMConfig(
            **spec.to_json(),
            mask_time_prob=0.0,
            mask_feature_prob=0.0,
            hidden_dropout=dropout,
            attention_dropout=dropout,
            activation_dropout=dropout,
            feat_proj_dropout=0.0,
            layerdrop=0.0,
            num_labels=1,
        )
        self.network: Any = package.WavLMForXVector(config)
        # The speakers of its training: an embedding is what goes into this layer.
        self.network.classifier = nn.Identity()
        self.network.objective = nn.Identity()

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        """Embed waveforms ``(batch, samples)``; ``(batch, dim)``, not scaled to unit length."""
        embeddings: torch.Tensor = self.network(waves).embeddings
        return embeddings


def canonical_name(name: str) -> str:
    """Name of a tensor in vecsv, whichever version of the package wrote it.

    Examples
    --------
    >>> canonical_name("wavlm.encoder.pos_conv_embed.conv.parametrizations.weight.original0")
    'wavlm.encoder.pos_conv_embed.conv.weight_g'
    """
    return _CANONICAL.get(name, name)


def expected_shapes(spec: WavLMSpec) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor that the network needs; no memory is taken for them.

    Raises
    ------
    ModelError
        When they are more numbers than vecsv takes.

    Examples
    --------
    >>> expected_shapes(WavLMSpec())["feature_extractor.weight"]
    (512, 3000)
    """
    state = _unfilled(spec).network.state_dict()
    return {canonical_name(name): tuple(tensor.shape) for name, tensor in state.items()}


def with_tensors(spec: WavLMSpec, tensors: Mapping[str, torch.Tensor]) -> WavLMXVector:
    """Make the network with these weights, in evaluation mode and without gradients.

    Parameters
    ----------
    spec : WavLMSpec
    tensors : mapping of str to Tensor
        Float32, exactly those of `expected_shapes`. They become the network's own.

    Raises
    ------
    ModelError
        When one is missing, unknown or of another shape, or the installed package cannot compute this network.
    """
    module = _filled(spec, tensors, dropout=0.0)
    module.requires_grad_(False)
    # The normalised weight is the same in each call, and no graph should work it out again.
    parametrize.remove_parametrizations(module.network.wavlm.encoder.pos_conv_embed.conv, "weight")
    module.eval()
    if spec.do_stable_layer_norm and spec.use_weighted_layer_sum:
        _require_last_layer(module, spec)
    return module


def trainable(spec: WavLMSpec, tensors: Mapping[str, torch.Tensor], *, dropout: float = 0.0) -> WavLMXVector:
    """Make the network with these weights, to be trained further; in evaluation mode it is that of `with_tensors`.

    The weight normalisation of the convolution that tells positions stays: what learns are the two tensors that a
    checkpoint holds, so that training goes on in the form it began in, and its result needs no other form.

    Parameters
    ----------
    spec : WavLMSpec
    tensors : mapping of str to Tensor
        As for `with_tensors`.
    dropout : float
        See `WavLMXVector`.

    Returns
    -------
    WavLMXVector
        In training mode. Every parameter learns, but for a normalisation that the embedding does not depend on.

    Raises
    ------
    ModelError
        See `with_tensors`.
    """
    module = _filled(spec, tensors, dropout=dropout)
    # Otherwise the package works out gradients of the waveform, which nobody looks at.
    module.network.wavlm.feature_extractor._requires_grad = False
    module.eval()
    if spec.do_stable_layer_norm and spec.use_weighted_layer_sum:
        _require_last_layer(module, spec)
    module.requires_grad_(True)
    module.network.wavlm.encoder.layer_norm.requires_grad_(normalises_last_layer(spec))
    return module.train()


def normalises_last_layer(spec: WavLMSpec) -> bool:
    """Whether an embedding depends on the normalisation of the transformer's input or output, wherever it is."""
    return spec.tie_last_hidden_states or not (spec.do_stable_layer_norm and spec.use_weighted_layer_sum)


def checkpoint_layers(module: WavLMXVector) -> None:
    """Have each layer of a network in training mode computed again for its gradient rather than kept in memory."""
    network = module.network
    # Called so since 5.23 of the package, which warns of the older name.
    enable = getattr(network, "activation_checkpointing_enable", None) or network.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def canonical_state(module: WavLMXVector) -> dict[str, torch.Tensor]:
    """The weights of a network that `trainable` made, under the names of `expected_shapes`; not copied."""
    return {canonical_name(name): tensor.detach() for name, tensor in module.network.state_dict().items()}


def fresh_head(spec: WavLMSpec, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Draw an x-vector head: every tensor of `expected_shapes` outside the transformer.

    Weights are drawn so that numbers keep their size from layer to layer (K. He et al., "Delving Deep into Rectifiers",
    ICCV 2015): there is no normalisation that would make up for it. Biases are 0, and all layers count alike.
    """
    drawn = {}
    for name, shape in expected_shapes(spec).items():
        if name.startswith(BODY):
            continue
        tensor = torch.zeros(shape)
        if len(shape) == 2:
            rectified = name.startswith("tdnn.")
            bound = math.sqrt((6.0 if rectified else 3.0) / shape[1])
            tensor.uniform_(-bound, bound, generator=generator)
        drawn[name] = tensor
    return drawn


def _filled(spec: WavLMSpec, tensors: Mapping[str, torch.Tensor], *, dropout: float) -> WavLMXVector:
    module = _unfilled(spec, dropout=dropout)
    try:
        module.network.load_state_dict(
            {_RENAMED.get(name, name): tensor for name, tensor in tensors.items()}, assign=True
        )
    except RuntimeError as error:
        raise ModelError("its tensors are not those of its network") from error
    return module


def _require_last_layer(module: WavLMXVector, spec: WavLMSpec) -> None:
    """Refuse a version of the package that takes the last layer in another place than the network was trained with."""
    wave = torch.linspace(-1.0, 1.0, spec.min_samples)[None]
    with torch.inference_mode():
        layers = module.network.wavlm(wave, output_hidden_states=True)
    if torch.equal(layers.hidden_states[-1], layers.last_hidden_state) != spec.tie_last_hidden_states:
        raise ModelError(
            "the installed transformers has no tie_last_hidden_states, which this network needs",
            hint="pip install --upgrade transformers",
        )


def _unfilled(spec: WavLMSpec, *, dropout: float = 0.0) -> WavLMXVector:
    """Make the network without memory for its weights."""
    with torch.device("meta"):
        module = WavLMXVector(spec, dropout=dropout)
    parameters = sum(tensor.numel() for tensor in module.parameters())
    if parameters > MOST_PARAMETERS:
        raise ModelError(f"its network holds {parameters} numbers, but vecsv takes at most {MOST_PARAMETERS}")
    return module
