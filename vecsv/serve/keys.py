"""Keys that callers of the service show, in a file that does not hold them.

A key is ``vecsv_ID_SECRET``: 8 and 64 hexadecimal digits. The id finds its entry; the secret is 256 random bits. The
file keeps an HMAC-SHA256 of the whole key under a salt of the entry's own. A hash that is slow on purpose (scrypt,
Argon2) protects what people think up and others can guess; nobody guesses 256 random bits, so a slow one would add
nothing but work that strangers can make the service do with every wrong key.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import filelock

from vecsv import private
from vecsv.durable import make_folder, write_bytes
from vecsv.errors import UsageError

PREFIX = "vecsv"
FORMAT = 1
_ID_BYTES = 4
_SECRET_BYTES = 32
_SALT_BYTES = 16
_KEY = re.compile(rf"{PREFIX}_([0-9a-f]{{{2 * _ID_BYTES}}})_[0-9a-f]{{{2 * _SECRET_BYTES}}}", re.ASCII)
_LONGEST_NAME = 100
_LOCK_SECONDS = 30.0


class Scope(StrEnum):
    """What a key is good for; none includes another.

    READ: verify, search, who is there. ENROL: add recordings to a speaker. ADMIN: erase speakers, read the metrics.
    """

    READ = "read"
    ENROL = "enrol"
    ADMIN = "admin"


@dataclass(frozen=True)
class Key:
    """What the file says of a key.

    Attributes
    ----------
    id : str
        8 hexadecimal digits; stands in the key itself and is not secret.
    name : str
        Who holds it, for the audit log.
    scopes : frozenset of Scope
    created : str
        UTC time, ISO 8601.
    expires : str or None
        From when on it is refused; None for never.
    salt, digest : str
        Hexadecimal; HMAC-SHA256 of the key under the salt.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    created: str
    expires: str | None
    salt: str
    digest: str

    def expired(self, now: datetime) -> bool:
        """Whether its time is over."""
        return self.expires is not None and now >= datetime.fromisoformat(self.expires)


def add_key(
    path: Path, name: str, scopes: Iterable[str], *, days: float | None = None, now: datetime | None = None
) -> tuple[Key, str]:
    """Make a key and put its entry into the file, which is made when there is none.

    Parameters
    ----------
    path : Path
    name : str
        1 to 100 printable characters; no two keys of a file have the same.
    scopes : iterable of str
        At least one of `Scope`.
    days : float, optional
        After how many days it expires.
    now : datetime, optional
        For tests.

    Returns
    -------
    entry : Key
    key : str
        What the caller shows. It is kept nowhere.

    Raises
    ------
    UsageError
        For a name, scopes or days that cannot be, or a file that is no file of keys.
    """
    chosen = _scopes(scopes)
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise UsageError(f"a key's name has 1 to {_LONGEST_NAME} printable characters")
    if days is not None and not 0 < days <= 36_500:
        raise UsageError("a key is good for more than 0 and at most 36,500 days")
    created = now or datetime.now(UTC)
    with _locked(path):
        keys = read_keys(path) if path.exists() else []
        if any(key.name == name for key in keys):
            raise UsageError(f"there is a key called {name!r} already", where=str(path), hint="choose another name")
        taken = {key.id for key in keys}
        identifier = next(one for one in iter(lambda: secrets.token_hex(_ID_BYTES), "") if one not in taken)
        key = f"{PREFIX}_{identifier}_{secrets.token_hex(_SECRET_BYTES)}"
        salt = secrets.token_hex(_SALT_BYTES)
        entry = Key(
            id=identifier,
            name=name,
            scopes=chosen,
            created=created.isoformat(timespec="seconds"),
            expires=None if days is None else (created + timedelta(days=days)).isoformat(timespec="seconds"),
            salt=salt,
            digest=_digest(key, salt),
        )
        _write(path, [*keys, entry])
    return entry, key


def remove_key(path: Path, name: str) -> Key:
    """Take a key out of the file; a running service refuses it from the next request on.

    Parameters
    ----------
    path : Path
    name : str
        The key's name or id.

    Raises
    ------
    UsageError
        When there is no such key.
    """
    with _locked(path):
        keys = read_keys(path)
        gone = [key for key in keys if key.name == name] or [key for key in keys if key.id == name]
        if not gone:
            raise UsageError(f"no key is called {name!r}", where=str(path), hint="vecsv keys list shows them")
        _write(path, [key for key in keys if key not in gone])
    return gone[0]


