"""What a store holds already, small enough to keep in memory for many millions of rows.

Each embedded row is kept as four 64-bit digests, 32 bytes: of its utterance id, of its path, of its speaker and cut,
and of its audio. That is what deciding about a manifest row needs: is this utterance here, is it the same claim about
the same recording, and if the recording moved, are its bytes the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from vecsv.manifest import ManifestRow
from vecsv.store.reader import Snapshot

_COLUMNS = ("utt_id", "speaker", "path", "channel", "start_s", "end_s", "audio_sha256")
_RECORD = np.dtype([("utterance", "<u8"), ("path", "<u8"), ("claim", "<u8"), ("audio", "<u8")])


class Standing(Enum):
    """How a manifest row stands to what the store holds."""

    NEW = "new"
    EMBEDDED = "embedded"
    MOVED = "moved"
    CLAIMED = "claimed"


def digest(*fields: str | int | float | None) -> bytes:
    """Hash fields into 16 bytes; their borders and types count, so ``("ab", "c")`` differs from ``("a", "bc")``.

    Examples
    --------
    >>> digest("ab", "c") == digest("a", "bc"), digest(1) == digest("1"), len(digest())
    (False, False, 16)
    """
    return hashlib.blake2b(repr(fields).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def digest64(*fields: str | int | float | None) -> int:
    """Hash fields into the first 64 bits of `digest`."""
    return int.from_bytes(digest(*fields)[:8], "little")


def utterance_digest(utt_id: str) -> int:
    """64-bit digest of an utterance id."""
    return digest64(utt_id)


def audio_digest(sha256: str) -> int:
    """First 64 bits of a file's SHA-256."""
    return int(sha256[:16], 16)


def _claim(speaker: str, channel: int | None, start_s: float | None, end_s: float | None) -> int:
    return digest64(speaker, channel, start_s, end_s)


@dataclass(frozen=True)
class Known:
    """Digests of the store's rows, and keys of the manifest rows that failed.

    Attributes
    ----------
    rows : structured ndarray, sorted by utterance
    failed : frozenset of bytes
        Keys of the failure ledger.
    """

    rows: NDArray[np.void]
    failed: frozenset[bytes]

    def standing(self, row: ManifestRow) -> tuple[Standing, int]:
        """How `row` stands to the store, and the digest of the stored audio where there is one (else 0)."""
        wanted = utterance_digest(row.utt_id)
        position = int(np.searchsorted(self.rows["utterance"], wanted))
        if position == len(self.rows) or int(self.rows["utterance"][position]) != wanted:
            return Standing.NEW, 0
        stored = self.rows[position]
        audio = int(stored["audio"])
        if int(stored["claim"]) != _claim(row.speaker, row.channel, row.start_s, row.end_s):
            return Standing.CLAIMED, audio
        if int(stored["path"]) != digest64(str(row.path)):
            return Standing.MOVED, audio
        return Standing.EMBEDDED, audio


def read_known(snapshot: Snapshot | None) -> Known:
    """Digest a store's rows, one shard at a time; None stands for a store that does not exist yet."""
    if snapshot is None:
        return Known(rows=np.empty(0, _RECORD), failed=frozenset())
    rows = np.empty(snapshot.generation.rows, _RECORD)
    filled = 0
    for table in snapshot.iterate(_COLUMNS):
        for utt_id, speaker, path, channel, start_s, end_s, sha256 in zip(
            *(table.column(name).to_pylist() for name in _COLUMNS), strict=True
        ):
            rows[filled] = (
                utterance_digest(utt_id),
                digest64(path),
                _claim(speaker, channel, start_s, end_s),
                audio_digest(sha256),
            )
            filled += 1
    rows.sort(order="utterance")
    return Known(rows=rows, failed=frozenset(snapshot.failures().column("key").to_pylist()))
