"""Faults at the calls that make a file durable: counted, and one of them struck."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

#: The calls of Python's that a durable write goes through; `Path.rename` and `Path.hardlink_to` end here.
CALLS = ("fsync", "rename", "replace", "link")


class Striker:
    """Counts calls, and calls `strike` instead of the one of a number.

    Parameters
    ----------
    at : int
        Which call to strike, from 1; 0 strikes none.
    strike : callable
        Raises, or never returns.
    """

    def __init__(self, at: int, strike: Callable[[], None]) -> None:
        self.at = at
        self.calls = 0
        self._strike = strike

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, behind the count."""

        def counted(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls == self.at:
                self._strike()
            return call(*arguments, **options)

        return counted


@contextmanager
def striking(at: int, strike: Callable[[], None]) -> Iterator[Striker]:
    """Strike the call of a number among `CALLS`, counted over all threads, while the block runs."""
    striker = Striker(at, strike)
    replaced = {name: striker.wrap(getattr(os, name)) for name in CALLS}
    with mock.patch.multiple(os, **replaced):
        yield striker


@contextmanager
def failing(at: int, error_number: int) -> Iterator[Striker]:
    """Let one of `CALLS` fail with an error of the operating system."""

    def strike() -> None:
        raise OSError(error_number, os.strerror(error_number))

    with striking(at, strike) as striker:
        yield striker
