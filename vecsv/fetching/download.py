"""Fetching one file: resumed where it was cut, never larger than it may be, and checked before anybody reads it.

What has come so far lies beside the file's place, under its name and ``.part``, until the whole file is there and
has the SHA-256 it should have. A wrong one is removed.
"""

from __future__ import annotations

import errno
import re
import shutil
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from vecsv.durable import make_folder, sha256_of, sync_file, sync_folder
from vecsv.errors import ModelError
from vecsv.fetching.sources import Messages, Progress, UnreachableModelError
from vecsv.fetching.transport import PassingError, RefusedError, Response, answer

_CHUNK_BYTES: Final = 1 << 18
_WORTH_TELLING_S: Final = 2.0
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class _TooLargeError(Exception):
    """More bytes than a file may have; its argument is how many at least."""


@dataclass(frozen=True)
class Patience:
    """How long a download goes on when it does not go well.

    Attributes
    ----------
    tries : int
        Failures in a row, without a byte between them, that end it.
    cuts : int
        Failures altogether that end it.
    wait_s : float
        Seconds between the first failure and the next try; doubled with each further one.
    longest_wait_s : float
        Longest wait; a server that asks for more ends the download.
    silence_s : float
        Seconds without a byte that count as a failure.
    """

    tries: int = 5
    cuts: int = 100
    wait_s: float = 1.0
    longest_wait_s: float = 60.0
    silence_s: float = 30.0


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch.

    Attributes
    ----------
    url : str
        Where it is.
    label : str
        What errors call it.
    sha256 : str or None
        What its SHA-256 has to be; None accepts any, and `download` returns it.
    limit_bytes : int
        More than this is not taken.
    token : str or None
        See `vecsv.fetching.transport.answer`.
    """

    url: str
    label: str
    sha256: str | None
    limit_bytes: int
    token: str | None = None


def download(
    remote: RemoteFile,
    target: Path,
    *,
    patience: Patience | None = None,
    progress: Progress | None = None,
    on_message: Messages | None = None,
) -> str:
    """Fetch a file, or what is missing of it.

    Parameters
    ----------
    remote : RemoteFile
        What to fetch.
    target : Path
        Where it goes; nothing is there until it is whole and checked. A file that is there and is the right one, or
        may be any, is not fetched again.
    patience : Patience, optional
        When to give up.
    progress : callable, optional
        Called now and then.
    on_message : callable, optional
        Told, in one line each, what is waited for.

    Returns
    -------
    str
        The file's SHA-256.

    Raises
    ------
    UnreachableModelError
        When it cannot be fetched; what has come is kept for the next try.
    ModelError
        When it is too large, is not the file it should be, or the disk does not take it.
    RefusedError
        When the server refuses it.
    """
    patience = patience or Patience()
    if target.is_file() and remote.sha256 in {None, there := sha256_of(target)}:
        return there
    part = target.with_name(f"{target.name}.part")
    try:
        make_folder(target.parent)
        resumed = part.is_file() and part.stat().st_size > 0
        _fill(part, remote, patience, progress, on_message)
        found = sha256_of(part)
        if resumed and remote.sha256 not in {None, found}:
            # What an earlier run left was not the beginning of this file.
            part.unlink()
            _fill(part, remote, patience, progress, on_message)
            found = sha256_of(part)
        if remote.sha256 not in {None, found}:
            size = part.stat().st_size
            part.unlink()
            raise ModelError(
                f"{remote.label} is not the file that was pinned: {size:,} bytes with SHA-256 {found}, "
                f"expected {remote.sha256}",
                hint="it was removed; a mirror (HF_ENDPOINT) or a proxy may have changed it",
            )
        sync_file(part)
        part.replace(target)
        sync_folder(target.parent)
    except _TooLargeError as error:
        part.unlink(missing_ok=True)
        raise ModelError(
            f"{remote.label} has {error.args[0]:,} bytes or more where at most {remote.limit_bytes:,} were expected",
            hint="it is not the file that was pinned: a mirror (HF_ENDPOINT) or a proxy may have changed it",
        ) from error
    except OSError as error:
        if error.errno in _NO_ROOM:
            part.unlink(missing_ok=True)
            raise _no_room(remote, target) from error
        raise ModelError(f"{remote.label} cannot be written: {error.strerror}", where=str(target)) from error
    return found


def _fill(
    part: Path, remote: RemoteFile, patience: Patience, progress: Progress | None, on_message: Messages | None
) -> None:
    """Ask again and again until the file is complete."""
    in_a_row = 0
    for _ in range(patience.cuts):
        before = _size(part)
        try:
            if _attempt(part, remote, patience.silence_s, progress):
                return
            # Nothing went wrong, but the file has to be fetched from its beginning.
            continue
        except PassingError as error:
            in_a_row = 1 if _size(part) > before else in_a_row + 1
            wait_s = error.wait_s if error.wait_s is not None else patience.wait_s * 2 ** (in_a_row - 1)
            if in_a_row >= patience.tries or (error.wait_s or 0.0) > patience.longest_wait_s:
                asks = f", and asks to wait {error.wait_s:.0f} s" if error.wait_s else ""
                raise _gave_up(remote, f"{error.reason}{asks}", part) from error
            if on_message is not None and wait_s >= _WORTH_TELLING_S:
                on_message(f"{remote.label}: {error.reason}; trying again in {wait_s:.0f} s")
        time.sleep(min(wait_s, patience.longest_wait_s))
    raise _gave_up(remote, f"the connection was cut {patience.cuts} times", part)


def _attempt(part: Path, remote: RemoteFile, silence_s: float, progress: Progress | None) -> bool:
    """Ask once for what is missing; False when it turns out that what is there does not belong to the file."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity", "User-Agent": "vecsv"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with answer(remote.url, headers=headers, token=remote.token, silence_s=silence_s) as response:
        if response.status == 416:
            return _nothing_is_missing(part, response, have)
        if response.status == 206:
            place = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if place is None or int(place[1]) != have or _is_encoded(response):
                part.unlink(missing_ok=True)
                return False
            total = None if place[2] == "*" else int(place[2])
            mode, start = "ab", have
        else:
            mode, start = "wb", 0
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() and not _is_encoded(response) else None
        _require_room(remote, part, total, start)
        with part.open(mode) as file:
            arrived = start + _copy(_content(response, remote), file, start, total, remote, progress)
    if total is not None and arrived < total:
        raise PassingError(f"the connection was cut after {arrived:,} of {total:,} bytes")
    return True


