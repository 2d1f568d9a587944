"""A WavLM x-vector network that learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vecsv.frontend.spec import WaveformSpec
from vecsv.models.conversion import Conversion
from vecsv.models.wavlm_folder import torch_networks
from vecsv.models.wavlm_start import StartingPoint
from vecsv.models.wavlm_xvector import conversion_of
from vecsv.networks.wavlm_spec import WavLMSpec
from vecsv.training.families.protocol import ParameterGroup
from vecsv.training.families.wavlm_layers import FEATURE_ENCODER, decaying, depth_of, name_of
from vecsv.training.families.wavlm_settings import WavLMTraining

if TYPE_CHECKING:
    from vecsv.networks.wavlm import WavLMXVector


class WavLMNetwork(nn.Module):
    """The network as it learns: what is frozen in it is in evaluation mode even while the rest is in training mode.

    Parameters
    ----------
    model : WavLMXVector
        As `vecsv.networks.wavlm.trainable` makes it.
    """

    def __init__(self, model: WavLMXVector) -> None:
        super().__init__()
        self.model = model

    def forward(self, waves: Tensor) -> Tensor:
        """Embed waveforms ``(batch, samples)`` of one length; ``(batch, dim)``, not scaled to unit length."""
        embeddings: Tensor = self.model(waves)
        return embeddings

    def train(self, mode: bool = True) -> WavLMNetwork:
        """Switch between training and evaluation; dropout would teach nothing to what does not learn."""
        super().train(mode)
        for module in self.model.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        return self


class WavLMFineTuning:
    """A WavLM that learns; see `vecsv.training.families.protocol.Trainable`.

    Parameters
    ----------
    start : StartingPoint
        What it starts from.
    settings : WavLMTraining
        How it learns.
    seed : int
        What a head that is drawn follows from.
    """

    def __init__(self, start: StartingPoint, settings: WavLMTraining, *, seed: int) -> None:
        self._networks = torch_networks()
        self._start = start
        self._settings = settings
        tensors = {name: torch.tensor(tensor) for name, tensor in start.tensors.items()}
        if not start.has_head:
            tensors |= self._networks.fresh_head(start.spec, torch.Generator().manual_seed(seed))
        model = self._networks.trainable(start.spec, tensors, dropout=settings.dropout)
        if settings.gradient_checkpointing:
            self._networks.checkpoint_layers(model)
        self._network = WavLMNetwork(model)
        # What an embedding does not depend on never learns.
        self._useless = {name for name, parameter in self._named() if not parameter.requires_grad}
        self.start_epoch(0)

    @property
    def front_end(self) -> WaveformSpec:
        """What it sees: the waveform, scaled as the model that it started from has it."""
        return self._start.frontend

    @property
    def network(self) -> WavLMNetwork:
        """From waveforms ``(batch, samples)`` to embeddings ``(batch, dim)``."""
        return self._network

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self._start.spec.xvector_output_dim

    @property
    def spec(self) -> WavLMSpec:
        """The network's size."""
        return self._start.spec

    @property
    def source(self) -> Mapping[str, Any]:
        """What it started from, as JSON values."""
        return self._start.source

    def groups(self) -> list[ParameterGroup]:
        """A group for each layer's weights, which decay, and one for its biases and norms, which do not."""
        weights = decaying(self._network)
        found = []
        for depth in range(FEATURE_ENCODER, self.spec.num_hidden_layers + 2):
            held = [parameter for name, parameter in self._named() if depth_of(name, self.spec) == depth]
            for decays in (True, False):
                chosen = tuple(parameter for parameter in held if (id(parameter) in weights) == decays)
                if chosen:
                    name = name_of(depth, self.spec) + ("" if decays else ", biases and norms")
                    found.append(ParameterGroup(name, chosen, rate=self._rate(depth), decays=decays))
        return found

    def start_epoch(self, epoch: int) -> bool:
        """Freeze or free parameters for an epoch, counted from 0; True when others learn now than before."""
        changed = False
        for name, parameter in self._named():
            learns = name not in self._useless and self._learns(depth_of(name, self.spec), epoch)
            changed |= learns != parameter.requires_grad
            parameter.requires_grad_(learns)
        self._network.train(self._network.training)
        return changed

    def conversion(self) -> Conversion:
        """Its state as a bundle's content, the network as an ONNX graph included."""
        state = self._networks.canonical_state(self._network.model)
        shapes = self._networks.expected_shapes(self.spec)
        tensors = {name: state[name].cpu().float().numpy().copy() for name in shapes}
        return conversion_of(self.spec, self._start.frontend, tensors, where="the trained network")

    def _named(self) -> list[tuple[str, nn.Parameter]]:
        """Every parameter under the package's name."""
        return list(self._network.model.network.named_parameters())

    def _rate(self, depth: int) -> float:
        above = self.spec.num_hidden_layers - depth
        return 1.0 if above < 0 else self._settings.body_rate * self._settings.layer_decay**above

    def _learns(self, depth: int, epoch: int) -> bool:
        if depth > self.spec.num_hidden_layers:
            return True
        lowest = self._settings.frozen_layers + 1 if self._settings.frozen_layers else FEATURE_ENCODER
        if epoch < self._settings.frozen_epochs or depth < lowest:
            return False
        return depth != FEATURE_ENCODER or not self._settings.freeze_feature_encoder
