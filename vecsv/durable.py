"""Files that are either wholly there or not there at all.

Every file of a store is written to a temporary name, flushed to the disk, given its name in one step, and its folder
flushed after. A process killed at any moment leaves at most a temporary file, which the next writer sweeps away.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

TEMPORARY_SUFFIX = ".tmp"


def sync_file(path: Path) -> None:
    """Flush a file's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Flush a folder's list of names to the disk, so that a rename in it survives a power cut."""
    sync_file(path)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, so that their names survive a power cut."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def temporary_beside(path: Path) -> Path:
    """A name in the same folder that no reader looks at and every sweep removes."""
    return path.with_name(f".{path.name}.{uuid4().hex[:12]}{TEMPORARY_SUFFIX}")


def write_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file, then put it in place durably, replacing what was there.

    Parameters
    ----------
    path : Path
        The name the file gets. Its folder is made when it is missing.
    write : callable
        Called with the temporary path; must leave a closed file there.
    """
    make_folder(path.parent)
    temporary = temporary_beside(path)
    try:
        write(temporary)
        sync_file(temporary)
        temporary.rename(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes | memoryview, *, mode: int = 0o666) -> None:
    """Put a file in place with `write_file`, from memory; `mode` as in `os.open`."""

    def write(temporary: Path) -> None:
        _fill(temporary, content, mode)

    write_file(path, write)


def write_text(path: Path, text: str) -> None:
    """Put a file of UTF-8 text in place with `write_file`; line ends stay as they are."""
    write_bytes(path, text.encode("utf-8"))


def _fill(path: Path, content: bytes | memoryview, mode: int) -> None:
    # The mode is given before the content: at no moment can others read what is not for them.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)


def create_exclusively(path: Path, content: bytes, *, mode: int = 0o666) -> bool:
    """Create a file with its whole content, unless a file of that name is there already.

    This is the one step a commit turns on. ``link`` fails when the name is taken, so of two writers exactly one wins;
    an object store has the same step as a put with ``If-None-Match: *``.

    Returns
    -------
    bool
        False when the name was taken; nothing was changed then.
    """
    make_folder(path.parent)
    temporary = temporary_beside(path)
    try:
        _fill(temporary, content, mode)
        sync_file(temporary)
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        sync_folder(path.parent)
        return True
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
