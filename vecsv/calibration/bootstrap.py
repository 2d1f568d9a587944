"""Intervals for error rates, by drawing speakers again: pairs share speakers, so they are not drawn themselves.

The replicates are those of `vecsv.calibration.replicates`. Intervals are Student's: of rates on the logit scale, of
EER and cost on the logarithmic one, with fewer degrees of freedom the fewer speakers make most of the errors.
``benchmarks/coverage.py`` measures how often they hold the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vecsv.arrays import Flags
from vecsv.calibration.corners import corner_counts
from vecsv.calibration.counts import Floats, Number, checked_trials, exact_number
from vecsv.calibration.metrics import eer, min_dcf
from vecsv.calibration.replicates import Replicates, draw
from vecsv.calibration.speaker_pairs import Codes, Rates, SpeakerPairs, choose_grid, from_trials
from vecsv.errors import CalibrationError, UsageError

LEVEL = 0.9
REPLICATES = 1000
FEWEST_SPEAKERS = 3


@dataclass(frozen=True)
class Interval:
    """A figure and how far off it may be.

    Attributes
    ----------
    value : float
        As measured on all trials.
    low, high : float
        Ends of the interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SpeakerIntervals:
    """Intervals of the figures of one set of trials, or of the differences of two systems.

    Attributes
    ----------
    eer, min_dcf : Interval
        Equal error rate (interpolated), and normalised minimum detection cost at `prior`.
    fmr, fnmr : tuple of Interval
        Error rates at each of the thresholds that were given.
    prior, level : float
        Of a target; share of cases that an interval is to hold.
    speakers, replicates, seed : int
        What the intervals rest on.
    """

    eer: Interval
    min_dcf: Interval
    fmr: tuple[Interval, ...]
    fnmr: tuple[Interval, ...]
    prior: float
    level: float
    speakers: int
    replicates: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return asdict(self)


def speaker_bootstrap(
    first: ArrayLike,
    second: ArrayLike,
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    thresholds: Sequence[float] = (),
    prior: Number = 0.01,
    replicates: int = REPLICATES,
    seed: int = 0,
    level: float = LEVEL,
) -> SpeakerIntervals:
    """Intervals for the EER, the minimum cost, and the error rates at some thresholds.

    Parameters
    ----------
    first, second : array_like of int, shape (n,)
        A number for the speaker of each side of each trial; any numbers will do.
    scores : array_like of float32, shape (n,)
        Higher means more alike.
    labels : array_like of bool, shape (n,)
        True for targets, whose two sides are of one speaker.
    thresholds : sequence of float
        Where to give intervals of FMR and FNMR. They must not have been chosen on these trials.
    prior : float or Fraction
        Of a target, for the detection cost (both errors cost 1).
    replicates, seed : int
        How many times speakers are drawn, and the seed of the draw.
    level : float
        Share of cases an interval is to hold, in (0, 1).

    Returns
    -------
    SpeakerIntervals
        A rate of 0 has the interval from 0 to what that many speakers (for FMR: pairs of speakers) without an error
        can exclude. With fewer than 40 speakers the interval of the minimum cost tends to be too low: a minimum
        over so few is too good.

    Raises
    ------
    CalibrationError
        As `vecsv.calibration.counts.error_counts`; or if labels and speakers contradict each other, or there are
        fewer than three speakers.
    UsageError
        If a setting is out of range.

    Examples
    --------
    >>> speakers = np.repeat(np.arange(8), 4)
    >>> first, second = np.triu_indices(32, 1)
    >>> same = speakers[first] == speakers[second]
    >>> scores = (np.sin(first * second) + 2 * same).astype(np.float32)
    >>> found = speaker_bootstrap(speakers[first], speakers[second], scores, same, thresholds=[0.5])
    >>> [round(end, 2) for end in (found.fmr[0].low, found.fmr[0].value, found.fmr[0].high)]
    [0.26, 0.31, 0.37]
    """
    values, flags = checked_trials(scores, labels)
    one, two, speakers = _numbered(first, second, flags)
    targets, non_targets = _sorted_kinds(values, flags)
    system = from_trials(one, two, values, flags, speakers, choose_grid(targets, non_targets, thresholds))
    measured = _measured(targets, non_targets, prior)
    return bootstrap_pairs(
        system, *measured, thresholds=thresholds, prior=prior, replicates=replicates, seed=seed, level=level
    )


