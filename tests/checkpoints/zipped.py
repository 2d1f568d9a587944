"""Writes PyTorch's zip checkpoint format without PyTorch: also what PyTorch never would."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.checkpoints import legacy


def archive(
    members: Mapping[str, bytes] | list[tuple[str, bytes]],
    *,
    folder: str = "weights/",
    compression: int = zipfile.ZIP_STORED,
) -> bytes:
    """Write members into a zip file, in order, under their names as they are."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for name, content in members.items() if isinstance(members, Mapping) else members:
            file.writestr(zipfile.ZipInfo(folder + name), content, compress_type=compression)
    return stream.getvalue()


def members(content: object, storages: Mapping[str, NDArray[Any]] | None = None) -> dict[str, bytes]:
    """The members of a checkpoint that holds an object."""
    return {
        "data.pkl": legacy.pickled(content),
        "byteorder": b"little",
        **{f"data/{key}": array.tobytes() for key, array in (storages or {}).items()},
        "version": b"3\n",
    }


def storage(key: str, elements: int, dtype: str = "float32") -> legacy.Raw:
    """Refer to a storage; unlike in the older format no view of one."""
    reference = ("storage", legacy.name("torch", legacy.STORAGES[dtype]), key, "cpu", elements)
    return legacy.Raw(legacy.value(reference) + b"Q")


def state(tensors: Mapping[str, NDArray[Any]]) -> tuple[legacy.Raw, dict[str, NDArray[Any]]]:
    """A state dictionary of whole storages, and the storages."""
    table: dict[str, legacy.Raw] = {}
    storages: dict[str, NDArray[Any]] = {}
    for number, (label, array) in enumerate(tensors.items()):
        storages[str(number)] = array.reshape(-1)
        stored = storage(str(number), array.size, array.dtype.name)
        table[label] = legacy.tensor(stored, 0, array.shape, legacy.strides_of(array.shape))
    ordered = legacy.call(legacy.name("collections", "OrderedDict")).operations + legacy.value(table)[1:]
    return legacy.Raw(ordered), storages


def checkpoint(tensors: Mapping[str, NDArray[Any]], *, key: str | None = None) -> bytes:
    """Write a whole checkpoint: a state dictionary, at the top or under a key."""
    described, storages = state(tensors)
    return archive(members(described if key is None else {"epoch": 3, key: described}, storages))


SMALL = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.array([1.5, -2.0], dtype=np.float32)}
