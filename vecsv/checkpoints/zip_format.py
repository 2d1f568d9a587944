"""Checkpoints as ``torch.save`` has written them since PyTorch 1.6: an archive of a pickle and raw storages.

The layout is that of ``_save`` in PyTorch's ``torch/serialization.py``: a zip file whose members lie in one folder:
``data.pkl`` (the object), ``data/KEY`` (the bytes of each storage), ``byteorder``, ``version``. The container is
described in PKWARE's ``APPNOTE.TXT``. PyTorch never compresses, so a compressed member is refused, and with it every
zip bomb; and as all sizes together may not exceed the file's, no member can be counted twice.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from numpy.typing import NDArray

from vecsv.checkpoints.pickled import read_pickle, refuse
from vecsv.checkpoints.tensors import (
    NAMES,
    Bytes,
    Storage,
    Tensor,
    by_storage,
    read_bytes,
    references,
    take_out,
)

MAGIC: Final = b"PK\x03\x04"

_END: Final = struct.Struct("<4s4H2LH")
_END_64: Final = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64: Final = struct.Struct("<4sLQL")
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_ENCRYPTED: Final = 1
_STORED: Final = 0
_IN_EXTRA: Final = 0xFFFFFFFF
_LARGEST_DIRECTORY: Final = 16 * 2**20
_LARGEST_PICKLE: Final = 32 * 2**20
_OBJECT: Final = "data.pkl"


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    header: int
    size: int
    crc: int
    compressed: bool


def read_archive(stream: io.BufferedIOBase, size: int, *, where: str) -> tuple[object, Mapping[str, _Member]]:
    """Read the object of a checkpoint, its tensors as descriptions, and the table of its members.

    Raises
    ------
    ModelError, ValueError, LookupError, TypeError
        See `vecsv.checkpoints.pickled.read_pickle`.
    """
    members = _members(stream, size)
    if any(name.startswith("code/") or name == "constants.pkl" for name in members):
        refuse("it is a TorchScript program, not a set of weights: save its state_dict(), or export it to ONNX")
    for member in members.values():
        if member.compressed:
            refuse(f"its {member.name[:80]} is compressed, which torch.save never does")
    if _OBJECT not in members:
        refuse(f"the archive has no {_OBJECT}")
    if "byteorder" in members and bytes(_content(stream, members["byteorder"], most=16)).strip() != b"little":
        refuse("it was not written on a little-endian machine")
    storage, _ = references()
    described = io.BytesIO(bytes(_content(stream, members[_OBJECT], most=_LARGEST_PICKLE)))
    content = read_pickle(described, NAMES, where=where, storages=storage)
    if described.read(1):
        refuse("something follows its object")
    return content, members


def read_numbers(
    stream: io.BufferedIOBase, members: Mapping[str, _Member], state: Mapping[str, Tensor]
) -> dict[str, NDArray[Any]]:
    """Read the tensors of a state dictionary, a storage at a time."""
    arrays: dict[str, NDArray[Any]] = {}
    for key, views in by_storage(state).items():
        member = members.get(f"data/{key}")
        if member is None:
            refuse(f"its storage {key[:40]!r} is missing")
        arrays.update(take_out(views, _storage_content(stream, member, views[0][1].storage)))
    return {name: arrays[name] for name in state}


def _storage_content(stream: io.BufferedIOBase, member: _Member, storage: Storage) -> Bytes:
    if member.size != storage.nbytes:
        refuse(f"its {member.name} has {member.size} bytes instead of {storage.nbytes}")
    return _content(stream, member, most=member.size)


def _content(stream: io.BufferedIOBase, member: _Member, *, most: int) -> Bytes:
    """Read a member whose place and size `_members` has checked against the file's size."""
    if member.size > most:
        refuse(f"its {member.name} is absurdly big")
    stream.seek(member.header)
    signature, *_, name_length, extra_length = _LOCAL.unpack(_exactly(stream, _LOCAL.size))
    if signature != MAGIC:
        refuse(f"its {member.name} is not where it should be")
    stream.seek(name_length + extra_length, io.SEEK_CUR)
    content = read_bytes(stream, member.size)
    if zlib.crc32(content.data) != member.crc:
        refuse(f"its {member.name} is damaged")
    return content


