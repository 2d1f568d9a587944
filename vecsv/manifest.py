"""Manifests: which recordings there are, and who speaks in them.

A manifest is tab-separated UTF-8 text, a recording a line, in one of two forms:

- two columns, path and speaker, without a header;
- a header line, then rows with as many columns. Its first line is a header when one of its fields is exactly
  ``path``. ``path`` and ``speaker`` must be there; ``utt_id``, ``session``, ``channel``, ``start_s`` and
  ``end_s`` mean what they mean here and may be left empty; any other column is kept as it is.

Relative paths are relative to the manifest's folder. A byte order mark, CRLF and blank lines do no harm;
spaces around a field are dropped; there is no quoting, so a field cannot hold a tab or a line break. Names
are never normalised: two spellings of one character in Unicode are two names, as they are to most file
systems.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from vecsv.errors import ManifestError

MAX_LINE_BYTES: Final = 1 << 20
"""A longer line is a bad row: whatever the file is, memory stays bounded."""

SHOWN_CHARACTERS: Final = 200
"""How much of a bad row is kept."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_MEANINGFUL: Final = ("path", "speaker", "utt_id", "session", "channel", "start_s", "end_s")


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One recording, or one cut of a recording.

    Attributes
    ----------
    line : int
        Where it stands in the manifest, counted from 1.
    utt_id : str
        The manifest's own, else the path as written, with ``#t=START,END`` and ``#channel=N`` when it is a
        cut: two cuts of a recording stay two, and so do recordings of one name in two folders.
    path : Path
        The file, absolute; not checked.
    written_path : str
        The path as the manifest has it.
    speaker : str
        Who speaks; empty only where no speaker is required.
    session : str or None
        Which recording session it belongs to.
    channel : int or None
        Which channel, counted from 1; None is the mean of all.
    start_s, end_s : float or None
        The cut, in seconds; None is the recording's beginning and its end.
    extra : tuple of (str, str)
        The other columns, as name and value, in the manifest's order.
    """

    line: int
    utt_id: str
    path: Path
    written_path: str
    speaker: str
    session: str | None = None
    channel: int | None = None
    start_s: float | None = None
    end_s: float | None = None
    extra: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class BadRow:
    r"""A line that gives no recording.

    Attributes
    ----------
    line : int
        Where it stands in the manifest, counted from 1.
    reason : str
        What is wrong with it, as a phrase.
    text : str
        The line, cut to 200 characters; bytes that are not UTF-8 are written as ``\xNN``.
    """

    line: int
    reason: str
    text: str


def read_manifest(path: str | os.PathLike[str], *, speaker_required: bool = True) -> Iterator[ManifestRow | BadRow]:
    r"""Read a manifest row by row; memory does not grow with it, and a bad row never stops the rest.

    Parameters
    ----------
    path : path-like
        The manifest.
    speaker_required : bool
        False for lists of queries: the speaker column may then be missing (one column without a header, or a
        header without ``speaker``) or empty.

    Yields
    ------
    ManifestRow or BadRow
        In the manifest's order; blank lines give nothing.

    Raises
    ------
    ManifestError
        At the first row, when the manifest is missing, cannot be read, or has a header that cannot be used;
        at the end, when there was no row.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     manifest = Path(folder) / "train.tsv"
    ...     _ = manifest.write_text("a/1.wav\tann\nb/1.wav\n")
    ...     good, bad = read_manifest(manifest)
    >>> good.utt_id, good.speaker, good.path.is_absolute()
    ('a/1.wav', 'ann', True)
    >>> bad.line, bad.reason
    (2, '1 column instead of 2 (path, speaker)')
    """
    where = str(path)
    # One name for the folder however it was reached, so that the same recording has the same path in every run.
    folder = str(Path(path).parent.resolve())
    empty = True
    try:
        with Path(path).open("rb") as file:
            columns: _Columns | None = None
            for number, raw in _numbered_lines(file, where):
                text, problem = _decoded(raw)
                if not text.strip() and problem is None:
                    continue
                fields = [field.strip() for field in text.split("\t")]
                if columns is None:
                    columns, is_header = _first_columns(fields, where, speaker_required=speaker_required)
                    if is_header:
                        continue
                empty = False
                row = problem or columns.row(number, fields, folder)
                yield row if isinstance(row, ManifestRow) else BadRow(number, row, text[:SHOWN_CHARACTERS])
    except OSError as failure:
        missing = isinstance(failure, FileNotFoundError)
        what = "no such manifest" if missing else f"the manifest cannot be read: {failure.strerror}"
        raise ManifestError(what, where=where) from failure
    if empty:
        raise ManifestError("the manifest holds no rows", where=where)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which column of a manifest is what; -1 for one that is not there."""

    names: tuple[str, ...]
    optional_speaker: bool
    path: int
    speaker: int
    utt_id: int
    session: int
    channel: int
    start_s: int
    end_s: int
    extra: tuple[tuple[str, int], ...]
    shortest: int

    @classmethod
    def named(cls, names: Sequence[str], *, optional_speaker: bool, shortest: int) -> _Columns:
        places = {name: place for place, name in enumerate(names)}
        extra = tuple((name, place) for name, place in places.items() if name not in _MEANINGFUL)
        found = {name: places.get(name, -1) for name in _MEANINGFUL}
        return cls(names=tuple(names), optional_speaker=optional_speaker, extra=extra, shortest=shortest, **found)

    def row(self, line: int, fields: list[str], folder: str) -> ManifestRow | str:
        """Make a row of a line's fields, or say why they make none."""
        if not self.shortest <= len(fields) <= len(self.names):
            columns = "1 column" if len(fields) == 1 else f"{len(fields)} columns"
            return f"{columns} instead of {len(self.names)} ({', '.join(self.names)})"
        written = fields[self.path]
        speaker = fields[self.speaker] if 0 <= self.speaker < len(fields) else ""
        if not written:
            return "the path is empty"
        if not speaker and not self.optional_speaker:
            return "the speaker is empty"
        # No file has such a name, and an identifier that ends early in other programs helps nobody.
        if any("\0" in field for field in fields):
            return "there is a NUL character in it"
        channel_text = fields[self.channel] if self.channel >= 0 else ""
        start_text = fields[self.start_s] if self.start_s >= 0 else ""
        end_text = fields[self.end_s] if self.end_s >= 0 else ""
        channel = start = end = None
        if channel_text:
            channel = _channel(channel_text)
            if channel is None:
                return f'channel "{channel_text[:40]}" is not a whole number from 1 up'
        if start_text:
            start = _seconds(start_text)
            if start is None:
                return f'start_s "{start_text[:40]}" is not a number of seconds'
        if end_text:
            end = _seconds(end_text)
            if end is None:
                return f'end_s "{end_text[:40]}" is not a number of seconds'
            if end <= (start or 0.0):
                return f"the cut from {start_text or 0} s to {end_text} s has no length"
        utt_id = fields[self.utt_id] if self.utt_id >= 0 else ""
        if not utt_id:
            cut = f"#t={start_text},{end_text}" if start_text or end_text else ""
            utt_id = written + cut + (f"#channel={channel_text}" if channel_text else "")
        return ManifestRow(
            line=line,
            utt_id=utt_id,
            path=Path(os.path.join(folder, written)),  # noqa: PTH118 - a third of the time of Path's operator
            written_path=written,
            speaker=speaker,
            session=(fields[self.session] or None) if self.session >= 0 else None,
            channel=channel,
            start_s=start,
            end_s=end,
            extra=tuple([(name, fields[place]) for name, place in self.extra]) if self.extra else (),
        )


