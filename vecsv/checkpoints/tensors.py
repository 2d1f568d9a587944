"""Tensors as a PyTorch checkpoint describes them, and their numbers taken out of the storages they are views of.

What the names mean is in PyTorch's ``torch/_utils.py`` (``_rebuild_tensor_v2`` and its kin) and ``torch/storage.py``.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.checkpoints.pickled import Builder, Names, Table, refuse

Bytes = NDArray[np.uint8]

_MOST_AXES: Final = 16
# Weights that share a storage may overlap a little; a file must not blow up by naming the same numbers again and again.
_MOST_COPIES: Final = 2


@dataclass(frozen=True, slots=True)
class ElementType:
    """How one number is stored.

    Attributes
    ----------
    name : str
        As PyTorch calls it.
    stored : str or None
        NumPy type it is read as, little-endian; None where vecsv does not read it.
    """

    name: str
    stored: str | None

    @property
    def itemsize(self) -> int:
        """Bytes of one number."""
        if self.stored is None:
            refuse(f"it holds {self.name} numbers, which vecsv does not read")
        return np.dtype(self.stored).itemsize

    def decode(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """From numbers as stored to the machine's own type; brain floats become float32, which holds them exactly."""
        if self.name == "bfloat16":
            widened: NDArray[Any] = (numbers.astype(np.uint32) << 16).view(np.float32)
            return widened
        if self.name == "bool":
            truths: NDArray[Any] = numbers != 0
            return truths
        return numbers.astype(numbers.dtype.newbyteorder("="), copy=False)


_ELEMENT_TYPES: Final[Mapping[str, ElementType]] = {
    name: ElementType(name, stored)
    for name, stored in {
        "float64": "<f8",
        "float32": "<f4",
        "float16": "<f2",
        "bfloat16": "<u2",
        "int64": "<i8",
        "int32": "<i4",
        "int16": "<i2",
        "int8": "|i1",
        "uint64": "<u8",
        "uint32": "<u4",
        "uint16": "<u2",
        "uint8": "|u1",
        "bool": "|u1",
        "complex128": "<c16",
        "complex64": "<c8",
        "complex32": None,
        "float8_e5m2": None,
        "float8_e4m3fn": None,
    }.items()
}
_UNTYPED: Final = ElementType("bytes", "|u1")

_STORAGES: Final[Mapping[str, ElementType]] = {
    "DoubleStorage": _ELEMENT_TYPES["float64"],
    "FloatStorage": _ELEMENT_TYPES["float32"],
    "HalfStorage": _ELEMENT_TYPES["float16"],
    "BFloat16Storage": _ELEMENT_TYPES["bfloat16"],
    "LongStorage": _ELEMENT_TYPES["int64"],
    "IntStorage": _ELEMENT_TYPES["int32"],
    "ShortStorage": _ELEMENT_TYPES["int16"],
    "CharStorage": _ELEMENT_TYPES["int8"],
    "ByteStorage": _ELEMENT_TYPES["uint8"],
    "BoolStorage": _ELEMENT_TYPES["bool"],
    "ComplexDoubleStorage": _ELEMENT_TYPES["complex128"],
    "ComplexFloatStorage": _ELEMENT_TYPES["complex64"],
}


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of numbers in the file: its name there, their type and how many they are."""

    key: str
    element_type: ElementType
    elements: int

    @property
    def nbytes(self) -> int:
        """How many bytes it takes."""
        return self.elements * self.element_type.itemsize


@dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage; offset and strides count numbers of its own type."""

    storage: Storage
    element_type: ElementType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers it has."""
        size = 1
        for length in self.shape:
            size *= length
        return size

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers as stored."""
        return self.size * self.element_type.itemsize


def references() -> tuple[Callable[[object], Storage], dict[str, Storage]]:
    """What makes storages of a pickle's references to them, and the table of those it made."""
    found: dict[str, Storage] = {}

    def storage(reference: object) -> Storage:
        if type(reference) is not tuple or len(reference) not in {5, 6}:
            refuse("a storage is described wrongly")
        kind, element_type, key, _device, elements, *view = reference
        plain = type(key) is str and _is_size(elements) and view in ([], [None])
        if kind != "storage" or not isinstance(element_type, ElementType) or not plain:
            refuse("a storage is described wrongly")
        described = Storage(key, element_type, elements)
        if found.setdefault(key, described) != described:
            refuse(f"storage {_short(key)} is described twice")
        return described

    return storage, found


def _tensor(storage: object, offset: object, shape: object, strides: object, *rest: object) -> Tensor:
    # The rest: whether it takes gradients, hooks, and (where there is a third) marks such as "conjugated".
    if len(rest) > 3 or (len(rest) == 3 and rest[2]):
        refuse("it holds a tensor that is more than its numbers")
    if not isinstance(storage, Storage) or storage.element_type is _UNTYPED:
        refuse("a tensor is described wrongly")
    return _view(storage, storage.element_type, offset, shape, strides)


