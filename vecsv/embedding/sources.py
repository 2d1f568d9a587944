"""Where a batch run's rows come from: a manifest, or the turns of an RTTM file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vecsv.errors import UsageError
from vecsv.manifest import BadRow, ManifestRow, read_manifest
from vecsv.rttm import Turn, channels_that_count, read_rttm
from vecsv.turns import Names, Recordings, turn_rows


class Source(Protocol):
    """A list of rows that can be gone through again and again, and is always the same."""

    @property
    def path(self) -> Path:
        """The file whose lines the rows' numbers count."""

    def rows(self) -> Iterator[ManifestRow | BadRow]:
        """The rows, from the first."""


@dataclass(frozen=True)
class ManifestSource:
    """The rows of a manifest."""

    path: Path

    def rows(self) -> Iterator[ManifestRow | BadRow]:
        """The rows, from the first; see `vecsv.manifest.read_manifest`."""
        return read_manifest(self.path)


class RttmSource:
    """The turns of an RTTM file as rows.

    Parameters
    ----------
    path : Path
        The RTTM file.
    recordings : Recordings
        What its file ids stand for.
    names : Names
        How far its speakers' names reach.

    Raises
    ------
    ManifestError
        When the RTTM file cannot be read.
    """

    def __init__(self, path: Path, recordings: Recordings, names: Names = Names.LOCAL) -> None:
        self.path = path
        self._recordings = recordings
        self._names = names
        self._several = channels_that_count(turn for turn in read_rttm(path) if isinstance(turn, Turn))

    def rows(self) -> Iterator[ManifestRow | BadRow]:
        """A row for each turn; a ManifestError where a file id may be two recordings."""
        return turn_rows(read_rttm(self.path), self._recordings.find, several_channels=self._several, names=self._names)


def choose_source(
    manifest: Path | None, *, rttm: Path | None = None, audio: Path | None = None, names: Names = Names.LOCAL
) -> Source:
    """The rows that a command's options mean.

    Parameters
    ----------
    manifest : Path, optional
        The rows themselves; with `rttm` the recordings of its file ids.
    rttm : Path, optional
        Turns, each of which is a row.
    audio : Path, optional
        With `rttm` and in place of `manifest`: a folder in which the file ids are names of files.
    names : Names
        How far the names in `rttm` reach.

    Raises
    ------
    UsageError
        When the options do not go together.
    ManifestError
        When a file or folder cannot be read.
    """
    if rttm is None:
        if manifest is None or audio is not None:
            raise UsageError("give --manifest, or --rttm with --manifest or --audio")
        return ManifestSource(manifest)
    if manifest is not None and audio is not None:
        raise UsageError("--rttm takes its recordings from --manifest or --audio, one of the two")
    if manifest is not None:
        return RttmSource(rttm, Recordings.of_manifest(manifest), names)
    if audio is None:
        raise UsageError("--rttm needs its recordings", hint="name their folder with --audio, or give --manifest")
    return RttmSource(rttm, Recordings.of_folder(audio), names)
