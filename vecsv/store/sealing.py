"""Enrolments sealed at rest: what their cells are encrypted with, and how a sealed person is still found.

A 32-byte key lies in a file of its own, base64, named by ``VECSV_ENROLMENT_KEY_FILE``. From it and a random salt that
every database has of its own, HKDF (RFC 5869) makes three keys, so that one file can serve many stores and no cell of
one opens in another:

- to *seal*: AES-256-GCM with a random 96-bit nonce for every cell. The associated data are the column, the model's
  fingerprint, and the row's two tags: a cell moved to another row, column or database does not open.
- to *find*: HMAC-SHA256 of a speaker's name, and of a speaker's name, a recording's digest and its channel. Equal
  names have equal tags, which is what counting, looking up and "enrolled already" need; so whoever has the file alone
  sees how many recordings each person has, not who it is.
- to *check*: tells a wrong key before anything is opened with it.

Whoever can write the file can still delete rows, or put an older copy of it in place; that is not noticed. Nor is
anything sealed but the enrolments: shards and index hold the vectors and names of the manifest as they are.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from vecsv import config, private
from vecsv.durable import create_exclusively
from vecsv.errors import MissingDependencyError, StoreError, UsageError

KEY_BYTES = 32
SALT_BYTES = 16
SCHEME = "vecsv-1: HKDF-SHA256, AES-256-GCM, HMAC-SHA256"
_NONCE_BYTES = 12
_MAKE_ONE = "make one: vecsv keys enrolment-key FILE"


class BrokenSealError(Exception):
    """A cell that was not sealed with this key for this place, or was changed since."""


@dataclass(frozen=True, slots=True)
class EnrolmentKey:
    """The key enrolments are sealed with. Does not show itself when printed.

    Attributes
    ----------
    secret : bytes
        `KEY_BYTES` of them.
    path : Path
        Where it was read.
    """

    secret: bytes = field(repr=False)
    path: Path


def make_key_file(path: Path) -> None:
    """Make a file with a new random key, for its owner alone.

    Raises
    ------
    UsageError
        When a file of that name is there: another key would make what it sealed unreadable.
    """
    content = base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n"
    if not create_exclusively(path, content, mode=private.MODE):
        raise UsageError(
            "there already; a new key would not open what this one sealed", where=str(path), hint="choose another name"
        )


def read_key_file(path: Path) -> EnrolmentKey:
    """Read the key that `make_key_file` wrote.

    Raises
    ------
    UsageError
        When it cannot be read, may be read by everybody, or is no such key.
    """
    content = private.read_private(path, what="the enrolments' key", hint=_MAKE_ONE)
    try:
        secret = base64.b64decode(content.strip(), validate=True)
    except binascii.Error:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise UsageError(f"not a key: {KEY_BYTES} bytes in base64 are due", where=str(path), hint=_MAKE_ONE)
    return EnrolmentKey(secret, path)


def configured_key() -> EnrolmentKey | None:
    """The key that ``VECSV_ENROLMENT_KEY_FILE`` names; None when it names none."""
    path = config.enrolment_key_file()
    return None if path is None else read_key_file(path)


@dataclass(frozen=True, slots=True)
class RowIdentity:
    """What names a sealed row, and what its cells are bound to.

    Attributes
    ----------
    fingerprint : str
        Of the model.
    speaker_tag, recording_tag : bytes
        See `Sealer.speaker_tag` and `Sealer.recording_tag`.
    """

    fingerprint: str
    speaker_tag: bytes
    recording_tag: bytes


class Sealer:
    """Seals and opens the cells of one database.

    Parameters
    ----------
    key : EnrolmentKey
    salt : bytes
        The database's own, `SALT_BYTES` long, not secret.

    Raises
    ------
    MissingDependencyError
        When `cryptography` is not installed.

    Examples
    --------
    >>> sealer = Sealer(EnrolmentKey(bytes(32), Path("key")), bytes(16))
    >>> row = RowIdentity("ab12", sealer.speaker_tag("ann"), sealer.recording_tag("ann", "00ff", 0))
    >>> cell = sealer.seal(b"ann", "speaker", row)
    >>> sealer.open(cell, "speaker", row)
    b'ann'
    """

    def __init__(self, key: EnrolmentKey, salt: bytes) -> None:
        sealing, self._finding, self.check = (_derived(key, salt, purpose) for purpose in (b"seal", b"find", b"check"))
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._key = key
        self._aead = AESGCM(sealing)

    def require_check(self, check: bytes, *, where: str) -> None:
        """Fail unless the database was sealed with this key: `check` is what its sealer's `check` was."""
        if not hmac.compare_digest(self.check, check):
            raise StoreError(
                f"the enrolments are sealed with another key than that of {self._key.path}",
                where=where,
                hint="set VECSV_ENROLMENT_KEY_FILE to the file with theirs",
            )

    def speaker_tag(self, speaker: str) -> bytes:
        """What a speaker is found by; 32 bytes."""
        return self._tag(b"speaker", _encoded(speaker))

    def recording_tag(self, speaker: str, audio_sha256: str, channel: int) -> bytes:
        """What tells whether a speaker is enrolled with a recording already; 32 bytes."""
        return self._tag(b"recording", _encoded(speaker), _encoded(audio_sha256), str(channel).encode())

    def seal(self, value: bytes, column: str, row: RowIdentity) -> bytes:
        """Nonce, ciphertext and 16-byte tag: 28 bytes longer than `value`."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, value, _associated(column, row))

    def open(self, cell: bytes, column: str, row: RowIdentity) -> bytes:
        """What `seal` was given.

        Raises
        ------
        BrokenSealError
        """
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(cell[:_NONCE_BYTES], cell[_NONCE_BYTES:], _associated(column, row))
        except (InvalidTag, ValueError) as error:
            raise BrokenSealError(f"a sealed {column} does not open") from error

    def _tag(self, *parts: bytes) -> bytes:
        return hmac.digest(self._finding, _joined(*parts), hashlib.sha256)


def _associated(column: str, row: RowIdentity) -> bytes:
    return _joined(_encoded(column), _encoded(row.fingerprint), row.speaker_tag, row.recording_tag)


def _joined(*parts: bytes) -> bytes:
    """The parts with their lengths before them, so that no two lists of parts come out alike."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _derived(key: EnrolmentKey, salt: bytes, purpose: bytes) -> bytes:
    try:
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise MissingDependencyError(
            "sealed enrolments need the package cryptography", hint="pip install 'vecsv[serve]'"
        ) from error
    return HKDF(SHA256(), KEY_BYTES, salt, b"vecsv enrolments 1 " + purpose).derive(key.secret)
