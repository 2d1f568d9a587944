"""Writes PyTorch's legacy checkpoint format operation by operation, without PyTorch: also what PyTorch never would."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage"}


def value(plain: object) -> bytes:
    """Operations that leave a plain value on the stack, without memo."""
    if isinstance(plain, dict):
        return b"}(" + b"".join(value(key) + value(item) for key, item in plain.items()) + b"u"
    if isinstance(plain, tuple):
        return b"(" + b"".join(value(item) for item in plain) + b"t"
    if isinstance(plain, list):
        return b"](" + b"".join(value(item) for item in plain) + b"e"
    if isinstance(plain, Raw):
        return plain.operations
    if isinstance(plain, str):
        text = plain.encode()
        return b"X" + len(text).to_bytes(4, "little") + text
    return pickle.dumps(plain, 2)[2:-1]


class Raw:
    """Operations to use as they are."""

    def __init__(self, operations: bytes) -> None:
        self.operations = operations


def name(module: str, attribute: str) -> Raw:
    return Raw(f"c{module}\n{attribute}\n".encode())


def call(function: Raw, *arguments: object) -> Raw:
    return Raw(function.operations + value(arguments) + b"R")


def storage(key: str, elements: int, dtype: str = "float32", view: object = None) -> Raw:
    return Raw(value(("storage", name("torch", STORAGES[dtype]), key, "cpu", elements, view)) + b"Q")


def tensor(stored: Raw, offset: int, shape: Sequence[int], strides: Sequence[int]) -> Raw:
    hooks = call(name("collections", "OrderedDict"))
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, stored, offset, tuple(shape), tuple(strides), False, hooks)


def strides_of(shape: Sequence[int]) -> list[int]:
    """Strides of a C-contiguous tensor, in elements."""
    return [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]


def pickled(content: object) -> bytes:
    return b"\x80\x02" + value(content) + b"."


def header(system: object = SYSTEM) -> bytes:
    return pickled(MAGIC_NUMBER) + pickled(1001) + pickled(system)


def body(storages: Mapping[str, NDArray[Any]]) -> bytes:
    """What follows the object: the storages' keys and contents."""
    contents = [len(array).to_bytes(8, "little") + array.tobytes() for array in storages.values()]
    return pickled(list(storages)) + b"".join(contents)


def checkpoint(state: Mapping[str, NDArray[Any]], *, key: str = "model_state") -> bytes:
    """Write a whole checkpoint with one storage for each tensor."""
    table: dict[str, Raw] = {}
    storages: dict[str, NDArray[Any]] = {}
    for number, (label, array) in enumerate(state.items()):
        storages[str(number)] = array.reshape(-1)
        stored = storage(str(number), array.size, array.dtype.name)
        table[label] = tensor(stored, 0, array.shape, strides_of(array.shape))
    state_dict = Raw(call(name("collections", "OrderedDict")).operations + value(table)[1:])
    return header() + pickled({"step": 7, key: state_dict}) + body(storages)
