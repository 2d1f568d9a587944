"""Rows of a manifest from turns: each turn of a diarisation is a cut of its recording."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vecsv.corpus import AUDIO_SUFFIXES
from vecsv.errors import ManifestError
from vecsv.manifest import SHOWN_CHARACTERS, BadRow, ManifestRow, read_manifest
from vecsv.rttm import DIGITS, Turn


class Names(StrEnum):
    """How far a speaker's name reaches."""

    LOCAL = "local"
    """Within its file: ``speaker0`` of two files are two people."""

    GLOBAL = "global"
    """Everywhere: the names are people's."""


@dataclass(frozen=True, slots=True)
class Found:
    """A recording that a file id stands for.

    Attributes
    ----------
    path : Path
        Absolute.
    written_path : str
    session : str or None
    channel : int or None
        For turns that say nothing about it.
    extra : tuple of (str, str)
    problem : str or None
        Why turns cannot be cut from it after all.
    """

    path: Path
    written_path: str
    session: str | None = None
    channel: int | None = None
    extra: tuple[tuple[str, str], ...] = ()
    problem: str | None = None


class Recordings:
    """Recordings by file id, of a manifest or of a folder.

    Parameters
    ----------
    where : str
        What they are from, for errors.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._by_id: dict[str, Found] = {}
        self._by_stem: defaultdict[str, list[Found]] = defaultdict(list)

    @classmethod
    def of_manifest(cls, manifest: Path) -> Recordings:
        """Recordings of a manifest; a file id is an utterance id, else the name of a file without its ending.

        Rows that cannot be read are left out: turns that would need one say so.

        Raises
        ------
        ManifestError
            When the manifest cannot be read at all.
        """
        recordings = cls(str(manifest))
        for row in read_manifest(manifest, speaker_required=False):
            if isinstance(row, BadRow):
                continue
            is_cut = row.start_s is not None or row.end_s is not None
            problem = f"line {row.line} of {manifest} is a cut, and turns are of whole recordings" if is_cut else None
            found = Found(row.path, row.written_path, row.session, row.channel, row.extra, problem)
            recordings._by_id.setdefault(row.utt_id, found)
            recordings._add(found)
        return recordings

    @classmethod
    def of_folder(cls, folder: Path) -> Recordings:
        """Recordings anywhere below a folder, known by the endings of their names.

        Raises
        ------
        ManifestError
            When it is no folder.
        """
        if not folder.is_dir():
            raise ManifestError("no such folder", where=str(folder))
        recordings = cls(str(folder))
        base = folder.resolve()
        for parent, folders, names in os.walk(base):
            folders.sort()
            for name in sorted(names):
                if Path(name).suffix.lower() in AUDIO_SUFFIXES:
                    path = Path(parent, name)
                    recordings._add(Found(path, path.relative_to(base).as_posix()))
        return recordings

    def _add(self, found: Found) -> None:
        for name in {found.path.stem, found.path.name}:
            others = self._by_stem[name]
            if all(other.path != found.path or other.channel != found.channel for other in others):
                others.append(found)

    def find(self, file_id: str) -> Found | None:
        """The recording, or None where there is none.

        Raises
        ------
        ManifestError
            When there are two; names both.
        """
        known = self._by_id.get(file_id)
        if known is not None:
            return known
        named = self._by_stem.get(file_id, [])
        if len(named) > 1:
            first, second = (str(one.path) for one in named[:2])
            raise ManifestError(
                f"the file id {file_id!r} may be {first} or {second}",
                where=self._where,
                hint="give a manifest with utt_id, in which each file id stands once",
            )
        return named[0] if named else None


def turn_rows(
    turns: Iterable[Turn | BadRow],
    find: Callable[[str], Found | None],
    *,
    several_channels: frozenset[str] = frozenset(),
    names: Names = Names.LOCAL,
) -> Iterator[ManifestRow | BadRow]:
    """Make rows of turns, as a manifest of cuts would have them.

    The utterance id is ``<file id>#t=START,END#speaker=NAME``, with ``#channel=N`` where the channel counts; two people
    may speak at the same time. Turns of a file are of one session: the recording's own, else the file id.

    Parameters
    ----------
    turns : iterable of Turn or BadRow
    find : callable
        Gives the recording of a file id.
    several_channels : frozenset of str
        File ids whose turns' channels count; see `channels_that_count`.
    names : Names
        Local names become ``<file id>/<name>``.
    """
    for turn in turns:
        if isinstance(turn, BadRow):
            yield turn
            continue
        found = find(turn.file_id)
        if found is None or found.problem is not None:
            reason = f'no recording for the file id "{turn.file_id}"' if found is None else str(found.problem)
            yield BadRow(turn.line, reason, f"SPEAKER {turn.file_id} {turn.start_s:g}"[:SHOWN_CHARACTERS])
            continue
        counts = turn.file_id in several_channels
        channel = turn.channel if counts else found.channel
        cut = f"#t={_seconds(turn.start_s)},{_seconds(turn.end_s)}"
        yield ManifestRow(
            line=turn.line,
            utt_id=f"{turn.file_id}{cut}" + (f"#channel={channel}" if counts else "") + f"#speaker={turn.speaker}",
            path=found.path,
            written_path=found.written_path,
            speaker=turn.speaker if names is Names.GLOBAL else f"{turn.file_id}/{turn.speaker}",
            session=found.session or turn.file_id,
            channel=channel,
            start_s=turn.start_s,
            end_s=turn.end_s,
            extra=found.extra,
        )


def _seconds(value: float) -> str:
    return f"{value:.{DIGITS}f}".rstrip("0").rstrip(".")
