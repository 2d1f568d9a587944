"""What the trainer needs to know of a network that it trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import nn

from vecsv.frontend.spec import FrontendSpec
from vecsv.models.conversion import Conversion


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn alike.

    Attributes
    ----------
    name : str
        What logs call it.
    parameters : tuple of Parameter
        Those, whether they learn now or not.
    rate : float
        What the learning rate is multiplied with for them.
    decays : bool
        Whether weight decay shrinks them.
    """

    name: str
    parameters: tuple[nn.Parameter, ...]
    rate: float = 1.0
    decays: bool = True


class Trainable(Protocol):
    """A network to train."""

    @property
    def front_end(self) -> FrontendSpec:
        """What it sees."""

    @property
    def network(self) -> nn.Module:
        """From features ``(batch, frames, bands)`` or waveforms ``(batch, samples)`` to embeddings ``(batch, dim)``."""

    @property
    def dim(self) -> int:
        """Length of an embedding."""

    def groups(self) -> list[ParameterGroup]:
        """All its parameters, each in exactly one group, in an order that is always the same."""

    def start_epoch(self, epoch: int) -> bool:
        """Freeze or free parameters for an epoch, counted from 0; True when others learn now than before."""

    def conversion(self) -> Conversion:
        """Its state as a bundle's content, the network as an ONNX graph included; the network itself stays as it is."""