def bootstrap_pairs(
    system: SpeakerPairs,
    measured_eer: float,
    measured_min_dcf: float,
    *,
    thresholds: Sequence[float] = (),
    prior: Number = 0.01,
    replicates: int = REPLICATES,
    seed: int = 0,
    level: float = LEVEL,
) -> SpeakerIntervals:
    """`speaker_bootstrap` of trials that were reduced already, at a grid that holds the thresholds."""
    odds = _settings(prior, level, replicates, seed, system.speakers)
    drawn = Replicates(system, draw(system.speakers, replicates, seed))
    tail = (1 - level) / 2
    no_misses = 1 - tail ** (1 / max(int(np.count_nonzero(system.targets)), 1))
    no_accepts = 1 - tail ** (1 / system.totals.pairs())
    places = [(drawn.at(threshold), threshold) for threshold in thresholds]
    return SpeakerIntervals(
        eer=_on_logs(
            measured_eer, drawn.eer(), _student(drawn.freedom_where_rates_meet(), level), max(no_misses, no_accepts)
        ),
        min_dcf=_on_logs(
            measured_min_dcf,
            drawn.min_dcf(odds),
            _student(drawn.freedom_at_lowest_cost(odds), level),
            min(no_misses + odds * no_accepts, 1.0),
            shifted=True,
        ),
        fmr=tuple(
            _rate(
                drawn.fmr[place],
                drawn.fmr_variance[place],
                drawn.fmr_freedom[place],
                threshold,
                level,
                no_accepts,
                0.0,
            )
            for place, threshold in places
        ),
        fnmr=tuple(
            _rate(
                drawn.fnmr[place],
                drawn.fnmr_variance[place],
                drawn.fnmr_freedom[place],
                threshold,
                level,
                no_misses,
                1.0,
            )
            for place, threshold in places
        ),
        prior=float(prior),
        level=level,
        speakers=system.speakers,
        replicates=replicates,
        seed=seed,
    )


def paired_bootstrap(
    first: ArrayLike,
    second: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    labels: ArrayLike,
    *,
    thresholds: Sequence[tuple[float, float]] = (),
    prior: Number = 0.01,
    replicates: int = REPLICATES,
    seed: int = 0,
    level: float = LEVEL,
) -> SpeakerIntervals:
    """Intervals for the difference of two systems on the same trials, B minus A.

    The speakers drawn are the same for both, so what is hard for both does not widen an interval.

    Parameters
    ----------
    first, second, labels, prior, replicates, seed, level
        As in `speaker_bootstrap`.
    scores_a, scores_b : array_like of float32, shape (n,)
        The two systems' scores of the same trials; their scales need not be alike.
    thresholds : sequence of pairs of float
        Where to compare FMR and FNMR: the threshold of A and that of B.

    Returns
    -------
    SpeakerIntervals
        Of differences: below 0 where B makes fewer errors. Where an interval holds 0 the trials do not tell the two
        apart.

    Raises
    ------
    CalibrationError, UsageError
        As `speaker_bootstrap`.

    Examples
    --------
    >>> speakers = np.repeat(np.arange(8), 4)
    >>> first, second = np.triu_indices(32, 1)
    >>> same = speakers[first] == speakers[second]
    >>> scores = (np.sin(first * second) + 2 * same).astype(np.float32)
    >>> found = paired_bootstrap(speakers[first], speakers[second], scores, 2 * scores, same)
    >>> (found.eer.low, found.eer.value, found.eer.high)
    (0.0, 0.0, 0.0)
    """
    values_a, flags = checked_trials(scores_a, labels)
    values_b, _ = checked_trials(scores_b, labels)
    one, two, speakers = _numbered(first, second, flags)
    odds = _settings(prior, level, replicates, seed, speakers)
    student = _student(speakers - 1, level)
    weights = draw(speakers, replicates, seed)
    drawn, measured = [], []
    for side, values in enumerate((values_a, values_b)):
        targets, non_targets = _sorted_kinds(values, flags)
        grid = choose_grid(targets, non_targets, [pair[side] for pair in thresholds])
        drawn.append(Replicates(from_trials(one, two, values, flags, speakers, grid), weights))
        measured.append(_measured(targets, non_targets, prior))
    a, b = drawn
    places = [(a.at(at_a), b.at(at_b)) for at_a, at_b in thresholds]
    return SpeakerIntervals(
        eer=_of_difference(measured[1][0] - measured[0][0], b.eer() - a.eer(), student),
        min_dcf=_of_difference(measured[1][1] - measured[0][1], b.min_dcf(odds) - a.min_dcf(odds), student),
        fmr=tuple(_of_difference(b.fmr[j] - a.fmr[i], b.all_fmr[j] - a.all_fmr[i], student) for i, j in places),
        fnmr=tuple(_of_difference(b.fnmr[j] - a.fnmr[i], b.all_fnmr[j] - a.all_fnmr[i], student) for i, j in places),
        prior=float(prior),
        level=level,
        speakers=speakers,
        replicates=replicates,
        seed=seed,
    )


