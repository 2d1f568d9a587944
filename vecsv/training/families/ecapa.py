"""ECAPA-TDNN from scratch, or from a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from vecsv.errors import ModelError, TrainingError
from vecsv.frontend.compute import bands_of
from vecsv.frontend.spec import FrontendSpec, WaveformSpec
from vecsv.models import registry
from vecsv.models.bundle import read_bundle
from vecsv.models.conversion import Conversion
from vecsv.models.ecapa_conversion import FAMILY, graph
from vecsv.models.ecapa_tdnn import module
from vecsv.networks.ecapa_spec import VARIANTS, EcapaSpec, tensor_shapes
from vecsv.networks.ecapa_tdnn import EcapaTdnn
from vecsv.training.families.protocol import ParameterGroup

_VARIANT: Final = "variant"


class EcapaTraining:
    """An ECAPA-TDNN that learns; see `vecsv.training.families.protocol.Trainable`.

    Parameters
    ----------
    front_end : FrontendSpec
        What it sees.
    network : EcapaTdnn
        In any state.
    """

    def __init__(self, front_end: FrontendSpec, network: EcapaTdnn) -> None:
        self._front_end = front_end
        self._network = network

    @property
    def front_end(self) -> FrontendSpec:
        """What it sees."""
        return self._front_end

    @property
    def network(self) -> nn.Module:
        """From features ``(batch, frames, bands)`` to embeddings ``(batch, dim)``."""
        return self._network

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self._network.spec.dim

    def groups(self) -> list[ParameterGroup]:
        """Weights, which decay, and biases and norms, which do not."""
        weights = tuple(parameter for parameter in self._network.parameters() if parameter.ndim > 1)
        others = tuple(parameter for parameter in self._network.parameters() if parameter.ndim <= 1)
        return [ParameterGroup("weights", weights), ParameterGroup("biases and norms", others, decays=False)]

    def start_epoch(self, epoch: int) -> bool:
        """All of it learns in each epoch."""
        return False

    def conversion(self) -> Conversion:
        """Its state as a bundle's content."""
        spec = self._network.spec
        state = self._network.state_dict()
        tensors = {name: state[name].detach().cpu().float().numpy().copy() for name in tensor_shapes(spec)}
        return Conversion(
            family=FAMILY,
            dim=spec.dim,
            frontend=self._front_end,
            tensors=tensors,
            network=spec.to_json(),
            graph=graph(spec, tensors),
        )


def start(
    front_end: FrontendSpec, network: Mapping[str, Any], *, start_from: str | Path | None, seed: int
) -> EcapaTraining:
    """Make the network that a training begins with.

    Parameters
    ----------
    front_end : FrontendSpec
        What it will see. A bundle that it starts from has to see the same.
    network : mapping
        Fields of `EcapaSpec` besides ``bands``, and ``variant``: the published design that gives those left out.
    start_from : str or Path or None
        Name or folder of a bundle to go on from; None draws weights.
    seed : int
        What drawn weights follow from.

    Raises
    ------
    ModelError, TrainingError
        When the network cannot be made, or the bundle is another network or sees something else.

    Examples
    --------
    >>> from vecsv.frontend.spec import LogMelSpec
    >>> small = {"channels": [16, 16, 16, 48], "kernels": [5, 3, 3, 1], "dilations": [1, 2, 3, 1]}
    >>> start(LogMelSpec(), small, start_from=None, seed=0).dim
    192
    """
    spec = _spec(front_end, network)
    if start_from is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return EcapaTraining(front_end, EcapaTdnn(spec).train())
    folder = registry.locate(start_from)
    found = read_bundle(folder)
    loaded = module(folder)
    if loaded.spec != spec:
        different = sorted(name for name, value in spec.to_json().items() if loaded.spec.to_json()[name] != value)
        raise TrainingError(
            f"is another network than the configuration's: {', '.join(different)}",
            where=str(start_from),
            hint="give the network section of the configuration that it was trained with",
        )
    if found.frontend != front_end:
        raise TrainingError(
            "sees other features than the configuration's front_end",
            where=str(start_from),
            hint="give the front_end section of the configuration that it was trained with",
        )
    return EcapaTraining(front_end, loaded.train())


def _spec(front_end: FrontendSpec, network: Mapping[str, Any]) -> EcapaSpec:
    if isinstance(front_end, WaveformSpec):
        raise TrainingError("an ECAPA-TDNN sees bands, not a waveform", where="front_end")
    variant = network.get(_VARIANT, "original")
    if variant not in VARIANTS:
        raise TrainingError(f"variant is {variant!r}, this version knows {', '.join(VARIANTS)}", where="network")
    if "bands" in network:
        raise TrainingError("bands are the front end's: leave them out", where="network")
    base = replace(VARIANTS[variant], bands=bands_of(front_end)).to_json()
    chosen = {name: value for name, value in network.items() if name != _VARIANT}
    if unknown := sorted(chosen.keys() - base.keys()):
        raise TrainingError(f"unknown: {', '.join(unknown)}", where="network", hint=f"it may hold {', '.join(base)}")
    try:
        return EcapaSpec.from_json({**base, **chosen})
    except ModelError as error:
        raise TrainingError(error.what, where="network") from error
