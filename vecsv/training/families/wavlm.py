"""WavLM with an x-vector head, fine-tuned from a model that is there.

The transformer stays frozen for the first epochs, so that a head that knows nothing does not spoil it; then its layers
learn at rates that fall with depth, since the first ones hold what all speech has in common (J. Howard and S. Ruder,
"Universal Language Model Fine-tuning for Text Classification", ACL 2018: gradual unfreezing and discriminative
fine-tuning; K. Clark et al., "ELECTRA", ICLR 2020: a rate that falls by a factor from layer to layer).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from vecsv.errors import TrainingError
from vecsv.fetching.sources import HubSource
from vecsv.models import registry
from vecsv.models.cards import known_models
from vecsv.models.pretrained import fetch_pretrained, pin_of
from vecsv.models.wavlm_start import FreshHead, StartingPoint, read_start
from vecsv.training.families.wavlm_settings import WavLMTraining
from vecsv.training.families.wavlm_tuning import WavLMFineTuning

__all__ = ["WavLMFineTuning", "WavLMTraining", "start"]

_HUB: Final = "hub:"
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


def start(
    network: WavLMTraining,
    *,
    start_from: str | Path | None,
    seed: int,
    on_message: Callable[[str], None] | None = None,
) -> WavLMFineTuning:
    """Make the network that a training begins with.

    Parameters
    ----------
    network : WavLMTraining
        How it is trained.
    start_from : str or Path or None
        What to start from; None: what `network` says.
    seed : int
        What a head that is drawn follows from.
    on_message : callable, optional
        Told, in one line each, what is fetched, what it starts from, and what a person should know of that.

    Returns
    -------
    WavLMFineTuning
        In training mode, frozen as in the first epoch.

    Raises
    ------
    ModelError, TrainingError
        When there is nothing to start from, it cannot be fetched or read, or does not go with the settings.
    """
    say = on_message or (lambda message: None)
    chosen = network.start_from if start_from is None else start_from
    if not chosen:
        raise TrainingError(
            "a WavLM is fine-tuned, so it needs a model to start from",
            hint="give --start-from: wavlm-base-plus-sv, a Hugging Face folder, or hub:microsoft/wavlm-base-plus",
        )
    folder = _located(chosen, network, say)
    found = read_start(folder, FreshHead(network.dim, network.all_layers), redraw=network.fresh_head)
    if (pin := pin_of(folder)) is not None:
        found = replace(found, source=pin.to_json())
    _require_fit(network, found, where=str(chosen))
    say(f"starting from {chosen}, with {'its own' if found.has_head else 'a new'} x-vector head")
    for note in found.notes:
        say(f"note: {note}")
    if found.licence is not None:
        say(f"note: its licence is {found.licence}, which also binds what is made of it")
    return WavLMFineTuning(found, network, seed=seed)


def _located(chosen: str | Path, network: WavLMTraining, say: Callable[[str], None]) -> Path:
    """Find the folder of what to start from, fetching it where it has to be."""
    name = str(chosen)
    if not name.startswith(_HUB):
        if Path(name).is_dir() and (isinstance(chosen, Path) or not registry.installed(name)):
            return Path(name)
        if not _REPOSITORY.fullmatch(name):
            return registry.locate(name, on_message=say)
    repo = name.removeprefix(_HUB)
    for card in known_models():
        pinned = card.source
        if isinstance(pinned, HubSource) and pinned.repo == repo and network.revision in {None, pinned.revision}:
            return registry.locate(card.name, on_message=say)
    return fetch_pretrained(repo, revision=network.revision, trust_first_use=network.trust_first_use, on_message=say)


def _require_fit(network: WavLMTraining, found: StartingPoint, *, where: str) -> None:
    """Refuse settings that this model cannot follow."""
    layers = found.spec.num_hidden_layers
    if network.frozen_layers > layers:
        raise TrainingError(
            f"network.frozen_layers is {network.frozen_layers}, but it has {layers} layers", where=where
        )
    dim = found.spec.xvector_output_dim
    if network.dim not in {None, dim}:
        raise TrainingError(
            f"network.dim is {network.dim}, but its x-vector head gives {dim} numbers",
            where=where,
            hint="leave network.dim out, or have a new head drawn with network.fresh_head: true",
        )