def _rate(
    rate: float,
    variance: float,
    freedom: float,
    threshold: float,
    level: float,
    without_error: float,
    rejecting_all: float,
) -> Interval:
    """Interval of an error rate from its variance."""
    from scipy.special import expit, logit

    if math.isinf(threshold) and threshold > 0:
        # Rejecting all has these rates by definition.
        return Interval(rejecting_all, rejecting_all, rejecting_all)
    rate = float(rate)
    if rate <= 0 or rate >= 1:
        return Interval(rate, 0.0, without_error) if rate <= 0 else Interval(rate, 1 - without_error, 1.0)
    width = _student(freedom, level) * math.sqrt(variance) / (rate * (1 - rate))
    return Interval(rate, float(expit(logit(rate) - width)), float(expit(logit(rate) + width)))


def _on_logs(
    value: float, replicates: Rates, student: float, without_error: float, *, shifted: bool = False
) -> Interval:
    """Interval of a figure in [0, 1] from the spread of its replicates.

    `shifted` moves it by what the replicates lie off the figure: a minimum of replicates is lower than the figure as
    the figure, itself a minimum, is lower than the truth.
    """
    if value <= 0:
        return Interval(value, 0.0, without_error)
    logs = np.log(np.maximum(replicates, value / 1000))
    shift = float(logs.mean()) - math.log(value) if shifted else 0.0
    width = student * float(logs.std(ddof=1))
    low, high = value * math.exp(-shift - width), value * math.exp(-shift + width)
    return Interval(value, min(low, value), min(max(high, value), 1.0))


def _of_difference(value: float, replicates: Rates, student: float) -> Interval:
    width = student * float(replicates.std(ddof=1))
    return Interval(float(value), float(value - width), float(value + width))


def _sorted_kinds(values: Floats, flags: Flags) -> tuple[Floats, Floats]:
    targets, non_targets = values[flags], values[~flags]
    targets.sort()
    non_targets.sort()
    return targets, non_targets


def _measured(targets: Floats, non_targets: Floats, prior: Number) -> tuple[float, float]:
    counts = corner_counts(targets, non_targets)
    return eer(counts), min_dcf(counts, prior).normalised


def _settings(prior: Number, level: float, replicates: int, seed: int, speakers: int) -> float:
    """What a false accept costs against a miss at a prior, once the settings are known to be in range."""
    if not 0 < level < 1 or replicates < 2:
        raise UsageError(f"{replicates} replicates at level {level}: give at least 2, and a level between 0 and 1")
    if speakers < FEWEST_SPEAKERS:
        raise CalibrationError(
            f"{speakers} speakers say nothing about how speakers differ", hint=f"give at least {FEWEST_SPEAKERS}"
        )
    if seed < 0:
        raise UsageError(f"a seed must not be negative, as {seed} is")
    p = exact_number(prior, "the prior", below=1)
    return float((1 - p) / p)


def _student(freedom: float, level: float) -> float:
    """Half the width of Student's interval, in standard deviations."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def _numbered(first: ArrayLike, second: ArrayLike, labels: Flags) -> tuple[Codes, Codes, int]:
    """Speakers of both sides, numbered from 0."""
    one, two = np.asarray(first), np.asarray(second)
    if one.shape != labels.shape or two.shape != labels.shape:
        raise CalibrationError(f"speakers {one.shape} and {two.shape} do not go with {labels.size} trials")
    contradicts = (one == two) != labels
    if contradicts.any():
        where = int(np.argmax(contradicts))
        kind = "target with two speakers" if labels[where] else "non-target with one speaker"
        raise CalibrationError(f"a {kind}", where=f"trial {where}", hint="check the labels")
    names, codes = np.unique(np.concatenate([one, two]), return_inverse=True)
    return codes[: one.size], codes[one.size :], int(names.size)
