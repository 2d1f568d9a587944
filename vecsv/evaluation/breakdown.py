"""Figures broken down by what is known about the recordings: device, distance, language, noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from vecsv.calibration.bootstrap import SpeakerIntervals, speaker_bootstrap
from vecsv.calibration.evaluate import Metrics, evaluate
from vecsv.calibration.operating_points import FEW_ERRORS
from vecsv.calibration.populations import Blocks, Positions
from vecsv.errors import CalibrationError, UsageError
from vecsv.evaluation.scoring import ScoredTrials

SPEAKER = "speaker"
SAME, MIXED, UNKNOWN = "same", "mixed", "unknown"
FEW_SPEAKERS = 5

MOST_INTERVALS = 32
"""A column with more parts gets no intervals: each takes a second."""


@dataclass(frozen=True)
class Part:
    """The trials that have one value of a column.

    Attributes
    ----------
    value : str or None
        None for the trials whose two sides have different values (`kind` is ``"mixed"``), or one of which has none
        (``"unknown"``).
    kind : str
        ``"same"``, ``"mixed"`` or ``"unknown"``.
    targets, non_targets, speakers : int
    fmr, fnmr : float or None
        Error rates at the threshold of the whole; None without a trial of that kind.
    metrics : Metrics or None
        None where either kind of trial is missing.
    intervals : SpeakerIntervals or None
        None also with too few speakers, for a part of the column ``speaker``, and where the column has more than
        `MOST_INTERVALS` parts.
    note : str or None
        Why there are no figures, or why they say little.
    """

    value: str | None
    kind: str
    targets: int
    non_targets: int
    speakers: int
    fmr: float | None
    fnmr: float | None
    metrics: Metrics | None
    intervals: SpeakerIntervals | None
    note: str | None

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        objects = {"metrics": self.metrics, "intervals": self.intervals}
        return asdict(self) | {name: None if value is None else value.to_json() for name, value in objects.items()}


@dataclass(frozen=True)
class Breakdown:
    """Trials by the values of one column.

    Attributes
    ----------
    column : str
    threshold : float
        Where the parts' `fmr` and `fnmr` are measured: one threshold for all.
    parts : tuple of Part
        By value; then the mixed trials and the unknown ones, where there are any.
    """

    column: str
    threshold: float
    parts: tuple[Part, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        threshold = self.threshold if np.isfinite(self.threshold) else None
        return {"column": self.column, "threshold": threshold, "parts": [part.to_json() for part in self.parts]}


def break_down(trials: ScoredTrials, column: str, *, threshold: float, speakers: Positions, seed: int = 0) -> Breakdown:
    """Take trials apart by the values of a column.

    A trial belongs to a value when both sides have it. Of the column ``speaker`` only targets would: there a
    non-target belongs to both its speakers, so a part shows how one speaker fares, and a trial may be in two parts.

    Parameters
    ----------
    trials : ScoredTrials
    column : str
    threshold : float
        Where to measure the error rates of each part.
    speakers : int64 ``(sides,)``
        A number for the speaker of each side.
    seed : int
        Of the intervals' draws.

    Raises
    ------
    UsageError
        When no recording has such a column; names those there are.
    """
    values = [side.columns.get(column) for side in trials.sides]
    names = sorted({value for value in values if value is not None})
    if not names:
        there_are = sorted({name for side in trials.sides for name in side.columns})
        hint = "there are: " + ", ".join(there_are) if there_are else "give --manifest or --store"
        raise UsageError(f"the recordings have no column {column!r}", hint=hint)
    place = {name: at for at, name in enumerate(names)}
    codes = np.array([-1 if value is None else place[value] for value in values], np.int64)
    groups = _by_speaker if column == SPEAKER else _by_value
    kinds = [*((name, SAME) for name in names), (None, MIXED), (None, UNKNOWN)]
    parts = list(groups(codes[trials.first], codes[trials.second], len(names)))
    draws = seed if column != SPEAKER and len(parts) <= MOST_INTERVALS else None
    measured = (_part(trials.where(chosen), speakers, *kinds[key], threshold, draws) for key, chosen in parts)
    return Breakdown(column, threshold, tuple(measured))


def _by_value(one: Positions, other: Positions, values: int) -> Iterator[tuple[int, Positions]]:
    """Trials of each value's number; `values` stands for mixed ones, the next number for unknown ones."""
    keys = np.where(one == other, one, values)
    keys[(one < 0) | (other < 0)] = values + 1
    yield from _grouped(keys, np.arange(len(keys)))


def _by_speaker(one: Positions, other: Positions, values: int) -> Iterator[tuple[int, Positions]]:
    """As `_by_value`, with each trial of two speakers under both."""
    again = one != other
    keys = np.concatenate([one, other[again]])
    keys[keys < 0] = values + 1
    numbers = np.arange(len(one))
    yield from _grouped(keys, np.concatenate([numbers, numbers[again]]))


def _grouped(keys: Positions, numbers: Positions) -> Iterator[tuple[int, Positions]]:
    order = np.argsort(keys, kind="stable")
    bounds = Blocks.of(keys[order]).bounds
    for begin, end in pairwise(bounds):
        yield int(keys[order[begin]]), np.sort(numbers[order[begin:end]])


def _part(
    trials: ScoredTrials, speakers: Positions, value: str | None, kind: str, threshold: float, seed: int | None
) -> Part:
    accepted = trials.scores >= np.float32(threshold)
    targets, non_targets = int(trials.labels.sum()), int((~trials.labels).sum())
    one, other = speakers[trials.first], speakers[trials.second]
    people = len(np.unique(np.concatenate([one, other])))
    counts = (("target", targets), ("non-target", non_targets))
    missing = [name for name, count in counts if not count]
    few = [f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts if 0 < count < FEW_ERRORS]
    few += [f"{people} speaker{'' if people == 1 else 's'}"] if people < FEW_SPEAKERS else []
    notes = [f"no {name}s" for name in missing] + ([f"too few: {', '.join(few)}"] if few else [])
    intervals = None
    if seed is not None and not missing:
        # With too few speakers there are none, and the note has said so.
        with suppress(CalibrationError):
            intervals = speaker_bootstrap(one, other, trials.scores, trials.labels, seed=seed)
    return Part(
        value=value,
        kind=kind,
        targets=targets,
        non_targets=non_targets,
        speakers=people,
        fmr=float(accepted[~trials.labels].mean()) if non_targets else None,
        fnmr=float((~accepted[trials.labels]).mean()) if targets else None,
        metrics=None if missing else evaluate(trials.scores, trials.labels),
        intervals=intervals,
        note="; ".join(notes) or None,
    )
