"""What can be said about a recording's file before anything is decoded."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path
from typing import Final

from vecsv.errors import AudioError

_TEXT_SAMPLE_BYTES: Final = 4096
# The controls that text has: tab, line feed, vertical tab, form feed, carriage return, escape.
_TEXT_CONTROLS: Final = frozenset(b"\t\n\v\f\r\x1b")


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises
    ------
    AudioError
        ``missing``, ``is-folder``, ``unreadable`` or ``empty``.

    Examples
    --------
    >>> sha256(Path("no-such.wav"))
    Traceback (most recent call last):
    vecsv.errors.AudioError: no-such.wav: no such file
    """
    require_readable(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as failure:
        raise _reason(path, failure) from failure


def require_readable(path: Path) -> None:
    """Make sure that a file is there, is a file, may be read and holds something.

    Raises
    ------
    AudioError
        ``missing``, ``is-folder``, ``unreadable`` or ``empty``.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise AudioError("is-folder", "is a folder, not a recording", where=printable(path))
        # A pipe or a device would block, or never end; it cannot be read twice either.
        if not stat.S_ISREG(status.st_mode):
            raise AudioError("unreadable", "is not a regular file", where=printable(path))
        with path.open("rb"):
            pass
    except OSError as failure:
        raise _reason(path, failure) from failure
    except ValueError as failure:
        raise AudioError("missing", "no file can have this name", where=printable(path)) from failure
    if status.st_size == 0:
        raise AudioError("empty", "the file is empty (0 bytes)", where=printable(path))


def looks_like_text(path: Path) -> bool:
    """Whether a file begins as UTF-8 text does; no audio format with its header intact does so.

    Examples
    --------
    >>> looks_like_text(Path(__file__))
    True
    """
    with path.open("rb") as file:
        sample = file.read(_TEXT_SAMPLE_BYTES)
    if any(byte < 32 and byte not in _TEXT_CONTROLS for byte in sample):
        return False
    # The sample may end inside a character, which takes at most four bytes.
    for cut in range(4):
        try:
            sample[: len(sample) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return True
    return False


def printable(path: Path) -> str:
    r"""Write a path so that it fits in one line of an error message.

    Examples
    --------
    >>> printable(Path("a\nb.wav"))
    'a\\nb.wav'
    """
    escape = "unicode_escape"
    return "".join(c if c.isprintable() else c.encode(escape).decode("ascii") for c in str(path))


def _reason(path: Path, failure: OSError) -> AudioError:
    where = printable(path)
    if isinstance(failure, FileNotFoundError | NotADirectoryError):
        return AudioError("missing", "no such file", where=where)
    if isinstance(failure, PermissionError):
        return AudioError("unreadable", "permission denied", where=where, hint="check who may read it")
    return AudioError("unreadable", f"cannot be opened: {failure.strerror}", where=where)
