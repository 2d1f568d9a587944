"""The thresholds people ask for by name, each with the counts it rests on and what those counts can carry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from typing import Any

from numpy.typing import ArrayLike

from vecsv.calibration.counts import (
    ErrorCounts,
    error_counts,
    nearest_rates,
    reported_threshold,
    threshold_at_fmr,
)
from vecsv.calibration.metrics import auc, best_f1, eer, min_dcf
from vecsv.calibration.rates import Rates
from vecsv.errors import CalibrationError

PRIOR = 0.01
FALSE_MATCH_RATES = (0.01, 0.001)

# Rule of 30 (Doddington et al., "The NIST speaker recognition evaluation", 2000): with 30 errors the true rate
# is within 30% of the measured one at 90% confidence.
FEW_ERRORS = 30
# Rule of 3: no error in n independent trials shows a rate of at most 3 / n, at 95% confidence.
RULE_OF_THREE = 3
# The rate an EER calibration must at least be able to show, by the rule of 3: it takes 30 pairs of each kind.
COARSEST_RATE = Fraction(1, 10)


@dataclass(frozen=True)
class OperatingPoint:
    """One threshold, why it is where it is, and the errors it makes: where it was placed, and on held-out speakers.

    Attributes
    ----------
    name : str
        ``eer``, ``min-dcf-0.01``, ``best-f1-0.01``, ``fmr-0.01`` or ``fmr-0.001``.
    threshold : float
        Accept iff ``score >= threshold``, both float32. ``inf`` rejects every pair; in JSON that is null.
    criterion : str
        What the threshold was chosen for, in words.
    value : float
        The figure of the criterion: EER, normalised minimum DCF, F1, or the FMR that was asked for.
    fmr, fnmr : float
        Error rates at the threshold, on the pairs it was placed on.
    false_accepts, misses, targets, non_targets : int
        The counts behind them.
    supported : bool
        Whether the pairs can carry the criterion at all; if not, `note` says what is missing.
    note : str or None
        What to know before trusting the threshold, or None when nothing stands out.
    held_out : Rates or None
        Errors on the held-out half of the speakers; None where there were too few for halves.
    same_session, cross_session : Rates or None
        Of the pairs that the errors are reported on, those of one session and those of two; None where no session is
        known.
    """

    name: str
    threshold: float
    criterion: str
    value: float
    fmr: float
    fnmr: float
    false_accepts: int
    misses: int
    targets: int
    non_targets: int
    supported: bool
    note: str | None
    held_out: Rates | None = None
    same_session: Rates | None = None
    cross_session: Rates | None = None

    @property
    def reported(self) -> Rates:
        """The errors to quote: on held-out speakers where there are any, else where the threshold was placed."""
        if self.held_out is not None:
            return self.held_out
        return Rates(self.false_accepts, self.misses, self.targets, self.non_targets, self.fmr, self.fnmr)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`; a threshold that rejects all becomes None.

        Examples
        --------
        >>> import numpy as np
        >>> point = operating_points(np.float32([0.1, 0.9]), np.array([False, True]))[0]
        >>> OperatingPoint.from_json(point.to_json()) == point
        True
        """
        rates = {name: getattr(self, name) for name in _RATES}
        return (
            asdict(self)
            | {"threshold": None if math.isinf(self.threshold) else self.threshold}
            | {name: None if value is None else value.to_json() for name, value in rates.items()}
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> OperatingPoint:
        """Read what `to_json` gave; members it does not know are left aside.

        Raises
        ------
        CalibrationError
            If a member is missing or of the wrong type, or a number is not finite.
        """
        place = f"operating point {values.get('name')!r}"
        plain = [field for field in fields(cls) if field.name not in _RATES]
        missing = [field.name for field in plain if field.name not in values]
        if missing:
            raise CalibrationError(f"{', '.join(missing)} missing", where=place, hint=_REDO)
        known: dict[str, Any] = {field.name: values[field.name] for field in plain}
        if known["threshold"] is None:
            known["threshold"] = math.inf
        for field in plain:
            if not _fits(str(field.type), known[field.name], allow_infinity=field.name == "threshold"):
                problem = f"{field.name} is {known[field.name]!r}, not of type {field.type}"
                raise CalibrationError(problem, where=place, hint=_REDO)
        known |= {name: float(known[name]) for name in _FLOATS}
        for name in _RATES:
            value = values.get(name)
            known[name] = None if value is None else Rates.from_json(value)
        return cls(**known)


_REDO = "calibrate again"
_RATES = ("held_out", "same_session", "cross_session")
_FLOATS = frozenset(field.name for field in fields(OperatingPoint) if field.type == "float")


def _fits(declared: str, value: object, *, allow_infinity: bool) -> bool:
    if isinstance(value, bool):
        return declared == "bool"
    match declared:
        case "float":
            return isinstance(value, int | float) and (math.isfinite(value) or (allow_infinity and value > 0))
        case "int":
            return isinstance(value, int) and value >= 0
        case "str | None":
            return value is None or isinstance(value, str)
        case _:
            return declared == "str" and isinstance(value, str)


def operating_points(scores: ArrayLike, labels: ArrayLike) -> tuple[OperatingPoint, ...]:
    """Find the five thresholds of EER, minDCF(0.01), best F1 at prior 0.01, FMR 1e-2 and FMR 1e-3.

    Parameters
    ----------
    scores : array_like of float32, shape (n,)
        As they are served.
    labels : array_like of bool, shape (n,)
        True for target trials.

    Returns
    -------
    tuple of OperatingPoint
        In that order. The one called ``eer`` decides where FMR and FNMR are closest (of two equally close places
        the higher); its `value` is the interpolated equal error rate. The others stand at the highest threshold
        that reaches the optimum, and at the lowest that keeps to the FMR.

    Raises
    ------
    CalibrationError
        As `vecsv.calibration.counts.error_counts`.

    Examples
    --------
    >>> import numpy as np
    >>> scores = np.linspace(0, 1, 1000, dtype=np.float32)
    >>> points = operating_points(scores, scores > 0.9)
    >>> [(point.name, round(point.threshold, 2), point.supported) for point in points]
    ... # doctest: +NORMALIZE_WHITESPACE
    [('eer', 0.9, True), ('min-dcf-0.01', 0.9, True), ('best-f1-0.01', 0.9, True), ('fmr-0.01', 0.89, True),
     ('fmr-0.001', 0.9, False)]
    """
    counts = error_counts(scores, labels)
    cost, f1 = min_dcf(counts, PRIOR), best_f1(counts, PRIOR)
    # Cost at FMR = p / (1 - p) is that of rejecting all, so only rates below it are of use: the non-targets must
    # be able to show it.
    smallest = Fraction(str(PRIOR)) / (1 - Fraction(str(PRIOR)))
    return (
        _point(counts, "eer", nearest_rates(counts), "FMR and FNMR closest to each other", eer(counts)),
        _point(
            counts,
            f"min-dcf-{PRIOR:g}",
            cost.index,
            f"lowest detection cost at target prior {PRIOR:g}, both errors costing 1",
            cost.normalised,
            smallest_fmr=smallest,
        ),
        _point(
            counts,
            f"best-f1-{PRIOR:g}",
            f1.index,
            f"highest F1 at target prior {PRIOR:g}",
            f1.f1,
            smallest_fmr=smallest,
        ),
        *(
            _point(
                counts,
                f"fmr-{rate:g}",
                threshold_at_fmr(counts, rate),
                f"lowest threshold with FMR <= {rate:g}",
                rate,
                smallest_fmr=Fraction(str(rate)),
                needs_targets=False,
            )
            for rate in FALSE_MATCH_RATES
        ),
    )


def _point(
    counts: ErrorCounts,
    name: str,
    index: int,
    criterion: str,
    value: float,
    *,
    smallest_fmr: Fraction = COARSEST_RATE,
    needs_targets: bool = True,
) -> OperatingPoint:
    false_accepts, misses = int(counts.false_accepts[index]), int(counts.misses[index])
    shortcomings = _shortcomings(counts, smallest_fmr, needs_targets=needs_targets)
    remarks = [*shortcomings, *(["rejects every pair"] if math.isinf(counts.thresholds[index]) else [])]
    few = [
        *_few_errors("false accept", "false accepts", "FMR", false_accepts, counts.non_targets),
        *_few_errors("miss", "misses", "FNMR", misses, counts.targets),
    ]
    if few:
        # Pairs share speakers, so they tell less than as many independent trials would.
        remarks.append(f"{', '.join(few)}: 90% intervals, at best, since pairs share speakers")
    return OperatingPoint(
        name=name,
        threshold=reported_threshold(counts, index),
        criterion=criterion,
        value=value,
        fmr=false_accepts / counts.non_targets,
        fnmr=misses / counts.targets,
        false_accepts=false_accepts,
        misses=misses,
        targets=counts.targets,
        non_targets=counts.non_targets,
        supported=not shortcomings,
        note="; ".join(remarks) or None,
    )


def _shortcomings(counts: ErrorCounts, smallest_fmr: Fraction, *, needs_targets: bool) -> list[str]:
    """Why the pairs cannot carry a threshold at all."""
    asked = [("non-target", counts.non_targets, "FMR", smallest_fmr)]
    if needs_targets:
        asked.append(("target", counts.targets, "FNMR", COARSEST_RATE))
    found = []
    for kind, pairs, rate_name, rate in asked:
        needed = math.ceil(RULE_OF_THREE / rate)
        if pairs < needed:
            found.append(
                f"not supported by {pairs} {kind} pairs: to show an {rate_name} of {float(rate):.2g} takes {needed}"
            )
    area = auc(counts)
    if area < 0.5:
        found.append(f"targets score lower than non-targets (AUC {area:.3f}): check the speaker labels")
    return found


def _few_errors(error: str, errors_name: str, rate_name: str, errors: int, trials: int) -> list[str]:
    """Say how far off a rate may be that rests on fewer errors than the rule of 30 asks for."""
    if errors >= FEW_ERRORS:
        return []
    low, high = rate_interval(errors, trials)
    counted = f"{errors} {error if errors == 1 else errors_name} in {trials} pairs"
    return [f"{counted} ({rate_name} {low:.2g} to {high:.2g})"]


def rate_interval(errors: int, trials: int) -> tuple[float, float]:
    """Clopper-Pearson interval (90%) for an error rate, as if the trials were independent.

    With no errors the upper end is the rule of 3 (3 / trials, at 95% on one side); with 30 of many the ends are
    about 30% away (rule of 30).

    Parameters
    ----------
    errors, trials : int
        ``0 <= errors <= trials``, and at least one trial.

    Examples
    --------
    >>> [round(float(end), 4) for end in rate_interval(0, 1000)]
    [0.0, 0.003]
    >>> [round(float(end), 4) for end in rate_interval(30, 100_000)]
    [0.0002, 0.0004]
    """
    from scipy.special import betaincinv

    low = 0.0 if errors == 0 else float(betaincinv(errors, trials - errors + 1, 0.05))
    high = 1.0 if errors == trials else float(betaincinv(errors + 1, trials - errors, 0.95))
    return low, high
