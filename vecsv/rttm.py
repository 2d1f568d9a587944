"""RTTM files: who speaks when, as diarisation tools write it.

The format is NIST's (Rich Transcription 2009 evaluation plan, appendix A): lines of nine fields, or ten, parted by
white space, of which those of the type ``SPEAKER`` say

    SPEAKER <file id> <channel> <start in s> <duration in s> <NA> <NA> <speaker> <confidence> [<look-ahead>]

Lines of its other types are passed over, and so are comments (``;;``) and blank lines.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vecsv.errors import ManifestError
from vecsv.manifest import SHOWN_CHARACTERS, BadRow

_NOT_GIVEN: Final = "<NA>"
_OTHER_TYPES: Final = frozenset(
    {
        *("SEGMENT", "NOSCORE", "NO_RT_METADATA", "LEXEME", "NON-LEX", "NON-SPEECH", "FILLER", "EDIT", "IP", "SU"),
        *("CB", "A/P", "SPKR-INFO"),
    }
)
# Rounding hides what adding a start and a duration does to the last digits.
DIGITS: Final = 6
"""Decimals of a second that turns keep."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One stretch of one speaker.

    Attributes
    ----------
    line : int
        Where it stands in the file, counted from 1.
    file_id : str
        The recording, by a name without folder and ending.
    channel : int or None
        Counted from 1; None where it is not given.
    start_s, end_s : float
        In seconds from the recording's beginning.
    speaker : str
    """

    line: int
    file_id: str
    channel: int | None
    start_s: float
    end_s: float
    speaker: str


def parse_line(line: int, text: str) -> Turn | BadRow | None:
    """Read one line; None where it is none of a speaker.

    Examples
    --------
    >>> parse_line(1, "SPEAKER call7 1 0.50 2.25 <NA> <NA> agent <NA> <NA>")
    Turn(line=1, file_id='call7', channel=1, start_s=0.5, end_s=2.75, speaker='agent')
    >>> parse_line(2, "SPEAKER call7 1 0.50 -1 <NA> <NA> agent <NA>").reason
    'the duration "-1" is not a number of seconds above 0'
    """
    fields = text.split()
    if not fields or fields[0].startswith(";;") or fields[0] in _OTHER_TYPES:
        return None
    turn = _turn(line, fields)
    return BadRow(line, turn, text.strip()[:SHOWN_CHARACTERS]) if isinstance(turn, str) else turn


def _turn(line: int, fields: Sequence[str]) -> Turn | str:
    if fields[0] != "SPEAKER":
        return f'"{fields[0][:40]}" is no type of RTTM line'
    if len(fields) not in {9, 10}:
        return f"{len(fields)} fields instead of 9 or 10"
    _, file_id, channel_text, start_text, duration_text, _, _, speaker, *_ = fields
    if any("\0" in field for field in fields):
        return "there is a NUL character in it"
    if speaker == _NOT_GIVEN or file_id == _NOT_GIVEN:
        return "the speaker or the file id is not given"
    channel = None
    if channel_text != _NOT_GIVEN:
        if not (channel_text.isascii() and channel_text.isdigit() and len(channel_text) <= 9 and int(channel_text)):
            return f'channel "{channel_text[:40]}" is not a whole number from 1 up'
        channel = int(channel_text)
    start, duration = _number(start_text), _number(duration_text)
    if start is None or start < 0.0:
        return f'the start "{start_text[:40]}" is not a number of seconds'
    if duration is None or duration <= 0.0:
        return f'the duration "{duration_text[:40]}" is not a number of seconds above 0'
    end = round(start + duration, DIGITS)
    if not start < end:
        return f'a turn of "{duration_text[:40]}" s has no length'
    return Turn(line, file_id, channel, start, end, speaker)


def _number(text: str) -> float | None:
    # Python alone takes underscores between digits.
    if "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read_rttm(path: str | os.PathLike[str]) -> Iterator[Turn | BadRow]:
    """Read the turns of an RTTM file; a bad line never stops the rest.

    Raises
    ------
    ManifestError
        When it is missing, cannot be read, or has no line of a speaker.
    """
    where = str(path)
    empty = True
    try:
        with Path(path).open("rb") as file:
            for number, raw in enumerate(file, start=1):
                found = _parse_bytes(number, raw)
                if found is not None:
                    empty = False
                    yield found
    except OSError as failure:
        missing = isinstance(failure, FileNotFoundError)
        what = "no such RTTM file" if missing else f"the RTTM file cannot be read: {failure.strerror}"
        raise ManifestError(what, where=where) from failure
    if empty:
        raise ManifestError("no SPEAKER line in it", where=where)


def _parse_bytes(line: int, raw: bytes) -> Turn | BadRow | None:
    try:
        return parse_line(line, raw.decode("utf-8-sig"))
    except UnicodeDecodeError as failure:
        shown = raw[: 4 * SHOWN_CHARACTERS].decode("utf-8", errors="backslashreplace").strip()
        return BadRow(line, f"not UTF-8 at byte {failure.start + 1} of the line", shown[:SHOWN_CHARACTERS])


def channels_that_count(turns: Iterable[Turn]) -> frozenset[str]:
    """Files whose turns are on several channels.

    Tools that were given one mixed-down signal write channel 1 throughout. So a single channel says nothing about
    which channel of a recording to take; several do.

    Examples
    --------
    >>> stereo = [Turn(1, "a", 1, 0, 1, "x"), Turn(2, "a", 2, 0, 1, "y")]
    >>> sorted(channels_that_count([*stereo, Turn(3, "b", 1, 0, 1, "x")]))
    ['a']
    """
    seen: defaultdict[str, set[int | None]] = defaultdict(set)
    for turn in turns:
        seen[turn.file_id].add(turn.channel)
    return frozenset(file_id for file_id, channels in seen.items() if len(channels) > 1)


def turns_of_file(rttm: Path, recording: Path) -> list[Turn]:
    """The turns of one recording: those of its file id, or all where the turns are of one file only.

    Raises
    ------
    ManifestError
        When the RTTM file cannot be read, at a bad line, and when its turns are of several files, none of them this
        one.
    """
    found: list[Turn] = []
    for turn in read_rttm(rttm):
        if isinstance(turn, BadRow):
            raise ManifestError(turn.reason, where=f"{rttm}, line {turn.line}")
        found.append(turn)
    ids = {turn.file_id for turn in found}
    chosen = next((name for name in (recording.stem, recording.name) if name in ids), None)
    if chosen is None and len(ids) > 1:
        listed = ", ".join(sorted(ids)[:3])
        raise ManifestError(
            f"has no turns of {recording.stem!r}, but of {len(ids)} files ({listed}{', ...' if len(ids) > 3 else ''})",
            where=str(rttm),
        )
    return [turn for turn in found if chosen is None or turn.file_id == chosen]
