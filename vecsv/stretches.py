"""Where each speaker of a recording is heard alone, from turns that may overlap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vecsv.rttm import Turn, channels_that_count


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of a recording, in seconds; `channel` None is the mean of all."""

    channel: int | None
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class SpeakerStretches:
    """Where one speaker is heard.

    Attributes
    ----------
    stretches : tuple of Stretch
        In time; they do not overlap within a channel.
    overlapped : bool
        Whether somebody else speaks in all of it, so that this could not be left out.
    """

    stretches: tuple[Stretch, ...]
    overlapped: bool


def stretches_by_speaker(turns: Sequence[Turn], *, shortest_s: float) -> dict[str, SpeakerStretches]:
    """Where each speaker of a recording is heard alone.

    A speaker's turns are joined where they overlap or touch; what others say meanwhile on the same channel is cut out.
    Stretches shorter than `shortest_s` are dropped. Where nothing stays, the speaker's turns are taken with the others
    in them.

    Parameters
    ----------
    turns : sequence of Turn
        Of one recording.
    shortest_s : float
        In seconds, above 0.

    Returns
    -------
    dict of str to SpeakerStretches
        In the order in which they first speak.

    Examples
    --------
    >>> turns = [Turn(1, "a", 1, 0.0, 4.0, "x"), Turn(2, "a", 1, 3.0, 6.0, "y")]
    >>> {name: one.stretches for name, one in stretches_by_speaker(turns, shortest_s=0.2).items()}
    {'x': (Stretch(channel=None, start_s=0.0, end_s=3.0),), 'y': (Stretch(channel=None, start_s=4.0, end_s=6.0),)}
    """
    counts = bool(channels_that_count(turns))
    spans: dict[str, dict[int | None, list[tuple[float, float]]]] = {}
    for turn in sorted(turns, key=lambda one: (one.start_s, one.end_s)):
        of_channel = spans.setdefault(turn.speaker, {})
        of_channel.setdefault(turn.channel if counts else None, []).append((turn.start_s, turn.end_s))
    joined = {name: {channel: union(own) for channel, own in one.items()} for name, one in spans.items()}
    found = {}
    for name, of_channel in joined.items():
        alone = {
            channel: without(
                own, union([span for other in joined if other != name for span in joined[other].get(channel, [])])
            )
            for channel, own in of_channel.items()
        }
        stretches = _stretches(alone, shortest_s)
        found[name] = SpeakerStretches(stretches or _stretches(of_channel, 0.0), overlapped=not stretches)
    return found


def _stretches(spans: Mapping[int | None, Sequence[tuple[float, float]]], shortest_s: float) -> tuple[Stretch, ...]:
    listed = [
        Stretch(channel, start, end)
        for channel, of_channel in spans.items()
        for start, end in of_channel
        if end - start >= shortest_s
    ]
    return tuple(sorted(listed, key=lambda one: (one.start_s, one.channel or 0)))


def union(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans that overlap or touch made one; ascending.

    Examples
    --------
    >>> union([(2.0, 3.0), (0.0, 1.0), (0.5, 2.0)])
    [(0.0, 3.0)]
    """
    joined: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def without(spans: Sequence[tuple[float, float]], holes: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What is left of spans when holes are cut out; both ascending and apart (see `union`).

    Examples
    --------
    >>> without([(0.0, 5.0)], [(1.0, 2.0), (4.0, 9.0)])
    [(0.0, 1.0), (2.0, 4.0)]
    """
    left: list[tuple[float, float]] = []
    first = 0
    for start, end in spans:
        # Holes that end before this span end before all that follow.
        while first < len(holes) and holes[first][1] <= start:
            first += 1
        place, hole = start, first
        while hole < len(holes) and holes[hole][0] < end:
            if holes[hole][0] > place:
                left.append((place, holes[hole][0]))
            place = holes[hole][1]
            hole += 1
        if place < end:
            left.append((place, end))
    return left
