"""What every spec of a front end is held against when it is made."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

from vecsv.errors import ModelError


def require_choice(spec: object, **choices: set[str]) -> None:
    """Refuse a field whose value is none of those named for it."""
    for name, known in choices.items():
        if getattr(spec, name) not in known:
            raise refusal(f"{name} is {getattr(spec, name)!r}, this version knows {', '.join(sorted(known))}")


def require_finite(spec: Any) -> None:
    """Refuse a spec with an infinite field, or one that is not a number."""
    for field in fields(spec):
        value = getattr(spec, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise refusal(f"{field.name} is {value}, which is no finite number")


def require_positive(spec: object, *names: str) -> None:
    """Refuse fields that are not positive; whole numbers have to be at least 1."""
    for name in names:
        value = getattr(spec, name)
        if isinstance(value, float) and not value > 0.0:
            raise refusal(f"{name} is {value}, but has to be positive")
        if isinstance(value, int) and value < 1:
            raise refusal(f"{name} is {value}, but has to be at least 1")


def require_bands(f_min: float, f_max: float, sample_rate: int) -> None:
    """Refuse edges that are in the wrong order or beyond half the sample rate."""
    if not 0 <= f_min < f_max <= sample_rate / 2:
        raise refusal(f"bands from {f_min} to {f_max} Hz do not fit {sample_rate} Hz audio")


def refusal(what: str) -> ModelError:
    """Make the error that says what a front end cannot be."""
    return ModelError(what, where="front end")
