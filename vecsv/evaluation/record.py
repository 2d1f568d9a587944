"""An evaluation: trials with their scores, what they show, and what that rests on."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vecsv.calibration.bootstrap import SpeakerIntervals
from vecsv.calibration.evaluate import Metrics
from vecsv.calibration.populations import Positions
from vecsv.errors import UsageError
from vecsv.evaluation.breakdown import Breakdown
from vecsv.evaluation.scoring import FailedSide, ScoredTrials

_TRIALS_PER_STEP = 1 << 20


@dataclass(frozen=True)
class Basis:
    """What the figures rest on.

    Attributes
    ----------
    source : str
        The trial list, or the store.
    trials_sha256 : str or None
        Of the trials as they were scored: label, enrolment and test of each. Equal trials, equal digest. None where
        there were too many to be listed.
    recordings, speakers : int
        Distinct recordings that were asked for; speakers among the trials that were scored.
    from_store : int
        Recordings whose embedding a store had.
    trials_left_out : int
        Trials of a list that have no score, because a recording gave no embedding.
    sample : dict or None
        How pairs of a store were drawn: ``targets_available``, ``non_targets_available``, ``same_session_targets``,
        ``utterances_without_session``, ``ratio_asked``, ``ratio_reached``, ``seed``, ``generator``, and
        ``left_out`` by reason.
    """

    source: str
    trials_sha256: str | None
    recordings: int
    speakers: int
    from_store: int
    trials_left_out: int
    sample: dict[str, Any] | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Trials, their scores, and what they show.

    Attributes
    ----------
    model, fingerprint : str
        Whose scores they are.
    basis : Basis
    trials : ScoredTrials or None
        None where there were too many to be listed.
    speakers : int64 ``(sides,)``
        A number for the speaker of each side.
    metrics : Metrics
    intervals : SpeakerIntervals or None
        90% intervals by drawing speakers again; None where there are too few speakers.
    breakdowns : tuple of Breakdown
        One for each column asked for.
    failed : tuple of FailedSide
        Recordings that gave no embedding.
    warnings : tuple of str
    """

    model: str
    fingerprint: str
    basis: Basis
    trials: ScoredTrials | None
    speakers: Positions
    metrics: Metrics
    intervals: SpeakerIntervals | None
    breakdowns: tuple[Breakdown, ...]
    failed: tuple[FailedSide, ...]
    warnings: tuple[str, ...]

    def listed_trials(self) -> ScoredTrials:
        """The trials, where they were listed.

        Raises
        ------
        UsageError
            When there were too many of them.
        """
        if self.trials is None:
            raise UsageError("the pairs were counted and not listed", hint="take a sample instead of all pairs")
        return self.trials

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`: everything but the trials."""
        return {
            "model": self.model,
            "fingerprint": self.fingerprint,
            "basis": asdict(self.basis),
            "metrics": self.metrics.to_json(),
            "intervals": None if self.intervals is None else self.intervals.to_json(),
            "by": [breakdown.to_json() for breakdown in self.breakdowns],
            "failures": [asdict(side) for side in self.failed],
            "warnings": list(self.warnings),
        }


def trials_digest(trials: ScoredTrials) -> str:
    """SHA-256 over label, enrolment and test of each trial, in order; scores do not count."""
    names = np.array(
        [hashlib.blake2b(side.name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for side in trials.sides],
        "V8",
    )
    digest = hashlib.sha256(np.packbits(trials.labels).tobytes())
    for side in (trials.first, trials.second):
        for start in range(0, len(side), _TRIALS_PER_STEP):
            digest.update(names[side[start : start + _TRIALS_PER_STEP]].tobytes())
    return digest.hexdigest()
