"""What trials give: thresholds placed on one half of the speakers, their errors on the other, and likelihood ratios."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vecsv.calibration.bootstrap import speaker_bootstrap
from vecsv.calibration.halves import SPEAKERS_A_HALF, speakers_with_targets
from vecsv.calibration.llr import LlrMapping
from vecsv.calibration.llr_choice import LlrTrials, choose_llr
from vecsv.calibration.operating_points import OperatingPoint, operating_points
from vecsv.calibration.rates import Rates, count_errors
from vecsv.calibration.record import Halves
from vecsv.calibration.trials import Sides, Trials


@dataclass(frozen=True)
class Placed:
    """Thresholds and a map to likelihood ratios, and what they were measured on.

    Attributes
    ----------
    points : tuple of OperatingPoint
    halves : Halves or None
        None where all trials served for both.
    note : str or None
        Why there are no halves.
    llr : LlrMapping
    """

    points: tuple[OperatingPoint, ...]
    halves: Halves | None
    note: str | None
    llr: LlrMapping


def place(trials: Trials, sides: Sides, *, seed: int) -> Placed:
    """Place the thresholds on the trials that are not held out, and measure them on those that are.

    Parameters
    ----------
    trials : Trials
        None held out, or enough (see `carries_halves`).
    sides : Sides
        Of the trials.
    seed : int
        Of the bootstrap.

    Raises
    ------
    CalibrationError
        As `vecsv.calibration.counts.error_counts`.
    """
    held_out = trials.held_out
    fit, fit_sides = trials.where(~held_out), sides.where(~held_out)
    points = operating_points(fit.score, fit.target)
    if not held_out.any():
        note = (
            f"fewer than {2 * SPEAKERS_A_HALF} speakers with pairs of their own are too few for two halves: the error "
            "rates are of the pairs that the thresholds were placed on, which flatters"
        )
        llr = choose_llr(_llr_trials(fit, fit_sides), None, seed=seed)
        return Placed(_with_sessions(points, fit, fit_sides), None, note, llr)
    unseen, unseen_sides = trials.where(held_out), sides.where(held_out)
    points, level, replicates = _measured(points, unseen, unseen_sides, seed)
    halves = Halves(
        fit_speakers=_speakers(fit_sides),
        held_out_speakers=_speakers(unseen_sides),
        fit_targets=int(np.count_nonzero(fit.target)),
        fit_non_targets=int(np.count_nonzero(~fit.target)),
        held_out_targets=int(np.count_nonzero(unseen.target)),
        held_out_non_targets=int(np.count_nonzero(~unseen.target)),
        level=level,
        replicates=replicates,
    )
    llr = choose_llr(_llr_trials(fit, fit_sides), _llr_trials(unseen, unseen_sides), seed=seed)
    return Placed(_with_sessions(points, unseen, unseen_sides), halves, None, llr)


def carries_halves(trials: Trials, sides: Sides) -> bool:
    """Whether both halves have enough speakers with target pairs, and non-target pairs at all."""
    for half in (trials.held_out, ~trials.held_out):
        target = trials.target[half]
        speakers = speakers_with_targets(sides.first_speaker[half], target)
        if speakers < SPEAKERS_A_HALF or target.all():
            return False
    return True


def _measured(
    points: tuple[OperatingPoint, ...], unseen: Trials, sides: Sides, seed: int
) -> tuple[tuple[OperatingPoint, ...], float, int]:
    """The points with their errors on held-out trials; the intervals' level and replicates."""
    # A threshold that rejects everything makes no false accept whoever speaks: there is nothing to draw.
    finite = [point.threshold for point in points if np.isfinite(point.threshold)]
    intervals = speaker_bootstrap(
        sides.first_speaker, sides.second_speaker, unseen.score, unseen.target, thresholds=finite, seed=seed
    )
    found = dict(zip(finite, zip(intervals.fmr, intervals.fnmr, strict=True), strict=True))
    measured = []
    for point in points:
        rates = count_errors(point.threshold, unseen.score, unseen.target)
        if point.threshold in found:
            fmr, fnmr = found[point.threshold]
            rates = replace(rates, fmr_interval=(fmr.low, fmr.high), fnmr_interval=(fnmr.low, fnmr.high))
        measured.append(replace(point, held_out=rates))
    return tuple(measured), intervals.level, intervals.replicates


def _with_sessions(points: tuple[OperatingPoint, ...], trials: Trials, sides: Sides) -> tuple[OperatingPoint, ...]:
    """The points with the errors on pairs of one session and on pairs of two, where sessions are known."""
    if not sides.sessions_known.any():
        return points
    apart = trials.where(trials.same_session), trials.where(sides.sessions_known & ~trials.same_session)

    def of(threshold: float) -> tuple[Rates, Rates]:
        one, two = (count_errors(threshold, part.score, part.target) for part in apart)
        return one, two

    both = [of(point.threshold) for point in points]
    return tuple(
        replace(point, same_session=one, cross_session=two) for point, (one, two) in zip(points, both, strict=True)
    )


def _speakers(sides: Sides) -> int:
    return int(np.unique(np.concatenate([sides.first_speaker, sides.second_speaker])).size)


def _llr_trials(trials: Trials, sides: Sides) -> LlrTrials:
    return LlrTrials(trials.score, trials.target, sides.quality, sides.first_speaker, sides.second_speaker)
