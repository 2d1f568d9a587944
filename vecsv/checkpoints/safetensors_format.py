"""Checkpoints in the format of the ``safetensors`` library: a JSON header, then the numbers; nothing in it can run."""

from __future__ import annotations

import io
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.checkpoints.pickled import refuse
from vecsv.checkpoints.tensors import ElementType

_LENGTH_BYTES: Final = 8
_LARGEST_HEADER: Final = 16 * 2**20

# By the library's names; a type that is not here is refused.
_ELEMENT_TYPES: Final = {
    "F64": ElementType("float64", "<f8"),
    "F32": ElementType("float32", "<f4"),
    "F16": ElementType("float16", "<f2"),
    "BF16": ElementType("bfloat16", "<u2"),
    "I64": ElementType("int64", "<i8"),
    "I32": ElementType("int32", "<i4"),
    "I16": ElementType("int16", "<i2"),
    "I8": ElementType("int8", "|i1"),
    "U64": ElementType("uint64", "<u8"),
    "U32": ElementType("uint32", "<u4"),
    "U16": ElementType("uint16", "<u2"),
    "U8": ElementType("uint8", "|u1"),
    "BOOL": ElementType("bool", "|u1"),
    "C64": ElementType("complex64", "<c8"),
}


def is_safetensors(start: bytes, size: int) -> bool:
    """Whether a file that starts so and has so many bytes can be of this format."""
    length = int.from_bytes(start[:_LENGTH_BYTES], "little")
    return len(start) > _LENGTH_BYTES and length <= size - _LENGTH_BYTES and start[_LENGTH_BYTES:][:1] == b"{"


def read_safetensors(stream: io.BufferedIOBase) -> dict[str, NDArray[Any]]:
    """Read all tensors; the library checks that they fill the file without gaps and without overlaps.

    Raises
    ------
    ValueError
        When the file is damaged, or holds numbers of a type that vecsv does not read.
    """
    import safetensors

    # Typed in some versions of it, not in others.
    library: Any = safetensors

    if int.from_bytes(stream.read(_LENGTH_BYTES), "little") > _LARGEST_HEADER:
        refuse("its header describes more than any network has")
    stream.seek(0)
    try:
        found: list[tuple[str, dict[str, Any]]] = library.deserialize(stream.read())
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error
    arrays: dict[str, NDArray[Any]] = {}
    while found:
        # One after the other, so that what needs converting is not there twice.
        name, described = found.pop()
        kind = _ELEMENT_TYPES.get(described["dtype"])
        if kind is None:
            refuse(f"it holds {described['dtype']} numbers, which vecsv does not read")
        numbers = np.frombuffer(described["data"], dtype=kind.stored)
        arrays[name] = kind.decode(numbers).reshape(described["shape"])
    return dict(sorted(arrays.items()))