def read_keys(path: Path) -> list[Key]:
    """All entries of a file of keys, in the order they were made.

    Raises
    ------
    UsageError
        When it cannot be read, may be read by everybody, or is no file of keys.
    """
    content = private.read_private(path, what="the file of keys", hint="make it: vecsv keys add NAME --scope read")
    try:
        document = json.loads(content)
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}")
        return [_parsed(entry) for entry in document["keys"]]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"not a file of keys: {type(error).__name__} {error}", where=str(path), hint="make it anew: vecsv keys add"
        ) from error


class KeyRing:
    """The keys of a file as it is now: it is read again when it was changed, so that a removed key is refused at once.

    Safe to use from several threads.

    Parameters
    ----------
    path : Path

    Raises
    ------
    UsageError
        As `read_keys`; also later, from `find`, when the file has been damaged or taken away.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, Key] = {}
        # Stands in for the entry of an id that is not there, so that both cases take the same time.
        self._nobody = Key("", "", frozenset(), "", None, secrets.token_hex(_SALT_BYTES), secrets.token_hex(32))
        self._refresh()

    def __len__(self) -> int:
        """How many keys there are that have not expired."""
        now = datetime.now(UTC)
        return sum(not key.expired(now) for key in self._refresh().values())

    def find(self, key: str, *, now: datetime | None = None) -> Key | None:
        """The entry of a key that somebody shows; None when it is none, or has expired."""
        keys = self._refresh()
        shape = _KEY.fullmatch(key)
        entry = keys.get(shape[1], self._nobody) if shape else self._nobody
        same = hmac.compare_digest(_digest(key, entry.salt), entry.digest)
        if not same or entry is self._nobody or entry.expired(now or datetime.now(UTC)):
            return None
        return entry

    def _refresh(self) -> dict[str, Key]:
        with self._lock:
            try:
                status = os.stat(self._path)  # noqa: PTH116
                seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            except OSError:
                seen = None
            if seen is None or seen != self._seen:
                # Whatever fails here, keys that were good before are not good any more.
                self._seen, self._keys = None, {}
                self._keys = {key.id: key for key in read_keys(self._path)}
                self._seen = seen
            return self._keys


def _digest(key: str, salt: str) -> str:
    return hmac.digest(bytes.fromhex(salt), key.encode("utf-8", "surrogatepass"), "sha256").hex()


def _scopes(scopes: Iterable[str]) -> frozenset[Scope]:
    given = list(scopes)
    known = ", ".join(Scope)
    for scope in given:
        if scope not in list(Scope):
            raise UsageError(f"no scope is called {scope!r}", hint=f"there are {known}")
    if not given:
        raise UsageError("a key needs a scope", hint=f"--scope with one of {known}; several times for several")
    return frozenset(map(Scope, given))


def _parsed(entry: dict[str, Any]) -> Key:
    key = Key(
        id=str(entry["id"]),
        name=str(entry["name"]),
        scopes=frozenset(map(Scope, entry["scopes"])),
        created=str(entry["created"]),
        expires=None if entry["expires"] is None else str(entry["expires"]),
        salt=str(entry["salt"]),
        digest=str(entry["hmac_sha256"]),
    )
    bytes.fromhex(key.salt)
    if len(bytes.fromhex(key.digest)) != 32:
        raise ValueError("a digest is not 32 bytes long")
    if key.expires is not None and datetime.fromisoformat(key.expires).tzinfo is None:
        raise ValueError("a time has no zone")
    return key


def _write(path: Path, keys: list[Key]) -> None:
    entries = [
        {
            "id": key.id,
            "name": key.name,
            "scopes": sorted(key.scopes),
            "created": key.created,
            "expires": key.expires,
            "salt": key.salt,
            "hmac_sha256": key.digest,
        }
        for key in keys
    ]
    text = json.dumps({"format": FORMAT, "keys": entries}, indent=1, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode("utf-8"), mode=private.MODE)


def _locked(path: Path) -> filelock.FileLock:
    """Of two that change the file at once, the second waits for the first."""
    make_folder(path.absolute().parent)
    return filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=_LOCK_SECONDS)
