"""How enrolments lie in their database: plainly, or sealed with a key. Everything SQL knows about the two is here."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from vecsv.errors import StoreError
from vecsv.store.sealing import SALT_BYTES, SCHEME, BrokenSealError, EnrolmentKey, RowIdentity, Sealer

_PLAIN_TABLE = """
CREATE TABLE enrolments (
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
_SEALED_TABLE = """
CREATE TABLE enrolments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    speaker_tag BLOB NOT NULL,
    recording_tag BLOB NOT NULL UNIQUE,
    speaker BLOB NOT NULL,
    utt_id BLOB NOT NULL,
    path BLOB NOT NULL,
    channel INTEGER NOT NULL,
    duration_s REAL NOT NULL,
    speech_s REAL NOT NULL,
    snr_db REAL,
    clipped REAL NOT NULL,
    audio_sha256 BLOB NOT NULL,
    fingerprint TEXT NOT NULL,
    enrolled_at TEXT NOT NULL,
    embedding BLOB NOT NULL
)
"""
# One row: how the table `enrolments` is sealed. plain_left: whether the files may still hold what was plain before.
_SEALING_TABLE = """
CREATE TABLE sealing (
    scheme TEXT NOT NULL,
    salt BLOB NOT NULL,
    key_check BLOB NOT NULL,
    plain_left INTEGER NOT NULL
)
"""
_COLUMNS = (
    "id, speaker, utt_id, path, channel, duration_s, speech_s, snr_db, clipped, audio_sha256, fingerprint, enrolled_at,"
    " embedding"
)


class Row(NamedTuple):
    """One enrolment as the database has it; `embedding` is little-endian float32, `id` None until it has one."""

    id: int | None
    speaker: str
    utt_id: str
    path: str
    channel: int
    duration_s: float
    speech_s: float
    snr_db: float | None
    clipped: float
    audio_sha256: str
    fingerprint: str
    enrolled_at: str
    embedding: bytes


class Layout(Protocol):
    """One way for enrolments to lie in a database."""

    def insert(self, connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
        """Add rows, but for recordings their speaker is enrolled with already."""

    def select(self, connection: sqlite3.Connection, speaker: str | None) -> list[Row]:
        """All rows, or one speaker's, by id."""

    def count(self, connection: sqlite3.Connection, speaker: str) -> int:
        """How many rows a speaker has."""

    def delete(self, connection: sqlite3.Connection, speaker: str) -> int:
        """Delete a speaker's rows; returns how many there were."""


class PlainRows:
    """Enrolments that anybody who can read the file can read."""

    def insert(self, connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
        """See `Layout`."""
        connection.executemany(
            f"INSERT INTO enrolments ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
            " ON CONFLICT (speaker, audio_sha256, channel) DO NOTHING",
            rows,
        )

    def select(self, connection: sqlite3.Connection, speaker: str | None) -> list[Row]:
        """See `Layout`."""
        chosen, values = ("", ()) if speaker is None else (" WHERE speaker = ?", (speaker,))
        return [
            Row(*row)
            for row in connection.execute(f"SELECT {_COLUMNS} FROM enrolments{chosen} ORDER BY id", values)  # noqa: S608
        ]

    def count(self, connection: sqlite3.Connection, speaker: str) -> int:
        """See `Layout`."""
        (found,) = connection.execute("SELECT COUNT(*) FROM enrolments WHERE speaker = ?", (speaker,)).fetchone()
        return int(found)

    def delete(self, connection: sqlite3.Connection, speaker: str) -> int:
        """See `Layout`."""
        return connection.execute("DELETE FROM enrolments WHERE speaker = ?", (speaker,)).rowcount


@dataclass(frozen=True)
class SealedRows:
    """Enrolments whose names, paths, digests and vectors only the key opens; see `vecsv.store.sealing`.

    Parameters
    ----------
    sealer : Sealer
    """

    sealer: Sealer

    def insert(self, connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
        """See `Layout`."""
        connection.executemany(
            f"INSERT INTO enrolments (speaker_tag, recording_tag, {_COLUMNS})"  # noqa: S608
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (recording_tag) DO NOTHING",
            map(self._sealed, rows),
        )

    def select(self, connection: sqlite3.Connection, speaker: str | None) -> list[Row]:
        """See `Layout`; BrokenSealError when a cell does not open."""
        chosen, values = ("", ()) if speaker is None else (" WHERE speaker_tag = ?", (self._tag(speaker),))
        return [
            self._opened(*row)
            for row in connection.execute(
                f"SELECT speaker_tag, recording_tag, {_COLUMNS} FROM enrolments{chosen} ORDER BY id",  # noqa: S608
                values,
            )
        ]

    def count(self, connection: sqlite3.Connection, speaker: str) -> int:
        """See `Layout`."""
        (found,) = connection.execute(
            "SELECT COUNT(*) FROM enrolments WHERE speaker_tag = ?", (self._tag(speaker),)
        ).fetchone()
        return int(found)

    def delete(self, connection: sqlite3.Connection, speaker: str) -> int:
        """See `Layout`."""
        return connection.execute("DELETE FROM enrolments WHERE speaker_tag = ?", (self._tag(speaker),)).rowcount

    def _tag(self, speaker: str) -> bytes:
        return self.sealer.speaker_tag(speaker)

    def _sealed(self, row: Row) -> tuple[object, ...]:
        place = RowIdentity(
            row.fingerprint,
            self._tag(row.speaker),
            self.sealer.recording_tag(row.speaker, row.audio_sha256, row.channel),
        )

        def text(value: str, column: str) -> bytes:
            return self.sealer.seal(value.encode("utf-8", "surrogatepass"), column, place)

        closed = row._asdict() | {
            "speaker": text(row.speaker, "speaker"),
            "utt_id": text(row.utt_id, "utt_id"),
            "path": text(row.path, "path"),
            "audio_sha256": text(row.audio_sha256, "audio_sha256"),
            "embedding": self.sealer.seal(row.embedding, "embedding", place),
        }
        return place.speaker_tag, place.recording_tag, *closed.values()

    def _opened(self, speaker_tag: bytes, recording_tag: bytes, *cells: object) -> Row:
        values = dict(zip(Row._fields, cells, strict=True))
        place = RowIdentity(str(values["fingerprint"]), speaker_tag, recording_tag)
        for column in ("speaker", "utt_id", "path", "audio_sha256", "embedding"):
            cell = values[column]
            if not isinstance(cell, bytes):
                raise BrokenSealError(f"a sealed {column} does not open")
            opened = self.sealer.open(cell, column, place)
            values[column] = opened if column == "embedding" else opened.decode("utf-8", "surrogatepass")
        return Row(**values)  # type: ignore[arg-type]


def layout_of(connection: sqlite3.Connection, key: Callable[[], EnrolmentKey | None], *, where: str) -> Layout | None:
    """How enrolments lie in a database; None where it holds none yet.

    Parameters
    ----------
    connection : sqlite3.Connection
        Within a transaction, so that what is found stays so.
    key : callable
        Gives the key in use, or None; called only where enrolments are sealed.
    where : str
        The database, as errors name it.

    Raises
    ------
    StoreError
        When they are sealed, and there is no key or another one.
    """
    if not _has_table(connection, "sealing"):
        return PlainRows() if _has_table(connection, "enrolments") else None
    scheme, salt, check = connection.execute("SELECT scheme, salt, key_check FROM sealing").fetchone()
    if scheme != SCHEME:
        raise StoreError(f"the enrolments are sealed in a way that is not known here: {scheme}", where=where)
    given = key()
    if given is None:
        raise StoreError(
            "the enrolments are sealed, and no key is given",
            where=where,
            hint="set VECSV_ENROLMENT_KEY_FILE to the file with their key",
        )
    sealer = Sealer(given, salt)
    sealer.require_check(check, where=where)
    return SealedRows(sealer)


def create_plain(connection: sqlite3.Connection) -> PlainRows:
    """Make the table of plain enrolments."""
    connection.execute(_PLAIN_TABLE)
    return PlainRows()


def create_sealed(connection: sqlite3.Connection, key: EnrolmentKey, *, plain_left: bool = False) -> SealedRows:
    """Make the table of sealed enrolments, under a salt of its own."""
    salt = os.urandom(SALT_BYTES)
    sealer = Sealer(key, salt)
    connection.execute(_SEALING_TABLE)
    connection.execute("INSERT INTO sealing VALUES (?, ?, ?, ?)", (SCHEME, salt, sealer.check, plain_left))
    connection.execute(_SEALED_TABLE)
    connection.execute("CREATE INDEX enrolments_of_speaker ON enrolments (speaker_tag)")
    return SealedRows(sealer)


def replace_plain_by_sealed(connection: sqlite3.Connection, key: EnrolmentKey) -> int:
    """Seal every plain row under the id it has, and drop the plain table; returns how many rows there were.

    The pages they lay in are free then, and not yet overwritten: `is_plain_left` says so until `note_plain_gone`.
    """
    rows = PlainRows().select(connection, None)
    connection.execute("ALTER TABLE enrolments RENAME TO plain_enrolments")
    create_sealed(connection, key, plain_left=True).insert(connection, rows)
    # Ids of the erased are not given again, here as before.
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'enrolments'")
    connection.execute(
        "INSERT INTO sqlite_sequence (name, seq)"
        " SELECT 'enrolments', seq FROM sqlite_sequence WHERE name = 'plain_enrolments'"
    )
    connection.execute("DROP TABLE plain_enrolments")
    return len(rows)


def is_plain_left(connection: sqlite3.Connection) -> bool:
    """Whether a conversion was cut off, so that the database's files may hold what was plain before it."""
    if not _has_table(connection, "sealing"):
        return False
    (left,) = connection.execute("SELECT plain_left FROM sealing").fetchone()
    return bool(left)


def note_plain_gone(connection: sqlite3.Connection) -> None:
    """Note that the files were rebuilt without what was plain before."""
    connection.execute("UPDATE sealing SET plain_left = 0")


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone()
    return found is not None
