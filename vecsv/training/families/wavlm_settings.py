"""How a WavLM is fine-tuned, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vecsv.errors import TrainingError
from vecsv.training.configuration import spec_from


@dataclass(frozen=True)
class WavLMTraining:
    """How a WavLM is fine-tuned: a configuration's ``network`` section.

    Attributes
    ----------
    start_from : str or None
        What to start from where the command does not say: the name or folder of a bundle, a Hugging Face folder with
        or without an x-vector head, or ``hub:OWNER/REPO``.
    revision : str or None
        Commit, branch or tag of a repository of the hub; ``main`` by default.
    trust_first_use : bool
        Whether a repository that nobody has pinned is taken as the hub gives it.
    fresh_head : bool
        Whether the x-vector head is drawn anew even where the model has one.
    dim : int or None
        Length of an embedding of a head that is drawn; None: what the model's configuration says.
    all_layers : bool
        Whether a head that is drawn sees the learned mean of all layers rather than the last one.
    frozen_epochs : int
        For how many epochs only the head learns.
    freeze_feature_encoder : bool
        Whether the convolutions over the waveform never learn.
    frozen_layers : int
        How many of the transformer's layers, from the first on, never learn, nor what comes before them.
    body_rate : float
        What the learning rate is multiplied with for the transformer's last layer.
    layer_decay : float
        What it is multiplied with again for each layer below.
    gradient_checkpointing : bool
        Whether layers are computed again for their gradients rather than kept: less memory, a third more time.
    dropout : float
        Probability of dropout in the layers that learn.

    Examples
    --------
    >>> WavLMTraining(layer_decay=1.5)
    Traceback (most recent call last):
    ...
    vecsv.errors.TrainingError: layer_decay is 1.5, but has to be above 0 and at most 1
    """

    start_from: str | None = None
    revision: str | None = None
    trust_first_use: bool = False
    fresh_head: bool = False
    dim: int | None = None
    all_layers: bool = True
    frozen_epochs: int = 1
    freeze_feature_encoder: bool = True
    frozen_layers: int = 0
    body_rate: float = 0.05
    layer_decay: float = 0.9
    gradient_checkpointing: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("frozen_epochs", "frozen_layers"):
            if getattr(self, name) < 0:
                raise TrainingError(f"{name} is {getattr(self, name)}, but has to be at least 0")
        for name in ("body_rate", "layer_decay"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise TrainingError(f"{name} is {getattr(self, name)}, but has to be above 0 and at most 1")
        if not 0.0 <= self.dropout < 1.0:
            raise TrainingError(f"dropout is {self.dropout}, but has to be at least 0 and below 1")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> WavLMTraining:
        """Read a configuration's ``network`` section; a TrainingError names what is wrong in it.

        Examples
        --------
        >>> WavLMTraining.from_json({"frozen_epochs": 2}).frozen_epochs
        2
        >>> WavLMTraining.from_json({"frozen_epoch": 2})
        Traceback (most recent call last):
        ...
        vecsv.errors.TrainingError: network: unknown: frozen_epoch (it may hold start_from, revision, trust_first_use, \
fresh_head, dim, all_layers, frozen_epochs, freeze_feature_encoder, frozen_layers, body_rate, layer_decay, \
gradient_checkpointing, dropout)
        """
        return spec_from(cls, values, "network")