def _first_columns(fields: list[str], where: str, *, speaker_required: bool) -> tuple[_Columns, bool]:
    """Columns that the first line sets, and whether it is a header (else it is a row itself)."""
    optional = not speaker_required
    if "path" not in fields:
        shortest = 1 if optional else 2
        return _Columns.named(("path", "speaker"), optional_speaker=optional, shortest=shortest), False
    for place, name in enumerate(fields):
        if not name:
            raise ManifestError(f"column {place + 1} of the header has no name", where=where)
        if name in fields[:place]:
            raise ManifestError(f'the header has two columns "{name}"', where=where)
    if speaker_required and "speaker" not in fields:
        raise ManifestError('the header has no column "speaker"', where=where)
    return _Columns.named(fields, optional_speaker=optional, shortest=len(fields)), True


def _numbered_lines(file: BinaryIO, where: str) -> Iterator[tuple[int, bytes]]:
    number = 0
    while raw := file.readline(MAX_LINE_BYTES):
        number += 1
        if number == 1:
            if raw.startswith(_UTF16_MARKS):
                raise ManifestError("the manifest is UTF-16", where=where, hint="save it as UTF-8")
            raw = raw.removeprefix(_BYTE_ORDER_MARK)
        yield number, raw
        ended = raw.endswith(b"\n") or len(raw) < MAX_LINE_BYTES - len(_BYTE_ORDER_MARK)
        while not ended:
            rest = file.readline(MAX_LINE_BYTES)
            ended = not rest or rest.endswith(b"\n")


def _decoded(raw: bytes) -> tuple[str, str | None]:
    """Text of a line, and what is wrong with it as text."""
    try:
        text = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as failure:
        shown = raw[: 4 * SHOWN_CHARACTERS].decode("utf-8", errors="backslashreplace").rstrip("\r\n")
        return shown, f"not UTF-8 at byte {failure.start + 1} of the line"
    if len(raw) >= MAX_LINE_BYTES - len(_BYTE_ORDER_MARK) and not raw.endswith(b"\n"):
        return text, f"longer than {MAX_LINE_BYTES} bytes"
    return text, None


def _channel(text: str) -> int | None:
    # Short enough for a table's 32 bits, and for Python, which refuses thousands of digits.
    well_formed = text.isascii() and text.isdigit() and len(text) <= 9
    return int(text) if well_formed and int(text) > 0 else None


def _seconds(text: str) -> float | None:
    # Python alone takes underscores between digits.
    if "_" in text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0.0 else None
