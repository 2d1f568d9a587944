"""Making a manifest of a folder that holds a folder per speaker."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from vecsv.errors import ManifestError

AUDIO_SUFFIXES: Final = frozenset(
    {
        *(".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".flac", ".m4a", ".m4b"),
        *(".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpga", ".nist", ".oga", ".ogg", ".opus", ".rf64", ".snd"),
        *(".sph", ".voc", ".w64", ".wav", ".wave", ".webm", ".wma", ".wv"),
    }
)
"""Endings of file names, in lower case, that `make_manifest` takes for recordings."""

_HEADER_LINE: Final = "path\tspeaker\n"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder that `make_manifest` could not give a row, and why."""

    path: Path
    reason: str


def make_manifest(
    folder: str | os.PathLike[str],
    *,
    relative_to: str | os.PathLike[str] | None = None,
    left_out: Callable[[LeftOut], object] | None = None,
) -> Iterator[tuple[str, str]]:
    """List the recordings of a folder that holds a folder per speaker.

    The first folder below `folder` names the speaker; files in deeper folders belong to that speaker.
    Recordings are known by the ending of their names (`AUDIO_SUFFIXES`); other files and hidden ones are
    passed over.

    Parameters
    ----------
    folder : path-like
        The folder of folders. Links to folders are followed.
    relative_to : path-like, optional
        The folder that paths are to be relative to: that of the manifest. Default: `folder`.
    left_out : callable, optional
        Called with each recording or folder that gets no row: recordings directly in `folder`, names that a
        manifest cannot hold, folders that cannot be read.

    Yields
    ------
    tuple of (str, str)
        Path and speaker; sorted by name, folder by folder.

    Raises
    ------
    ManifestError
        When `folder` is no folder that can be read, or at the end, when there was no recording to list.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as corpus:
    ...     for name in ("ann/1.wav", "ann/2024/2.flac", "bob/1.wav", "bob/notes.txt"):
    ...         file = Path(corpus, name)
    ...         file.parent.mkdir(parents=True, exist_ok=True)
    ...         file.touch()
    ...     list(make_manifest(corpus))
    [('ann/1.wav', 'ann'), ('ann/2024/2.flac', 'ann'), ('bob/1.wav', 'bob')]
    """
    root = Path(folder)
    report = left_out or (lambda _: None)
    prefix = _prefix(root, root if relative_to is None else Path(relative_to))
    try:
        entries = _sorted_entries(root)
    except OSError as failure:
        missing = isinstance(failure, FileNotFoundError)
        what = "no such folder" if missing else f"the folder cannot be read: {failure.strerror}"
        raise ManifestError(what, where=str(root)) from failure
    empty = True
    for entry in entries:
        if not entry.is_dir():
            if _is_recording(entry.name):
                report(LeftOut(Path(entry.path), "lies in no speaker's folder"))
            continue
        for parts in _recordings(Path(entry.path), (entry.name,), (_identity(root),), report):
            written = prefix + "/".join(parts)
            if not (_fits(written) and _fits(entry.name)):
                report(LeftOut(root.joinpath(*parts), "a manifest cannot hold this name"))
                continue
            empty = False
            yield written, entry.name
    if empty:
        raise ManifestError(
            "no recordings in it that a manifest could list",
            where=str(root),
            hint="it should hold one folder per speaker, with recordings inside",
        )


def write_manifest(rows: Iterable[tuple[str, str]], out: str | os.PathLike[str] | TextIO) -> int:
    r"""Write paths and speakers as a manifest with a header.

    Parameters
    ----------
    rows : iterable of (str, str)
        Path and speaker, as `make_manifest` gives them.
    out : path-like or text stream
        A file is replaced in one step, when everything is on the disk; on any failure it stays as it was.

    Returns
    -------
    int
        How many rows were written.

    Raises
    ------
    ManifestError
        When the file cannot be written, or a field holds what a manifest cannot.

    Examples
    --------
    >>> import io
    >>> text = io.StringIO()
    >>> write_manifest([("ann/1.wav", "ann")], text), text.getvalue()
    (1, 'path\tspeaker\nann/1.wav\tann\n')
    """
    if not isinstance(out, str | os.PathLike):
        return _write_rows(rows, out)
    target = Path(out)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as file:
            count = _write_rows(rows, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as failure:
        raise ManifestError(f"cannot be written: {failure.strerror}", where=str(target)) from failure
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return count


def _prefix(folder: Path, base: Path) -> str:
    """What makes a path below `folder` relative to `base`, or absolute where it cannot be that."""
    inside = Path(os.path.relpath(folder.absolute(), base.absolute()))
    if ".." not in inside.parts:
        return "" if inside == Path() else f"{inside.as_posix()}/"
    try:
        # ".." leads out of where a link points to, not out of where it lies: both ends have to be free of
        # links.
        return f"{Path(os.path.relpath(folder.resolve(), base.resolve())).as_posix()}/"
    except ValueError:
        return f"{folder.absolute().as_posix()}/"


def _recordings(
    folder: Path,
    parts: tuple[str, ...],
    above: tuple[tuple[int, int], ...],
    report: Callable[[LeftOut], object],
) -> Iterator[tuple[str, ...]]:
    """Parts of the path of each recording below a folder; `above` says which folders led here."""
    try:
        identity = _identity(folder)
        if identity in above:
            report(LeftOut(folder, "is a link to a folder that holds it"))
            return
        entries = _sorted_entries(folder)
    except OSError as failure:
        report(LeftOut(folder, f"cannot be read: {failure.strerror}"))
        return
    for entry in entries:
        if entry.is_dir():
            yield from _recordings(Path(entry.path), (*parts, entry.name), (*above, identity), report)
        elif _is_recording(entry.name):
            yield (*parts, entry.name)


def _sorted_entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _is_recording(name: str) -> bool:
    return Path(name).suffix.lower() in AUDIO_SUFFIXES


def _fits(field: str) -> bool:
    """Whether a field can be written and is read back as the same text."""
    try:
        field.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return bool(field) and field == field.strip() and not any(character in field for character in "\t\n\r\0")


def _write_rows(rows: Iterable[tuple[str, str]], file: TextIO) -> int:
    count = 0
    file.write(_HEADER_LINE)
    for path, speaker in rows:
        if not (_fits(path) and _fits(speaker)):
            raise ManifestError(f"a manifest cannot hold {path!r}, speaker {speaker!r}")
        file.write(f"{path}\t{speaker}\n")
        count += 1
    return count