def _tensor_of_type(storage: object, offset: object, shape: object, strides: object, *rest: object) -> Tensor:
    # The rest: as above, but the type of its numbers is third and the marks come fourth.
    if not 3 <= len(rest) <= 4 or any(rest[3:]):
        refuse("it holds a tensor that is more than its numbers")
    element_type = rest[2]
    if not isinstance(storage, Storage) or not isinstance(element_type, ElementType):
        refuse("a tensor is described wrongly")
    return _view(storage, element_type, offset, shape, strides)


def _view(storage: Storage, element_type: ElementType, offset: object, shape: object, strides: object) -> Tensor:
    if not (_is_size(offset) and _are_sizes(shape) and _are_sizes(strides)):
        refuse("a tensor is described wrongly")
    return Tensor(storage, element_type, offset, shape, strides)  # type: ignore[arg-type]


def _parameter(tensor: object, *rest: object) -> Tensor:
    if not isinstance(tensor, Tensor) or len(rest) > 3:
        refuse("a parameter is described wrongly")
    return tensor


def _table(*arguments: object) -> Table:
    if arguments:
        refuse("it makes a dictionary out of something")
    return Table()


def _size(*arguments: object) -> object:
    if len(arguments) != 1 or not _are_sizes(arguments[0]):
        refuse("a size is described wrongly")
    return arguments[0]


NAMES: Final[Names] = {
    ("collections", "OrderedDict"): Builder(_table),
    ("torch", "Size"): Builder(_size),
    ("torch._utils", "_rebuild_tensor"): Builder(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Builder(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Builder(_tensor_of_type),
    ("torch._utils", "_rebuild_parameter"): Builder(_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Builder(_parameter),
    ("torch.storage", "UntypedStorage"): _UNTYPED,
    **{("torch", name): element_type for name, element_type in _ELEMENT_TYPES.items()},
    **{("torch", name): element_type for name, element_type in _STORAGES.items()},
}
"""All that the pickle of a checkpoint may name."""


def by_storage(state: Mapping[str, Tensor]) -> dict[str, list[tuple[str, Tensor]]]:
    """The tensors of a state dictionary by the storage they are views of, after checking each against it.

    Raises
    ------
    ValueError
        When a tensor reaches beyond its storage, is in it twice, or all of them together are far bigger than what
        is stored.
    """
    grouped: defaultdict[str, list[tuple[str, Tensor]]] = defaultdict(list)
    for name, tensor in state.items():
        _require_inside(tensor)
        grouped[tensor.storage.key].append((name, tensor))
    for views in grouped.values():
        distinct = {tensor for _, tensor in views}
        if sum(tensor.nbytes for tensor in distinct) > _MOST_COPIES * views[0][1].storage.nbytes:
            refuse("its tensors together are far bigger than what is stored")
    return dict(grouped)


def _require_inside(tensor: Tensor) -> None:
    if len(tensor.strides) != len(tensor.shape):
        refuse("a tensor is described wrongly")
    if tensor.size == 0:
        return
    end = tensor.offset
    spanned = 1
    for stride, length in sorted(zip(tensor.strides, tensor.shape, strict=True)):
        if length == 1:
            continue
        # Sorted from the closest step to the widest: each has to leave what is inside it behind.
        if stride < spanned:
            refuse("it holds a tensor that takes numbers of its storage twice")
        spanned += (length - 1) * stride
        end += (length - 1) * stride
    if end >= tensor.storage.nbytes // tensor.element_type.itemsize:
        refuse("it holds a tensor that reaches beyond its storage")


def take_out(views: list[tuple[str, Tensor]], content: Bytes) -> Iterator[tuple[str, NDArray[Any]]]:
    """Take tensors out of the content of the storage they share.

    Parameters
    ----------
    views : list of (str, Tensor)
        Checked by `by_storage`.
    content : ndarray
        Uint8, the storage's bytes, writable. One tensor that is all of it is a view of it; others are copies.

    Yields
    ------
    (str, ndarray)
        C-contiguous. Names that mean the very same tensor get the same array.
    """
    arrays: dict[Tensor, NDArray[Any]] = {}
    distinct = {tensor for _, tensor in views}
    for tensor in distinct:
        dtype = np.dtype(tensor.element_type.stored)
        numbers = content[: content.size // dtype.itemsize * dtype.itemsize].view(dtype)
        strides = tuple(stride * dtype.itemsize for stride in tensor.strides)
        if tensor.size == 0:
            strided = np.empty(tensor.shape, dtype=dtype)
        else:
            strided = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides)
        alone = len(distinct) == 1 and strided.nbytes == content.nbytes
        contiguous = np.ascontiguousarray(strided) if alone else np.array(strided, order="C")
        arrays[tensor] = tensor.element_type.decode(contiguous).reshape(tensor.shape)
    for name, tensor in views:
        yield name, arrays[tensor]


def read_bytes(stream: io.BufferedIOBase, count: int) -> Bytes:
    """Read exactly so many bytes into an array of their own; the caller has checked that the file has as many."""
    content = np.empty(count, dtype=np.uint8)
    if count and stream.readinto(content.data) != count:
        refuse("the file is cut short")
    return content


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**62


def _are_sizes(values: object) -> bool:
    return type(values) is tuple and len(values) <= _MOST_AXES and all(_is_size(value) for value in values)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
