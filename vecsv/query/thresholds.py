"""Which threshold decides, and where it comes from.

Never a constant in code: it was given on the command line, calibrated on the user's own store, or measured by the
model's makers on data they name, in that order of preference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vecsv.audio.windows import Kept, WindowRule
from vecsv.calibration.operating_points import OperatingPoint
from vecsv.calibration.record import Calibration
from vecsv.errors import FingerprintMismatchError, UsageError

REFERENCE = "reference"


@dataclass(frozen=True)
class Threshold:
    """A threshold in force.

    Attributes
    ----------
    name : str
        Of the operating point, or ``"given"``.
    value : float
        Accept iff ``score >= value``, both float32.
    origin : str
        ``"given"``, ``"store"``, ``"other-store"`` or ``"reference"``.
    source : str
        The data it comes from, in words.
    fmr, fnmr : float or None
        Error rates it had there.
    held_out : bool
        Whether those are rates on speakers it was not placed on.
    warnings : tuple of str
        What to know before trusting it.
    """

    name: str
    value: float
    origin: str
    source: str
    fmr: float | None
    fnmr: float | None
    warnings: tuple[str, ...] = ()
    held_out: bool = False

    def accepts(self, score: float) -> bool:
        """Whether a score is at or above the threshold, compared in float32."""
        return bool(np.float32(score) >= np.float32(self.value))


def given(value: float) -> Threshold:
    """The threshold a user typed.

    Raises
    ------
    UsageError
        When it is not a number.
    """
    if math.isnan(value):
        raise UsageError("the threshold is not a number")
    return Threshold("given", value, "given", "the command line", None, None)


def choose(calibration: Calibration | None, *, name: str | None = None, value: float | None = None) -> Threshold | None:
    """The threshold that decides: the given value, else one of the calibration; None where there is neither.

    Parameters
    ----------
    calibration : Calibration or None
        As `which` gives it.
    name : str, optional
        Operating point to use instead of the calibration's own choice.
    value : float, optional
        A threshold of the caller's own.

    Raises
    ------
    UsageError
        When no operating point has that name, or a value is given too.
    """
    if value is not None:
        if name is not None:
            raise UsageError("give a threshold or the name of one, not both")
        return given(value)
    return None if calibration is None else _of_point(calibration.point(name), calibration)


def in_force(
    calibration: Calibration | None, reference: Mapping[str, Any] | None, fingerprint: str, *, name: str | None = None
) -> Threshold | None:
    """The threshold that decides, or None where there is no calibration at all: `choose` of `which`."""
    return choose(which(calibration, reference, fingerprint), name=name)


def which(calibration: Calibration | None, reference: Mapping[str, Any] | None, fingerprint: str) -> Calibration | None:
    """The calibration that counts: the store's own, else the model's reference for these very weights, else None.

    Parameters
    ----------
    calibration : Calibration or None
        The store's own.
    reference : mapping or None
        The model's reference calibration, as its bundle holds it.
    fingerprint : str
        Of the model whose scores are to be judged.

    Raises
    ------
    FingerprintMismatchError
        When the store's calibration is another model's.
    """
    if calibration is not None:
        if calibration.fingerprint != fingerprint:
            raise FingerprintMismatchError(
                f"the calibration is for fingerprint {calibration.fingerprint[:12]}, "
                f"the scores are of fingerprint {fingerprint[:12]}",
                hint="calibrate again: vecsv calibrate",
            )
        return calibration
    if reference is None:
        return None
    found = replace(Calibration.from_json(reference, where="the model's reference calibration"), origin=REFERENCE)
    return found if found.fingerprint == fingerprint else None


def note_on_windows(windows: WindowRule | None) -> tuple[str, ...]:
    """What to know about the thresholds of a store where recordings are asked for whole, and rows are windows.

    Examples
    --------
    >>> note_on_windows(None)
    ()
    """
    if windows is None or windows.kept is not Kept.ROWS:
        return ()
    return (
        f"the store's thresholds rest on {windows}; what is given here is compared in one piece, which scores higher "
        "the longer it is, also between strangers",
    )


def _of_point(point: OperatingPoint, calibration: Calibration) -> Threshold:
    warnings = []
    if calibration.origin == REFERENCE:
        warnings.append("reference threshold, made on other recordings than yours: run vecsv calibrate on your own")
    if not point.supported and point.note:
        warnings.append(f"threshold {point.name}: {point.note}")
    rates = point.reported
    return Threshold(
        name=point.name,
        value=point.threshold,
        origin=calibration.origin,
        source=calibration.source,
        fmr=rates.fmr,
        fnmr=rates.fnmr,
        warnings=tuple(warnings),
        held_out=point.held_out is not None,
    )
