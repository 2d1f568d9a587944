"""People enrolled one at a time, in SQLite beside the shards.

Enrolments are few, come singly and must be found at once, so they live in a database with transactions instead of in
immutable shards, and are searched by brute force beside the index. Their row ids are negative (``-2`` for the first),
so that they never meet a shard's. With a key in ``VECSV_ENROLMENT_KEY_FILE`` a new database is sealed (see
`vecsv.store.sealing`), and one that was begun without a key can be converted with `seal`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from vecsv.arrays import RowIds, Vectors
from vecsv.errors import FingerprintMismatchError, StoreBusyError, StoreError, UsageError
from vecsv.store.enrolment_rows import (
    Layout,
    PlainRows,
    Row,
    create_plain,
    create_sealed,
    is_plain_left,
    layout_of,
    note_plain_gone,
    replace_plain_by_sealed,
)
from vecsv.store.sealing import BrokenSealError, configured_key

FILE = "enrolments.sqlite"
_BUSY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One recording a person was enrolled with. `utt_id` is the path as it was given; `path` is absolute."""

    speaker: str
    utt_id: str
    path: str
    channel: int | None
    duration_s: float
    speech_s: float
    snr_db: float | None
    clipped: float
    audio_sha256: str
    embedding: Vectors


@dataclass(frozen=True)
class EnrolledVectors:
    """All enrolments as arrays of the same length.

    Attributes
    ----------
    row_ids : int64 ``(n,)``
        Negative, descending.
    speakers, utt_ids, paths : tuple of str
    speech_s : tuple of float
    vectors : float32 ``(n, dim)``
    """

    row_ids: RowIds
    speakers: tuple[str, ...]
    utt_ids: tuple[str, ...]
    paths: tuple[str, ...]
    speech_s: tuple[float, ...]
    vectors: Vectors


def add(folder: Path, fingerprint: str, enrolments: Sequence[Enrolment]) -> int:
    """Enrol recordings: all of them or, if anything fails, none.

    Returns
    -------
    int
        How many are new; a recording the speaker is enrolled with already is left as it is.

    Raises
    ------
    FingerprintMismatchError
        When earlier enrolments are of another model.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    rows = [
        Row(
            id=None,
            speaker=one.speaker,
            utt_id=one.utt_id,
            path=one.path,
            channel=one.channel or 0,
            duration_s=one.duration_s,
            speech_s=one.speech_s,
            snr_db=one.snr_db,
            clipped=one.clipped,
            audio_sha256=one.audio_sha256,
            fingerprint=fingerprint,
            enrolled_at=now,
            embedding=np.ascontiguousarray(one.embedding, dtype="<f4").tobytes(),
        )
        for one in enrolments
    ]
    with _connect(folder, write=True) as connection:
        if is_plain_left(connection):
            # Of a conversion that was cut off; where somebody is reading, the next enrolment sees to it.
            with suppress(StoreBusyError):
                _rebuild(connection, folder)
        with _transaction(connection):
            layout = _layout_to_add(connection, folder)
            _require_fingerprint(connection, fingerprint, folder)
            before = connection.total_changes
            layout.insert(connection, rows)
            return connection.total_changes - before


def read(folder: Path, dim: int, *, speaker: str | None = None) -> EnrolledVectors:
    """All enrolments, or one speaker's."""
    rows: list[Row] = []
    if (folder / FILE).is_file():
        with _connect(folder) as connection, _unchanging(connection):
            layout = _layout(connection, folder)
            rows = [] if layout is None else layout.select(connection, speaker)
    embeddings = np.frombuffer(b"".join(row.embedding for row in rows), dtype="<f4")
    return EnrolledVectors(
        row_ids=-1 - np.array([row.id for row in rows], dtype=np.int64),
        speakers=tuple(row.speaker for row in rows),
        utt_ids=tuple(row.utt_id for row in rows),
        paths=tuple(row.path for row in rows),
        speech_s=tuple(row.speech_s for row in rows),
        vectors=embeddings.astype(np.float32).reshape(len(rows), dim),
    )


def count(folder: Path, speaker: str) -> int:
    """How many recordings a speaker is enrolled with."""
    if not (folder / FILE).is_file():
        return 0
    with _connect(folder) as connection, _unchanging(connection):
        layout = _layout(connection, folder)
        return 0 if layout is None else layout.count(connection, speaker)


def remove(folder: Path, speaker: str) -> int:
    """Erase a speaker's enrolments and every trace of them in the database's files.

    Deleted content is overwritten, the file is rebuilt without it and the write-ahead log is emptied.

    Returns
    -------
    int
        How many enrolments there were.
    """
    if not (folder / FILE).is_file():
        return 0
    with _connect(folder, write=True) as connection:
        with _transaction(connection):
            layout = _layout(connection, folder)
            removed = 0 if layout is None else layout.delete(connection, speaker)
        if layout is not None:
            _rebuild(connection, folder)
        return removed


