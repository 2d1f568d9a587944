"""Overlapping windows of one recording, cut from its stream of samples.

The rule is part of a store: recordings that were cut differently are not kept side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from vecsv.arrays import Waveform
from vecsv.audio.quality import MIN_DURATION_S
from vecsv.errors import UsageError


class Kept(StrEnum):
    """What a store keeps of the windows of an utterance."""

    POOLED = "pooled"
    """One row: the mean of the windows' unit vectors, weighted by the speech in each."""

    ROWS = "rows"
    """A row for each window."""


@dataclass(frozen=True)
class WindowRule:
    """How utterances are cut into windows, and what is kept of them.

    A window starts every `hop_s` seconds. It is there when the utterance covers at least half of it and has something
    in it that the window before has not; the first is there in any case. So all windows are `length_s` long but the
    last, which may be shorter.

    Attributes
    ----------
    length_s : float
        Length of a window, in seconds; at least 0.2.
    hop_s : float
        Distance between the starts of two windows, in seconds; at most `length_s`, so that nothing is left out.
    kept : Kept

    Examples
    --------
    >>> str(WindowRule(3.0, 1.5))
    'windows of 3 s every 1.5 s, pooled'
    """

    length_s: float
    hop_s: float
    kept: Kept = Kept.POOLED

    def __post_init__(self) -> None:
        if not (math.isfinite(self.length_s) and self.length_s >= MIN_DURATION_S):
            raise UsageError(f"a window of {self.length_s:g} s", hint=f"it takes at least {MIN_DURATION_S:g} s")
        if not 0.0 < self.hop_s <= self.length_s:
            raise UsageError(
                f"a hop of {self.hop_s:g} s", hint=f"it lies above 0 and is at most the window's {self.length_s:g} s"
            )
        # A thousandth of a second is more than a sample at any rate that speech has.
        if self.hop_s < 1e-3:
            raise UsageError(f"a hop of {self.hop_s:g} s", hint="the shortest is 0.001 s")

    def __str__(self) -> str:
        kept = "pooled" if self.kept is Kept.POOLED else "a row each"
        return f"windows of {self.length_s:g} s every {self.hop_s:g} s, {kept}"

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON values."""
        return asdict(self) | {"kept": self.kept.value}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> WindowRule:
        """Read what `to_json` wrote; a KeyError, TypeError, ValueError or UsageError when it is something else."""
        return cls(float(values["length_s"]), float(values["hop_s"]), Kept(values["kept"]))


def cut(blocks: Iterable[Waveform], length: int, hop: int) -> Iterator[tuple[int, Waveform]]:
    """Cut a stream of blocks into overlapping windows.

    Parameters
    ----------
    blocks : iterable of ndarray
        Float32 ``(samples,)`` each, of any lengths; joined they are the recording.
    length, hop : int
        Of a window, and between the starts of two, in samples; ``1 <= hop <= length``.

    Yields
    ------
    start : int
        First sample of the window.
    window : ndarray
        Float32 ``(length,)``, the last one maybe shorter; may be a view. At most one block and one window are held.

    Examples
    --------
    >>> [(start, window.size) for start, window in cut([np.zeros(7, np.float32), np.zeros(4, np.float32)], 4, 2)]
    [(0, 4), (2, 4), (4, 4), (6, 4), (8, 3)]
    """
    held = np.empty(0, np.float32)
    start = 0
    for block in blocks:
        held = np.concatenate([held, block]) if held.size else block
        place = 0
        while held.size - place >= length:
            yield start, held[place : place + length]
            start, place = start + hop, place + hop
        # A copy, or a window's worth of samples would keep the whole block.
        held = held[place:].copy()
    covered = 0 if start == 0 else length - hop
    if held.size and (start == 0 or (held.size > covered and 2 * held.size >= length)):
        yield start, held
