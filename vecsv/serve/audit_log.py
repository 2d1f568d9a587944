"""Who asked what, when, and what came of it: one JSON line each, on the disk before the caller gets an answer.

No line names a speaker. An erasure must leave no name behind, and a log that is only ever added to cannot be rewritten,
so a speaker stands in it as an HMAC-SHA256 of the name under the log's own salt, a file beside it. Whoever has that
file and knows a name can prove what was done to it, erasure and receipt included (`lines_about`); whoever has the log
alone can tell that lines are of the same person, not of whom. Deleting the salt makes all of it anonymous for good.
Sound, vectors and keys have no field here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from vecsv import private
from vecsv.durable import create_exclusively, make_folder
from vecsv.errors import UsageError

_SALT_BYTES = 32
_OPENED_TO_ADD = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)


class Action(StrEnum):
    """What is taken down."""

    VERIFY = "verify"
    SEARCH = "search"
    ENROL = "enrol"
    ERASE = "erase"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line, but for when it was written.

    Attributes
    ----------
    action : Action
    caller : str
        The key's name, or ``"local"`` where no keys are asked for.
    address : str
        The client's.
    request_id : str
    stores : sequence of str
        The stores' names, not where they lie.
    key_id : str or None
    speaker : str or None
        Whom it is about: the one verified against, enrolled or erased; of a search, the best hit. Written as a hash.
    decision : str or None
        ``"same"``, ``"different"``; ``"enrolled"``, ``"refused"``; ``"erased"``.
    score : float or None
        Of a verification, or of a search's best hit.
    recordings : int or None
        How many were enrolled, or erased.
    receipts : sequence of str
        Numbers of an erasure's receipts.
    """

    action: Action
    caller: str
    address: str
    request_id: str
    stores: Sequence[str]
    key_id: str | None = None
    speaker: str | None = None
    decision: str | None = None
    score: float | None = None
    recordings: int | None = None
    receipts: Sequence[str] = ()


class AuditLog:
    """Adds lines to a file; any number of threads and processes may add to the same one.

    A line is one `write` to a file opened to append, which a local file system does as a whole, and an `fsync`: call
    `add` from a thread, not from an event loop. A file that was moved away, to be kept, is begun anew.

    Parameters
    ----------
    path : Path
        Made, with its folder and a salt beside it (``NAME.salt``), for their owner alone.

    Raises
    ------
    UsageError
        When it cannot be written, or its salt cannot be read or may be read by everybody.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        try:
            make_folder(path.absolute().parent)
            self._salt = _salt_of(path)
            self._file = self._open()
        except OSError as error:
            raise UsageError(
                f"the audit log cannot be written: {error.strerror or error}", where=str(error.filename or path)
            ) from error

    def add(self, entry: Entry) -> None:
        """Write a line; it is on the disk when this returns.

        Raises
        ------
        OSError
            When it is not. What it tells of should then not be done, or not be answered for.
        """
        document: dict[str, Any] = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "action": entry.action.value,
            "caller": entry.caller,
            "key_id": entry.key_id,
            "address": entry.address,
            "request_id": entry.request_id,
            "speaker_hmac": None if entry.speaker is None else self.hash_of(entry.speaker),
            "stores": list(entry.stores),
            "decision": entry.decision,
            "score": None if entry.score is None else float(entry.score),
            "recordings": entry.recordings,
            "receipts": list(entry.receipts),
        }
        kept = {name: value for name, value in document.items() if value not in (None, [])}
        # ASCII, so that no name of a key can look like the end of a line to any reader.
        line = json.dumps(kept, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"
        with self._lock:
            self._begin_anew_if_moved()
            written = os.write(self._file, line)
            if written != len(line):
                # The disk is full. A line feed, if there is room for it, keeps the next line whole.
                os.write(self._file, b"\n")
                raise OSError(f"{self._path}: only a part of a line could be written")
            os.fsync(self._file)

    def hash_of(self, speaker: str) -> str:
        """What stands for a speaker: 64 hexadecimal digits."""
        return _hash(self._salt, speaker)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            os.close(self._file)

    def _open(self) -> int:
        file = os.open(self._path, _OPENED_TO_ADD, private.MODE)
        if not _ends_whole(self._path):
            # A power cut took the end of the last line: it stays as it is, and the next begins after it.
            os.write(file, b"\n")
        return file

    def _begin_anew_if_moved(self) -> None:
        ours = os.fstat(self._file)
        try:
            there = self._path.stat()
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            moved, self._file = self._file, self._open()
            os.close(moved)


def lines_about(path: Path, speaker: str) -> Iterator[dict[str, Any]]:
    """What a log says of a speaker, for whoever has its salt; lines that a power cut has damaged are passed over.

    Raises
    ------
    UsageError
        When the log or its salt cannot be read.
    """
    wanted = _hash(_read_salt(path), speaker)
    for line in private.read_private(path, what="the audit log", hint="vecsv serve writes it").splitlines():
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict) and document.get("speaker_hmac") == wanted:
            yield document


def _salt_of(path: Path) -> bytes:
    """The log's salt, made if there is none; of several processes that make it at once, all get the same."""
    place = _salt_path(path)
    if not place.exists():
        salt = base64.b64encode(secrets.token_bytes(_SALT_BYTES)) + b"\n"
        create_exclusively(place, salt, mode=private.MODE)
    return _read_salt(path)


def _read_salt(path: Path) -> bytes:
    place = _salt_path(path)
    hint = "without it nobody can tell whom the log is about; restore it from a backup"
    try:
        salt = base64.b64decode(private.read_private(place, what="the audit log's salt", hint=hint), validate=False)
    except ValueError:
        salt = b""
    if len(salt) != _SALT_BYTES:
        raise UsageError("not the salt of an audit log", where=str(place), hint="restore it from a backup")
    return salt


def _salt_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.salt")


def _hash(salt: bytes, speaker: str) -> str:
    return hmac.new(salt, speaker.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return True
        file.seek(size - 1)
        return file.read(1) == b"\n"
