"""Reading a PyTorch checkpoint as data.

A checkpoint is a pickle, and a pickle is a program: loading a foreign one can run anything. This reader runs
nothing. It lets the pickle machine build containers, numbers, strings and *descriptions* of tensors, out of
the few names that a state dictionary needs, mapped to builders of our own; every other name is refused before
it is looked up. The numbers themselves lie behind the pickles as plain little-endian arrays.

The layout is that of ``torch.save`` before PyTorch 1.6 (``_legacy_save`` in PyTorch's
``torch/serialization.py``): pickles of a magic number, a protocol version, a description of the writing
system and the object itself; a pickled list of storage keys; then for each key the number of elements as
int64 and the elements.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Never

import numpy as np
from numpy.typing import NDArray

from vecsv.errors import ModelError

_MAGIC_NUMBER: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION: Final = 1001
_COUNT_BYTES: Final = 8
_DISTRUST: Final = "it was not loaded; do not trust this file"

# What a dictionary of numbers, texts and tensors is written with. Left out are, above all, the operations
# that make objects in other ways than by a named function, and those that reserve as much memory as the file
# says.
# fmt: off
_OPERATIONS: Final = frozenset(
    {
        "PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2",
        "LONG1", "BINFLOAT", "BINUNICODE", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
        "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "BINPUT",
        "LONG_BINPUT", "BINGET", "LONG_BINGET", "GLOBAL", "REDUCE", "BUILD", "BINPERSID",
    }
)
# fmt: on

# Whatever a damaged or hostile pickle can make the pickle machine raise, besides our own refusals.
_PICKLE_FAILURES: Final = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class _Table(dict[Any, Any]):
    """Stands in for ``collections.OrderedDict``; attributes that PyTorch hangs on a state dictionary are dropped."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        """Ignore the state."""


@dataclass(frozen=True, slots=True)
class _ElementType:
    """Stands in for a storage class such as ``torch.FloatStorage``."""

    dtype: str


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    dtype: str
    elements: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _TensorBuilder:
    """Stands in for ``torch._utils._rebuild_tensor_v2``: notes what the tensor would be."""

    __slots__ = ()

    def __call__(self, storage: object, offset: object, shape: object, strides: object, *rest: object) -> _Tensor:
        """Describe a tensor; `rest` says whether it takes gradients, which does not matter here."""
        if not (
            isinstance(storage, _Storage) and isinstance(offset, int) and _are_sizes(shape) and _are_sizes(strides)
        ):
            raise TypeError("a tensor is described wrongly")
        return _Tensor(storage, offset, shape, strides)  # type: ignore[arg-type]


_ALLOWED: Final[Mapping[tuple[str, str], object]] = {
    ("collections", "OrderedDict"): _Table,
    ("torch._utils", "_rebuild_tensor_v2"): _TensorBuilder(),
    ("torch", "FloatStorage"): _ElementType("<f4"),
    ("torch", "DoubleStorage"): _ElementType("<f8"),
    ("torch", "HalfStorage"): _ElementType("<f2"),
    ("torch", "LongStorage"): _ElementType("<i8"),
}


def _load(stream: io.BytesIO, where: str, allowed: Mapping[tuple[str, str], object]) -> tuple[Any, dict[str, _Storage]]:
    """Load one pickle and the storages it refers to, after looking through its operations."""
    start = stream.tell()
    for operation, argument, position in pickletools.genops(stream):
        if operation.name not in _OPERATIONS:
            raise ModelError(
                f"the checkpoint uses the pickle operation {operation.name}, which no set of weights needs",
                where=where,
                hint=_DISTRUST,
            )
        # The pickle machine makes room for as many remembered values as the largest number it is told.
        if operation.name == "LONG_BINPUT" and isinstance(argument, int) and argument > (position or 0):
            _refuse("it counts its values wrongly")
    stream.seek(start)
    unpickler = _DataUnpickler(stream, where, allowed)
    return unpickler.load(), unpickler.storages


class _DataUnpickler(pickle.Unpickler):
    """A pickle machine that can name nothing but what is in `allowed`."""

    def __init__(self, stream: io.BytesIO, where: str, allowed: Mapping[tuple[str, str], object]) -> None:
        super().__init__(stream)
        self._where = where
        self._allowed = allowed
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        """Look a name up among the allowed ones; nothing is ever imported."""
        found = self._allowed.get((module, name))
        if found is None:
            raise ModelError(
                f"the checkpoint wants to use {module}.{name}, which no set of weights needs",
                where=self._where,
                hint=_DISTRUST,
            )
        return found

    def persistent_load(self, reference: Any) -> _Storage:
        """Note a storage that the pickle refers to."""
        if not self._allowed:
            raise ValueError("a storage outside the object")
        kind, element_type, key, _device, elements, view = reference
        plain = isinstance(key, str) and isinstance(elements, int) and elements >= 0 and view is None
        if kind != "storage" or not isinstance(element_type, _ElementType) or not plain:
            raise ValueError("a storage is described wrongly")
        return self.storages.setdefault(key, _Storage(key, element_type.dtype, elements))


def read_tensors(data: bytes, *, key: str, where: str) -> dict[str, NDArray[Any]]:
    """Read one state dictionary out of a checkpoint, executing nothing of it.

    Parameters
    ----------
    data : bytes
        The whole checkpoint, as ``torch.save`` wrote it before PyTorch 1.6.
    key : str
        Name of the state dictionary in the checkpoint's top-level dictionary.
    where : str
        What to call the checkpoint in errors.

    Returns
    -------
    dict of str to ndarray
        The tensors by name, C-contiguous copies in their own dtype.

    Raises
    ------
    ModelError
        When the data is no such checkpoint, is cut short, lacks `key`, or names anything outside the
        whitelist.
    """
    stream = io.BytesIO(data)
    try:
        content, storages = _read_object(stream, where)
        raw = _read_storages(stream, storages)
        state = content[key] if isinstance(content, dict) else None
        if not isinstance(state, dict):
            _refuse(f"there is no dictionary {key!r} in it")
        return {_name(name): _materialise(tensor, raw) for name, tensor in dict.items(state)}
    except _PICKLE_FAILURES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"not a PyTorch checkpoint that vecsv can read: {reason}", where=where) from error


def _read_object(stream: io.BytesIO, where: str) -> tuple[Any, dict[str, _Storage]]:
    for expected, meaning in ((_MAGIC_NUMBER, "magic number"), (_PROTOCOL_VERSION, "protocol version")):
        if _load(stream, where, {})[0] != expected:
            _refuse(f"it has another {meaning}")
    system, _ = _load(stream, where, {})
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        _refuse("it was not written on a little-endian machine")
    content, storages = _load(stream, where, _ALLOWED)
    keys, _ = _load(stream, where, {})
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        _refuse("its list of storages is none")
    if sorted(keys) != sorted(storages):
        _refuse("its list of storages does not match its tensors")
    return content, {key: storages[key] for key in keys}


def _read_storages(stream: io.BytesIO, storages: Mapping[str, _Storage]) -> dict[str, NDArray[Any]]:
    raw: dict[str, NDArray[Any]] = {}
    for key, storage in storages.items():
        count = int.from_bytes(stream.read(_COUNT_BYTES), "little", signed=True)
        if count != storage.elements:
            _refuse(f"storage {key} has {count} elements instead of {storage.elements}, or the file is cut short")
        dtype = np.dtype(storage.dtype)
        content = stream.read(count * dtype.itemsize)
        if len(content) != count * dtype.itemsize:
            _refuse("the file is cut short")
        raw[key] = np.frombuffer(content, dtype=dtype)
    if stream.read(1):
        _refuse("something follows its last storage")
    return raw


def _materialise(tensor: object, raw: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Copy a tensor out of its storage; one that is not C-contiguous there is refused."""
    if not isinstance(tensor, _Tensor):
        _refuse("its state dictionary holds something that is no tensor")
    strides, size = [], 1
    for length in reversed(tensor.shape):
        strides.append(size)
        size *= length
    if tensor.strides != tuple(reversed(strides)):
        _refuse("it holds a tensor that is not contiguous")
    elements = raw[tensor.storage.key]
    if not 0 <= tensor.offset <= elements.size - size:
        _refuse("it holds a tensor that reaches beyond its storage")
    flat = elements[tensor.offset : tensor.offset + size]
    return flat.astype(flat.dtype.newbyteorder("=")).reshape(tensor.shape)


def _are_sizes(values: object) -> bool:
    return isinstance(values, tuple) and all(isinstance(value, int) and value >= 0 for value in values)


def _name(name: object) -> str:
    if not isinstance(name, str):
        _refuse("a tensor's name is no text")
    return name


def _refuse(reason: str) -> Never:
    raise ValueError(reason)
