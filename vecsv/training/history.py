"""What each epoch of a training came to: a line of JSON for each, in the run's folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from vecsv.errors import TrainingError

HISTORY_FILE: Final = "history.jsonl"


@dataclass(frozen=True)
class EpochRecord:
    """What is known of an epoch at its end.

    Attributes
    ----------
    epoch : int
        Which, counted from 0.
    step : int
        Steps taken in all, those of earlier epochs included.
    loss, accuracy : float
        Mean loss, and part of the crops whose speaker was named, in [0, 1], over the epoch's augmented crops.
    learning_rate, margin : float
        Of its last step.
    crops_per_second : float
        Over the time its steps took.
    loader_wait_part : float
        Part of that time spent waiting for crops, in [0, 1].
    seconds : float
        Its steps took; measuring is left out.
    dev_eer, dev_min_dcf : float or None
        Verification of unseen speakers, where it was measured.
    held_out_accuracy : float or None
        On held-out speech of the speakers themselves, in [0, 1], where it was measured.
    """

    epoch: int
    step: int
    loss: float
    accuracy: float
    learning_rate: float
    margin: float
    crops_per_second: float
    loader_wait_part: float
    seconds: float
    dev_eer: float | None = None
    dev_min_dcf: float | None = None
    held_out_accuracy: float | None = None

    @property
    def error(self) -> float:
        """What epochs are compared by: dev EER, else errors on held-out speech, else the loss; lower is better."""
        if self.dev_eer is not None:
            return self.dev_eer
        return self.loss if self.held_out_accuracy is None else 1.0 - self.held_out_accuracy

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values; what is not finite is null."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EpochRecord:
        """Read what `to_json` wrote; a KeyError, TypeError or ValueError when it is something else."""
        numbers: dict[str, Any] = {}
        for field in fields(cls):
            value = values[field.name]
            if field.name in ("epoch", "step"):
                numbers[field.name] = int(value)
            elif value is None:
                numbers[field.name] = None if field.name in _OPTIONAL else math.nan
            else:
                numbers[field.name] = float(value)
        return cls(**numbers)

    def __str__(self) -> str:
        parts = [f"loss {self.loss:.4f}", f"accuracy {self.accuracy:.1%}"]
        if self.held_out_accuracy is not None:
            parts.append(f"held-out accuracy {self.held_out_accuracy:.1%}")
        if self.dev_eer is not None:
            parts.append(f"dev EER {self.dev_eer:.2%}")
        if self.dev_min_dcf is not None:
            parts.append(f"minDCF {self.dev_min_dcf:.4f}")
        parts += [
            f"learning rate {self.learning_rate:.3g}",
            f"margin {self.margin:.3g}",
            f"{self.crops_per_second:.1f} crops/s",
            f"{self.loader_wait_part:.0%} waiting for data",
            f"{self.seconds:.1f} s",
        ]
        return f"epoch {self.epoch}: {', '.join(parts)}"


_OPTIONAL: Final = frozenset({"dev_eer", "dev_min_dcf", "held_out_accuracy"})


def read_history(folder: Path) -> list[EpochRecord]:
    """Read the records of a run; none where there is no file.

    A last line without its end is what a killed process leaves, and is left out.

    Raises
    ------
    TrainingError
        When a line is no record.
    """
    path = folder / HISTORY_FILE
    try:
        text = path.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TrainingError(f"cannot be read: {error.strerror}", where=str(path)) from error
    records: list[EpochRecord] = []
    for number, line in enumerate(text.split("\n")[:-1], 1):
        try:
            records.append(EpochRecord.from_json(json.loads(line)))
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(
                "is no record of an epoch", where=f"{path}, line {number}", hint="remove the line"
            ) from error
    return records


def as_line(record: EpochRecord) -> str:
    """A record as its line of the file, the line's end included."""
    return json.dumps(record.to_json(), allow_nan=False) + "\n"


def best_epoch(history: Sequence[EpochRecord]) -> int | None:
    """The first epoch with the lowest error; None where no error is a number.

    Examples
    --------
    >>> from types import SimpleNamespace as Epoch
    >>> best_epoch([Epoch(epoch=0, error=0.2), Epoch(epoch=1, error=0.1), Epoch(epoch=2, error=0.1)])
    1
    """
    return min(((one.error, one.epoch) for one in history if not math.isnan(one.error)), default=(0.0, None))[1]
