"""Printing: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.progress import TaskID

#: A bar shows only for work that takes longer than this, in seconds.
PATIENCE_S = 2.0


def message(text: str) -> None:
    """One line for a person, on stderr."""
    sys.stderr.write(f"vecsv: {text}\n")


def warnings(texts: Iterable[str]) -> None:
    """Each warning once, on stderr."""
    for text in dict.fromkeys(texts):
        message(f"note: {text}")


def line(text: str = "") -> None:
    """One line of the result, on stdout."""
    sys.stdout.write(text + "\n")


def as_json(document: object) -> None:
    """A result for machines, on stdout."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[int] = ()) -> None:
    """A plain table on stdout: aligned columns, no frame, the same on a screen and in a pipe.

    Parameters
    ----------
    header : sequence of str
    rows : iterable of sequences
        None prints as "-".
    right : sequence of int
        Columns to align right: numbers.
    """
    cells = [list(header), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = [
            cell.rjust(width) if position in right else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line("  ".join(padded).rstrip())


def facts(rows: Iterable[tuple[str, object]]) -> None:
    """Names and values, one pair a line, on stdout."""
    pairs = [(name, _cell(value)) for name, value in rows]
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        line(f"{name.ljust(width)}  {value}")


def duration(seconds: float) -> str:
    """A length of time as people say it.

    Examples
    --------
    >>> duration(4.2), duration(130), duration(7384)
    ('4.2 s', '2 min 10 s', '2 h 03 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


class Meter(Protocol):
    """Takes how much is done, of how much, and a remark to show beside it."""

    def __call__(self, done: int, total: int, remark: str = "") -> None:
        """Show progress."""


@contextmanager
def progress(what: str) -> Iterator[Meter]:
    """Show progress on stderr once the work has taken two seconds: a bar on a terminal, else a line now and then."""
    bar = _Bar(what)
    try:
        yield bar
    finally:
        bar.close()


class _Bar:
    def __init__(self, what: str) -> None:
        self._what = what
        self._started = time.monotonic()
        self._said = self._started
        self._rich: Any = None
        self._task: TaskID | None = None

    def __call__(self, done: int, total: int, remark: str = "") -> None:
        now = time.monotonic()
        if now - self._started < PATIENCE_S and self._rich is None:
            return
        if sys.stderr.isatty():
            self._draw(done, total, remark)
        elif now - self._said >= 30:
            self._said = now
            left = (now - self._started) * (total - done) / max(done, 1)
            message(f"{self._what}: {done:,} of {total:,} {remark} ({duration(left)} left)")

    def _draw(self, done: int, total: int, remark: str) -> None:
        if self._rich is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._rich = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[remark]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._rich.add_task(self._what, total=total, remark=remark)
            self._rich.start()
        self._rich.update(self._task, completed=done, total=total, remark=remark)

    def close(self) -> None:
        if self._rich is not None:
            self._rich.stop()