def seal(folder: Path) -> int:
    """Seal the enrolments of a store that was begun without a key; nothing plain is left in the database's files.

    The rows are replaced in one transaction, then the file is rebuilt and the write-ahead log emptied. Killed in
    between, the database notes that it may still hold plain bytes; the next enrolment, erasure or call of this function
    completes it. What a disk keeps of blocks that were given back is beyond any program's reach, as are backups.

    Returns
    -------
    int
        How many were plain; 0 when all was sealed before.

    Raises
    ------
    UsageError
        When ``VECSV_ENROLMENT_KEY_FILE`` names no key.
    StoreBusyError
        When another process reads on and on.
    """
    key = configured_key()
    if key is None:
        raise UsageError(
            "no key is given", hint="vecsv keys enrolment-key FILE makes one; set VECSV_ENROLMENT_KEY_FILE to it"
        )
    if not (folder / FILE).is_file():
        return 0
    with _connect(folder, write=True) as connection:
        with _transaction(connection):
            layout = _layout(connection, folder)
            sealed = replace_plain_by_sealed(connection, key) if isinstance(layout, PlainRows) else 0
        if layout is not None:
            _rebuild(connection, folder)
        return sealed


def require_usable(folder: Path) -> None:
    """Fail unless a store's enrolments can be read, and added to, with the key in use or without one.

    For a service, which should say so when it starts and not when the first person enrols.

    Raises
    ------
    StoreError
        When they are sealed with another key or there is none, or when there is a key and they are plain.
    """
    if (folder / FILE).is_file():
        with _connect(folder) as connection, _unchanging(connection):
            if isinstance(_layout(connection, folder), PlainRows):
                _require_no_key(folder)


def _layout(connection: sqlite3.Connection, folder: Path) -> Layout | None:
    return layout_of(connection, configured_key, where=str(folder / FILE))


def _layout_to_add(connection: sqlite3.Connection, folder: Path) -> Layout:
    layout = _layout(connection, folder)
    if layout is None:
        key = configured_key()
        return create_plain(connection) if key is None else create_sealed(connection, key)
    if isinstance(layout, PlainRows):
        _require_no_key(folder)
    return layout


def _require_no_key(folder: Path) -> None:
    """Fail when a key is given: then nobody expects that anything is kept plain."""
    if configured_key() is not None:
        raise StoreError(
            "a key is given, but the enrolments here are not sealed yet",
            where=str(folder / FILE),
            hint=f"seal them: vecsv keys seal-enrolments --store {folder}",
        )


def _rebuild(connection: sqlite3.Connection, folder: Path) -> None:
    """Rebuild the file without what was deleted from it, and empty the write-ahead log."""
    connection.execute("VACUUM")
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StoreBusyError(
            "enrolments are being read, so their log still holds what was to go",
            where=str(folder / FILE),
            hint="run the same command again when the other process has ended",
        )
    if is_plain_left(connection):
        note_plain_gone(connection)


@contextmanager
def _connect(folder: Path, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    path = folder / FILE
    try:
        connection = _open_to_write(path) if write else _open_to_read(path)
        try:
            yield connection
        finally:
            connection.close()
    except BrokenSealError as error:
        raise StoreError(f"damaged: {error}", where=str(path), hint="restore the file from a backup") from error
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or "busy" in str(error):
            raise StoreBusyError(
                "the enrolments are locked by another process", where=str(path), hint="run it again"
            ) from error
        raise StoreError(f"the enrolments cannot be used: {error}", where=str(path)) from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"damaged: {error}", where=str(path), hint="restore the file from a backup") from error


def _open_to_write(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    _use_log(connection)
    # Every acknowledged enrolment survives a power cut.
    connection.execute("PRAGMA synchronous = FULL")
    # What is deleted is overwritten, and nothing on its way out is put into a temporary file.
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def _use_log(connection: sqlite3.Connection) -> None:
    """Switch a new database to a write-ahead log; SQLite's own waiting does not cover two that do so at once."""
    give_up = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                connection.close()
                raise
            time.sleep(0.01)


def _open_to_read(path: Path) -> sqlite3.Connection:
    """Open the database without changing it, also where the disk or the folder cannot be written."""
    address = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(address, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        if "readonly" not in str(error) and "unable to open" not in str(error):
            raise
        # Beside a log it cannot write SQLite wants to be told that nobody else writes either; nobody can.
        return sqlite3.connect(f"{address}&immutable=1", uri=True, isolation_level=None)
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        _roll_back(connection)
        raise
    connection.execute("COMMIT")


def _roll_back(connection: sqlite3.Connection) -> None:
    # A full or failing disk makes SQLite do so itself.
    if connection.in_transaction:
        connection.execute("ROLLBACK")


@contextmanager
def _unchanging(connection: sqlite3.Connection) -> Iterator[None]:
    """One state of the database for all that the block reads."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        _roll_back(connection)


def _require_fingerprint(connection: sqlite3.Connection, fingerprint: str, folder: Path) -> None:
    other = connection.execute(
        "SELECT fingerprint FROM enrolments WHERE fingerprint != ? LIMIT 1", (fingerprint,)
    ).fetchone()
    if other is not None:
        raise FingerprintMismatchError(
            f"the enrolments are of fingerprint {other[0][:12]}, these of {fingerprint[:12]}; they cannot be compared",
            where=str(folder / FILE),
            hint="enrol the recordings again into a new store",
        )
