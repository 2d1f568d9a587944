"""Checkpoints as ``torch.save`` wrote them before PyTorch 1.6: pickles, then raw storages.

The layout is that of ``_legacy_save`` in PyTorch's ``torch/serialization.py``: pickles of a magic number, a protocol
version, a description of the writing system and the object itself; a pickled list of storage keys; then for each key
the number of elements as int64 and the elements.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final

from numpy.typing import NDArray

from vecsv.checkpoints.pickled import read_pickle, refuse
from vecsv.checkpoints.tensors import (
    NAMES,
    Storage,
    Tensor,
    by_storage,
    read_bytes,
    references,
    take_out,
)

MAGIC: Final = b"\x80"

_MAGIC_NUMBER: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION: Final = 1001
_COUNT_BYTES: Final = 8


def read_object(stream: io.BufferedIOBase, *, where: str) -> tuple[object, dict[str, Storage]]:
    """Read the object of a checkpoint, its tensors as descriptions, and its storages in the order of the file.

    Raises
    ------
    ModelError, ValueError, LookupError, TypeError
        See `vecsv.checkpoints.pickled.read_pickle`.
    """
    for expected, meaning in ((_MAGIC_NUMBER, "magic number"), (_PROTOCOL_VERSION, "protocol version")):
        if read_pickle(stream, {}, where=where) != expected:
            refuse(f"it has another {meaning}")
    system = read_pickle(stream, {}, where=where)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        refuse("it was not written on a little-endian machine")
    storage, storages = references()
    content = read_pickle(stream, NAMES, where=where, storages=storage)
    keys = read_pickle(stream, {}, where=where)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        refuse("its list of storages is none")
    if sorted(keys) != sorted(storages):
        refuse("its list of storages does not match its tensors")
    return content, {key: storages[key] for key in keys}


def read_numbers(
    stream: io.BufferedIOBase, size: int, storages: Mapping[str, Storage], state: Mapping[str, Tensor]
) -> dict[str, NDArray[Any]]:
    """Read the tensors of a state dictionary, a storage at a time; `stream` is where `read_object` left it."""
    needed = by_storage(state)
    arrays: dict[str, NDArray[Any]] = {}
    for key, storage in storages.items():
        count = int.from_bytes(stream.read(_COUNT_BYTES), "little", signed=True)
        if count != storage.elements:
            refuse(f"a storage has {count} elements instead of {storage.elements}, or the file is cut short")
        if stream.tell() + storage.nbytes > size:
            refuse("the file is cut short")
        if key in needed:
            arrays.update(take_out(needed[key], read_bytes(stream, storage.nbytes)))
        else:
            stream.seek(storage.nbytes, io.SEEK_CUR)
    if stream.tell() != size:
        refuse("something follows its last storage")
    return {name: arrays[name] for name in state}