def _members(stream: io.BufferedIOBase, size: int) -> dict[str, _Member]:
    """Read the archive's directory; names are given without the folder that they all lie in."""
    count, length, start = _directory(stream, size)
    if length > _LARGEST_DIRECTORY or start + length > size:
        refuse("its directory is absurdly big, or outside the file")
    stream.seek(start)
    directory = _exactly(stream, length)
    members: dict[str, _Member] = {}
    folders: set[str] = set()
    position = total = 0
    while position < length:
        member, position = _entry(directory, position)
        total += member.size
        if total > size or member.header + _LOCAL.size + member.size > start:
            refuse("its members are bigger than the file")
        folder, _, name = _checked(member.name).partition("/")
        folders.add(folder)
        if members.setdefault(name, member) is not member or len(folders) > 1:
            refuse(f"its directory names {member.name[:80]!r} twice, or outside its folder")
    if len(members) != count:
        refuse("its directory counts its members wrongly")
    return members


def _directory(stream: io.BufferedIOBase, size: int) -> tuple[int, int, int]:
    """Where the directory is: how many members it lists, its length and start in bytes."""
    if size < _END.size:
        refuse("the file is cut short")
    stream.seek(size - _END.size)
    signature, _, _, _, count, length, start, comment = _END.unpack(_exactly(stream, _END.size))
    if signature != b"PK\x05\x06" or comment:
        refuse("the file is cut short: the archive's directory does not end it")
    place = size - _END.size - _LOCATOR_64.size
    if place < _END_64.size:
        return count, length, start
    stream.seek(place)
    signature, _, place_64, _ = _LOCATOR_64.unpack(_exactly(stream, _LOCATOR_64.size))
    if signature != b"PK\x06\x07":
        return count, length, start
    if place_64 > place - _END_64.size:
        refuse("its directory is outside the file")
    stream.seek(place_64)
    signature, *_, count, length, start = _END_64.unpack(_exactly(stream, _END_64.size))
    if signature != b"PK\x06\x06":
        refuse("its directory is damaged")
    return count, length, start


def _entry(directory: bytes, position: int) -> tuple[_Member, int]:
    """Read one member's entry, and where the next one starts."""
    if position + _ENTRY.size > len(directory):
        refuse("its directory is cut short")
    fields = _ENTRY.unpack_from(directory, position)
    signature, _, _, flags, method, _, _, crc, packed, size, name_length, extra_length, comment_length = fields[:13]
    header = fields[16]
    if signature != b"PK\x01\x02":
        refuse("its directory is damaged")
    position += _ENTRY.size
    name = directory[position : position + name_length].decode("utf-8")
    position += name_length
    extra = directory[position : position + extra_length]
    position += extra_length + comment_length
    if position > len(directory):
        refuse("its directory is cut short")
    if flags & _ENCRYPTED:
        refuse(f"its {name[:80]} is encrypted")
    size, packed, header = _widened(extra, (size, packed, header))
    compressed = method != _STORED
    if size != packed and not compressed:
        refuse(f"its {name[:80]} has two sizes")
    return _Member(name, header, packed, crc, compressed), position


def _widened(extra: bytes, values: tuple[int, ...]) -> list[int]:
    """Replace what does not fit 32 bits by the 64-bit values of the extra field 1, which lists just those."""
    wide: list[int] = []
    while len(extra) >= 4:
        tag, length = struct.unpack_from("<2H", extra)
        if tag == 1:
            wide = [number for (number,) in struct.iter_unpack("<Q", extra[4 : 4 + length // 8 * 8])]
        extra = extra[4 + length :]
    return [wide.pop(0) if value == _IN_EXTRA else value for value in values]


def _checked(name: str) -> str:
    """Return a member's name, unless it could lead out of the folder that the members lie in."""
    parts = name.split("/")
    if len(parts) < 2 or "\\" in name or not name.isprintable() or any(part in {"", ".", ".."} for part in parts):
        refuse(f"the archive has a member {name[:80]!r}, a name that torch.save never gives")
    return name


def _exactly(stream: io.BufferedIOBase, count: int) -> bytes:
    return read_bytes(stream, count).tobytes()
