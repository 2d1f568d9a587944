"""People enrolled one at a time, in SQLite beside the shards.

Enrolments are few, come singly and must be found at once, so they live in a database with transactions instead of in
immutable shards, and are searched by brute force beside the index. Their row ids are negative (``-2`` for the first),
so that they never meet a shard's.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from vecsv.arrays import RowIds, Vectors
from vecsv.errors import FingerprintMismatchError, StoreBusyError, StoreError

FILE = "enrolments.sqlite"
_BUSY_SECONDS = 30.0
_TABLE = """
CREATE TABLE IF NOT EXISTS enrolments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    speaker TEXT NOT NULL,
    utt_id TEXT NOT NULL,
    path TEXT NOT NULL,
    channel INTEGER NOT NULL,
    duration_s REAL NOT NULL,
    speech_s REAL NOT NULL,
    snr_db REAL,
    clipped REAL NOT NULL,
    audio_sha256 TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    enrolled_at TEXT NOT NULL,
    embedding BLOB NOT NULL,
    UNIQUE (speaker, audio_sha256, channel)
)
"""


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
    with _connect(folder, write=True) as connection, _transaction(connection):
        connection.execute(_TABLE)
        _require_fingerprint(connection, fingerprint, folder)
        before = connection.total_changes
        connection.executemany(
            "INSERT INTO enrolments (speaker, utt_id, path, channel, duration_s, speech_s, snr_db, clipped,"
            " audio_sha256, fingerprint, enrolled_at, embedding) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (speaker, audio_sha256, channel) DO NOTHING",
            [
                (
                    one.speaker,
                    one.utt_id,
                    one.path,
                    one.channel or 0,
                    one.duration_s,
                    one.speech_s,
                    one.snr_db,
                    one.clipped,
                    one.audio_sha256,
                    fingerprint,
                    now,
                    np.ascontiguousarray(one.embedding, dtype="<f4").tobytes(),
                )
                for one in enrolments
            ],
        )
        return connection.total_changes - before


def read(folder: Path, dim: int, *, speaker: str | None = None) -> EnrolledVectors:
    """All enrolments, or one speaker's."""
    rows: list[tuple[int, str, str, str, float, bytes]] = []
    if (folder / FILE).is_file():
        with _connect(folder) as connection:
            if _has_table(connection):
                chosen, values = ("", ()) if speaker is None else (" WHERE speaker = ?", (speaker,))
                rows = connection.execute(
                    f"SELECT id, speaker, utt_id, path, speech_s, embedding FROM enrolments{chosen} ORDER BY id",  # noqa: S608
                    values,
                ).fetchall()
    vectors = np.frombuffer(b"".join(row[5] for row in rows), dtype="<f4").astype(np.float32).reshape(len(rows), dim)
    return EnrolledVectors(
        row_ids=-1 - np.array([row[0] for row in rows], dtype=np.int64),
        speakers=tuple(row[1] for row in rows),
        utt_ids=tuple(row[2] for row in rows),
        paths=tuple(row[3] for row in rows),
        speech_s=tuple(row[4] for row in rows),
        vectors=vectors,
    )


def count(folder: Path, speaker: str) -> int:
    """How many recordings a speaker is enrolled with."""
    if not (folder / FILE).is_file():
        return 0
    with _connect(folder) as connection:
        if not _has_table(connection):
            return 0
        (found,) = connection.execute("SELECT COUNT(*) FROM enrolments WHERE speaker = ?", (speaker,)).fetchone()
        return int(found)


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
        if not _has_table(connection):
            return 0
        connection.execute("PRAGMA secure_delete = ON")
        with _transaction(connection):
            removed = connection.execute("DELETE FROM enrolments WHERE speaker = ?", (speaker,)).rowcount
        connection.execute("VACUUM")
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreBusyError(
                "enrolments are being read, so their log still holds the erased speaker",
                where=str(folder / FILE),
                hint="run the same command again when the other process has ended",
            )
        return int(removed)


@contextmanager
def _connect(folder: Path, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    path = folder / FILE
    try:
        connection = _open_to_write(path) if write else _open_to_read(path)
        try:
            yield connection
        finally:
            connection.close()
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
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _has_table(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'enrolments'").fetchone()
    return found is not None


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
