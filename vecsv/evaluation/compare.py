"""Two systems on the same trials: what separates them, and whether it is more than the choice of speakers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vecsv.arrays import Flags
from vecsv.calibration.bootstrap import SpeakerIntervals, paired_bootstrap
from vecsv.calibration.evaluate import Metrics, evaluate
from vecsv.errors import CalibrationError, TrialListError
from vecsv.evaluation.runs import Run, read_run

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Difference:
    """One figure of two systems.

    Attributes
    ----------
    name : str
    first, second : float
        The figure of either system.
    difference : float
        `second` minus `first`.
    low, high : float or None
        90% interval of the difference, speakers drawn again for both alike; None for figures that have none.
    better : str or None
        ``"first"`` or ``"second"`` where the interval leaves 0 out, ``"neither"`` where it does not.
    """

    name: str
    first: float
    second: float
    difference: float
    low: float | None = None
    high: float | None = None
    better: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Attributes
    ----------
    first, second : str
        The runs' folders.
    models : tuple of two str
    fingerprints : tuple of two str
    targets, non_targets : int
    speakers : int or None
        That the intervals rest on.
    differences : tuple of Difference
    warnings : tuple of str
    """

    first: str
    second: str
    models: tuple[str, str]
    fingerprints: tuple[str, str]
    targets: int
    non_targets: int
    speakers: int | None
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return asdict(self)


def compare_runs(first: Path, second: Path, *, seed: int = 0) -> Comparison:
    """Compare two evaluations of the same trials, which `vecsv.evaluation.runs.write_run` kept.

    Parameters
    ----------
    first, second : Path
    seed : int
        Of the draws of speakers.

    Raises
    ------
    StoreError
        When a folder holds no run.
    TrialListError
        When the trials are not the same, in the same order; names the first that is not.
    """
    one, other = read_run(first), read_run(second)
    require_same_trials(one, other)
    figures = evaluate(one.scores, one.labels), evaluate(other.scores, other.labels)
    warnings = list(dict.fromkeys(figures[0].warnings))
    if not _same_speakers(one, other):
        warnings.append(f"the two runs do not agree on who speaks; the intervals go by the speakers of {first}")
    intervals: SpeakerIntervals | None = None
    try:
        intervals = paired_bootstrap(
            one.enrol_speakers, one.test_speakers, one.scores, other.scores, one.labels, seed=seed
        )
    except CalibrationError as error:
        warnings.append(f"no intervals: {error.what}")
    return Comparison(
        first=str(first),
        second=str(second),
        models=(one.document["model"], other.document["model"]),
        fingerprints=(one.document["fingerprint"], other.document["fingerprint"]),
        targets=figures[0].targets,
        non_targets=figures[0].non_targets,
        speakers=None if intervals is None else intervals.speakers,
        differences=tuple(_differences(*figures, intervals)),
        warnings=tuple(warnings),
    )


def require_same_trials(first: Run, second: Run) -> None:
    """Refuse to compare runs of different trials.

    Raises
    ------
    TrialListError
        Naming the first trial, counted from 1, that is not the same.
    """
    shared = min(len(first.labels), len(second.labels))
    different = first.labels[:shared] != second.labels[:shared]
    different |= _differs(first.enrol, second.enrol, shared) | _differs(first.test, second.test, shared)
    same_length = len(first.labels) == len(second.labels)
    if same_length and not different.any():
        return
    at = int(np.argmax(different)) if different.any() else shared
    raise TrialListError(
        f"not the trials of {second.folder}: trial {at + 1} is {_trial(first, at)} here and {_trial(second, at)} there",
        where=str(first.folder),
        hint="evaluate both on one list; a recording that failed in one of them is missing there",
    )


def _differs(one: pa.ChunkedArray, other: pa.ChunkedArray, length: int) -> Flags:
    import pyarrow.compute as pc

    found: Flags = pc.not_equal(one.slice(0, length), other.slice(0, length)).to_numpy()
    return found


def _trial(run: Run, at: int) -> str:
    if at >= len(run.labels):
        return "missing"
    kind = "target" if run.labels[at] else "non-target"
    return f"{run.enrol[at].as_py()!r} against {run.test[at].as_py()!r} ({kind})"


def _same_speakers(one: Run, other: Run) -> bool:
    """Whether the same sides are of one speaker in both."""
    here = np.concatenate([one.enrol_speakers, one.test_speakers])
    there = np.concatenate([other.enrol_speakers, other.test_speakers])
    pairs = np.unique(here * (there.max() + 1) + there)
    return len(pairs) == len(np.unique(here)) == len(np.unique(there))


def _differences(first: Metrics, second: Metrics, intervals: SpeakerIntervals | None) -> Iterator[Difference]:
    bounds = {} if intervals is None else {"eer": intervals.eer, "min-dcf p=0.01": intervals.min_dcf}
    for name, (one, other) in _figures(first, second):
        interval = bounds.get(name)
        if interval is None:
            yield Difference(name, one, other, other - one)
            continue
        # Of all these figures the lower one is the better one.
        better = "first" if interval.low > 0 else "second" if interval.high < 0 else "neither"
        yield Difference(name, one, other, other - one, interval.low, interval.high, better)


def _figures(first: Metrics, second: Metrics) -> Iterator[tuple[str, tuple[float, float]]]:
    yield "eer", (first.eer, second.eer)
    yield "eer-hull", (first.eer_hull, second.eer_hull)
    for cost in first.min_dcf:
        yield f"min-dcf {cost.name}", (cost.normalised, second.cost(cost.name).normalised)
    for one, other in zip(first.fnmr_at_fmr, second.fnmr_at_fmr, strict=True):
        if one.supported:
            yield f"fnmr at fmr {one.asked:g}", (one.fnmr, other.fnmr)
    yield "min-cllr", (first.min_cllr, second.min_cllr)
    yield "1 - auc", (1 - first.auc, 1 - second.auc)
