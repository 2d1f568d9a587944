"""Which threshold decides, and where it comes from.

Never a constant in code: it was given on the command line, calibrated on the user's own store, or measured by the
model's makers on data they name, in that order of preference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vecsv.calibration.operating_points import OperatingPoint
from vecsv.calibration.record import Calibration
from vecsv.errors import FingerprintMismatchError, UsageError


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


def in_force(
    calibration: Calibration | None, reference: Mapping[str, Any] | None, fingerprint: str, *, name: str | None = None
) -> Threshold | None:
    """The threshold that decides, or None where there is no calibration at all.

    Parameters
    ----------
    calibration : Calibration or None
        The store's own.
    reference : mapping or None
        The model's reference calibration, as its bundle holds it.
    fingerprint : str
        Of the model whose scores are to be judged.
    name : str, optional
        Operating point to use instead of the calibration's own choice.

    Raises
    ------
    UsageError
        When no operating point has that name.
    FingerprintMismatchError
        When the calibration is another model's.
    """
    if calibration is not None:
        if calibration.fingerprint != fingerprint:
            raise FingerprintMismatchError(
                f"the calibration is for fingerprint {calibration.fingerprint[:12]}, "
                f"the scores are of fingerprint {fingerprint[:12]}",
                hint="calibrate again: vecsv calibrate",
            )
        return _of_point(calibration.point(name), calibration.origin, calibration.source, ())
    if reference is None:
        return None
    found = Calibration.from_json(reference, where="the model's reference calibration")
    if found.fingerprint != fingerprint:
        return None
    advice = "reference threshold, made on other recordings than yours: run vecsv calibrate on your own"
    return _of_point(found.point(name), "reference", found.source, (advice,))


def _of_point(point: OperatingPoint, origin: str, source: str, warnings: tuple[str, ...]) -> Threshold:
    if not point.supported and point.note:
        warnings = (*warnings, f"threshold {point.name}: {point.note}")
    return Threshold(point.name, point.threshold, origin, source, point.fmr, point.fnmr, warnings)
