"""What a killed training goes on from: one file, replaced whole.

Crops, their order and whatever a network draws follow from the seed and the step, so the step is all that is kept of
them. The file is PyTorch's own; it is read as data, without running code.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import torch

from vecsv.durable import write_bytes
from vecsv.errors import TrainingError

STATE_FILE: Final = "state.pt"
BEST_FILE: Final = "best.pt"


@dataclass(frozen=True)
class RunState:
    """A training between two steps.

    Attributes
    ----------
    identity : str
        What has to be the same for a run to go on: a digest of configuration and data.
    learner : dict
        Tensors of network and head.
    optimiser : dict
        As the optimiser gives it.
    epoch, batch, step : int
        The epoch under way, batches of it that are done, and steps taken in all.
    loss_sum, correct, seen : float, int, int
        Of the epoch under way.
    seconds : float
        Spent on the epoch under way.
    patience : dict
        See `vecsv.training.schedule.Patience`.
    unreadable : dict
        Recordings that could not be decoded, and why.
    """

    identity: str
    learner: dict[str, torch.Tensor]
    optimiser: dict[str, Any]
    epoch: int
    batch: int
    step: int
    loss_sum: float = 0.0
    correct: int = 0
    seen: int = 0
    seconds: float = 0.0
    patience: dict[str, Any] = field(default_factory=dict)
    unreadable: dict[int, str] = field(default_factory=dict)


def save_state(folder: Path, state: RunState) -> None:
    """Put a state in place of the last one, whole or not at all."""
    values = {item.name: getattr(state, item.name) for item in fields(state)}
    write_bytes(folder / STATE_FILE, _packed(values))


def load_state(folder: Path) -> RunState | None:
    """Read the state of a run; None when it has none yet.

    Raises
    ------
    TrainingError
        When the file is damaged.
    """
    values = _read(folder / STATE_FILE)
    return None if values is None else RunState(**values)


@dataclass(frozen=True)
class Best:
    """The best state so far.

    Attributes
    ----------
    epoch : int
        When it was reached.
    learner : dict
        Tensors of network and head.
    classes : dict
        The classes that the head tells apart, as `vecsv.training.data.classes.Classes.to_json` gives them.
    """

    epoch: int
    learner: dict[str, torch.Tensor]
    classes: dict[str, Any]


def save_best(folder: Path, best: Best) -> None:
    """Put a best state in place of the last one, whole or not at all."""
    write_bytes(folder / BEST_FILE, _packed({item.name: getattr(best, item.name) for item in fields(best)}))


def load_best(folder: Path) -> Best | None:
    """Read the best state of a run; None when it has none yet. Errors are those of `load_state`."""
    values = _read(folder / BEST_FILE)
    return None if values is None else Best(**values)


def _packed(values: dict[str, Any]) -> memoryview:
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getbuffer()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TrainingError(f"cannot be read: {error.strerror}", where=str(path)) from error
    try:
        values = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        # PyTorch raises whatever its readers meet: of pickles, of zip files, of its own.
        raise TrainingError("is damaged", where=str(path), hint="train anew, into another folder") from error
    if not isinstance(values, dict):
        raise TrainingError("is no state of a training", where=str(path))
    return values