def _nothing_is_missing(part: Path, response: Response, have: int) -> bool:
    """What a server means that has no bytes after those that are there: the file is complete, or another one."""
    if response.headers.get("Content-Range") == f"bytes */{have}":
        return True
    part.unlink(missing_ok=True)
    return False


def _content(response: Response, remote: RemoteFile) -> Iterator[bytes]:
    """The body in pieces, unpacked where a server packs although it was asked not to."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"", "identity", "gzip", "x-gzip"}:
        raise RefusedError(f"it comes in the encoding {encoding}, which was not asked for")
    if not _is_encoded(response):
        while piece := response.read(_CHUNK_BYTES):
            yield piece
        return
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        while piece := response.read(_CHUNK_BYTES):
            # A little that is packed can be very much: it is unpacked in bounded pieces.
            while piece:
                yield unpacker.decompress(piece, _CHUNK_BYTES)
                piece = unpacker.unconsumed_tail
    except zlib.error as error:
        raise RefusedError(f"it is packed wrongly: {error}") from error
    if not unpacker.eof:
        raise PassingError("the connection was cut")


def _is_encoded(response: Response) -> bool:
    return response.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}


def _copy(
    pieces: Iterator[bytes],
    file: IO[bytes],
    start: int,
    total: int | None,
    remote: RemoteFile,
    progress: Progress | None,
) -> int:
    arrived = 0
    for piece in pieces:
        if start + arrived + len(piece) > remote.limit_bytes:
            raise _TooLargeError(start + arrived + len(piece))
        file.write(piece)
        arrived += len(piece)
        if progress is not None:
            progress(start + arrived, total)
    return arrived


def _require_room(remote: RemoteFile, part: Path, total: int | None, start: int) -> None:
    """Refuse before the first byte what is known not to fit."""
    if total is None:
        return
    if total > remote.limit_bytes:
        raise _TooLargeError(total)
    if total - start > shutil.disk_usage(part.parent).free:
        raise _no_room(remote, part)


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except FileNotFoundError:
        return 0


def _no_room(remote: RemoteFile, target: Path) -> ModelError:
    return ModelError(
        f"there is no room for {remote.label}",
        where=str(target.parent),
        hint="make room, or choose another disk with VECSV_CACHE",
    )


def _gave_up(remote: RemoteFile, reason: str, part: Path) -> UnreachableModelError:
    kept = _size(part)
    resume = f"the {kept:,} bytes that came are kept: " if kept else ""
    return UnreachableModelError(f"{remote.label} cannot be fetched: {reason}", hint=f"{resume}try again")
