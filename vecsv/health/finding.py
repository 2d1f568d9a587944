"""What one check of a model came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["pass", "fail", "skipped"]


@dataclass(frozen=True)
class Finding:
    """One line of the table.

    Attributes
    ----------
    check : str
        What was checked, in a few words; stable between versions.
    outcome : str
        ``"pass"``, ``"fail"``, or ``"skipped"`` where it could not be checked here.
    measured : str
        What was found, for people.
    value, limit : float or None
        The figure that decided and what it was held against; None where no single figure did.
    """

    check: str
    outcome: Outcome
    measured: str
    value: float | None = None
    limit: float | None = None


def at_most(check: str, value: float, limit: float, measured: str) -> Finding:
    """A figure that has to stay at or below a limit; not a number fails.

    Examples
    --------
    >>> at_most("difference", float("nan"), 1.0, "not a number").outcome
    'fail'
    """
    return Finding(check, "pass" if value <= limit else "fail", measured, _finite(value), limit)


def at_least(check: str, value: float, limit: float, measured: str) -> Finding:
    """A figure that has to reach a limit; not a number fails."""
    return Finding(check, "pass" if value >= limit else "fail", measured, _finite(value), limit)


def skipped(check: str, why: str) -> Finding:
    """A check that this machine or this model does not allow."""
    return Finding(check, "skipped", why)


def failed(check: str, why: str) -> Finding:
    """A check that found the model unusable rather than a figure too large."""
    return Finding(check, "fail", why)


def _finite(value: float) -> float | None:
    """JSON has no infinity and no not-a-number."""
    return value if abs(value) < float("inf") else None
