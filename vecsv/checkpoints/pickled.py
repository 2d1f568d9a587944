"""A pickle machine that can only build data.

A pickle is a program. Python's own machine runs any function the program names, and even one that looks names up in a
list leaves much to a hostile file: values that are hashed or compared on the way, memory that is reserved because a
number says so, nesting as deep as the C stack. This one knows the thirty operations that containers, numbers, texts and
descriptions of tensors are written with, calls nothing but the builders it was given, and counts its steps. The
operations are described in Python's ``pickletools`` module.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, Never

from vecsv.errors import ModelError

DISTRUST: Final = "it was not loaded; do not trust this file"

# A network of a thousand tensors takes some forty thousand operations; a step reserves at most a few hundred bytes.
_MOST_OPERATIONS: Final = 1_000_000
_MOST_BYTES: Final = 32 * 2**20
_LONGEST_NAME: Final = 256
# Old optimisers' states go by the addresses of tensors.
_LARGEST_KEY: Final = 2**64

Names = Mapping[tuple[str, str], object]
Storages = Callable[[object], object]


class Table(dict[Any, Any]):
    """Stands in for ``collections.OrderedDict``."""

    __slots__ = ()


class Builder:
    """A function of ours that a pickle may call, by the name of the function it stands in for.

    Parameters
    ----------
    build : callable
        Takes the call's arguments; raises ValueError or TypeError when they make no sense.
    """

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., object]) -> None:
        self._build = build

    def __call__(self, *arguments: object) -> object:
        """Build."""
        return self._build(*arguments)


def refuse(reason: str) -> Never:
    """Stop reading a file that is not what it should be; the reader of the format says which file."""
    raise ValueError(reason)


def read_pickle(stream: io.BufferedIOBase, names: Names, *, where: str, storages: Storages | None = None) -> Any:
    """Read one pickle as data, leaving the stream behind its end.

    Parameters
    ----------
    stream : binary file
        At the pickle's first byte.
    names : mapping
        What the pickle may name: (module, name) to a `Builder`, which it may call, or any other value.
    where : str
        What to call the file in errors.
    storages : callable, optional
        Takes what a pickle says of something stored outside it, and gives what stands for it.

    Returns
    -------
    object
        Containers, numbers, texts, and what `names` and `storages` give. Containers may hold themselves.

    Raises
    ------
    ModelError
        When the pickle uses an operation or a name that no set of weights needs.
    ValueError, TypeError, LookupError
        When it is damaged, or bigger than any description of a network.

    Examples
    --------
    >>> import io, pickle
    >>> read_pickle(io.BytesIO(pickle.dumps({"epoch": [1, 2.5]}, protocol=2)), {}, where="weights.pt")
    {'epoch': [1, 2.5]}
    """
    return _Machine(stream, names, where, storages).run()


class _Machine:
    def __init__(self, stream: io.BufferedIOBase, names: Names, where: str, storages: Storages | None) -> None:
        self._stream = stream
        self._names = names
        self._where = where
        self._storages = storages
        self._stack: list[Any] = []
        self._below_marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._bytes_left = _MOST_BYTES

    def run(self) -> Any:
        for _ in range(_MOST_OPERATIONS):
            code = self._take(1)
            if code == b".":
                return self._stack.pop()
            operation = _OPERATIONS.get(code)
            if operation is None:
                self._distrust_operation(code)
            operation(self)
        refuse("it describes more than any network has")

    def _take(self, count: int) -> bytes:
        if count > self._bytes_left:
            refuse("it describes more than any network has, or is damaged")
        self._bytes_left -= count
        content = self._stream.read(count)
        if len(content) != count:
            refuse("the file is cut short")
        return content

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _since_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._below_marks.pop()
        return items

    def _distrust_operation(self, code: bytes) -> Never:
        import pickletools

        known = {operation.code: operation.name for operation in pickletools.opcodes}
        name = known.get(code.decode("latin-1"))
        if name is None:
            refuse(f"byte {code[0]} is no pickle operation")
        raise ModelError(
            f"the checkpoint uses the pickle operation {name}, which no set of weights needs",
            where=self._where,
            hint=DISTRUST,
        )

    def protocol(self) -> None:
        if self._take(1) != b"\x02":
            refuse("its pickle protocol is not 2, which torch.save writes")

    def mark(self) -> None:
        self._below_marks.append(self._stack)
        self._stack = []

    def push_none(self) -> None:
        self._stack.append(None)

    def push_true(self) -> None:
        self._stack.append(True)

    def push_false(self) -> None:
        self._stack.append(False)

    def push_int32(self) -> None:
        self._stack.append(self._number("<i"))

    def push_byte(self) -> None:
        self._stack.append(self._number("<B"))

    def push_uint16(self) -> None:
        self._stack.append(self._number("<H"))

    def push_long(self) -> None:
        self._stack.append(int.from_bytes(self._take(self._number("<B")), "little", signed=True))

    def push_float(self) -> None:
        self._stack.append(self._number(">d"))

    def push_text(self) -> None:
        self._stack.append(self._take(self._number("<I")).decode("utf-8", "surrogatepass"))

    def push_empty_tuple(self) -> None:
        self._stack.append(())

    def push_list(self) -> None:
        self._stack.append([])

    def push_table(self) -> None:
        self._stack.append({})

    def tuple_since_mark(self) -> None:
        items = tuple(self._since_mark())
        self._stack.append(items)

    def tuple_of_1(self) -> None:
        self._tuple_of(1)

    def tuple_of_2(self) -> None:
        self._tuple_of(2)

    def tuple_of_3(self) -> None:
        self._tuple_of(3)

    def _tuple_of(self, count: int) -> None:
        items = tuple(self._stack[-count:])
        if len(items) != count:
            refuse("its stack is too short")
        self._stack[-count:] = [items]

    def append(self) -> None:
        item = self._stack.pop()
        self._extend([item])

    def append_since_mark(self) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            refuse("it appends to what is no list")
        target.extend(items)

    def set_item(self) -> None:
        item = self._stack.pop()
        key = self._stack.pop()
        self._update([key, item])

    def set_items_since_mark(self) -> None:
        self._update(self._since_mark())

    def _update(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) not in (dict, Table) or len(items) % 2:
            refuse("it fills what is no dictionary")
        for key, item in zip(items[::2], items[1::2], strict=True):
            # Texts and numbers of one word hash in a moment; hashing a nested tuple could go as deep as a file likes.
            if type(key) is not str and not (type(key) is int and abs(key) < _LARGEST_KEY):
                refuse("a key of a dictionary is neither a text nor a number")
            target[key] = item

    def remember_byte(self) -> None:
        self._memo[self._number("<B")] = self._stack[-1]

    def remember_uint32(self) -> None:
        self._memo[self._number("<I")] = self._stack[-1]

    def recall_byte(self) -> None:
        self._stack.append(self._memo[self._number("<B")])

    def recall_uint32(self) -> None:
        self._stack.append(self._memo[self._number("<I")])

    def name(self) -> None:
        module, name = self._line(), self._line()
        found = self._names.get((module, name))
        if found is None:
            raise ModelError(
                f"the checkpoint wants to use {module}.{name}, which no set of weights needs",
                where=self._where,
                hint=DISTRUST,
            )
        self._stack.append(found)

    def _line(self) -> str:
        line = self._stream.readline(_LONGEST_NAME)
        self._bytes_left -= len(line)
        if not line.endswith(b"\n"):
            refuse("a name in it is cut short or absurdly long")
        text = line[:-1].decode("utf-8")
        return "".join(character if character.isprintable() else "?" for character in text)

    def call(self) -> None:
        arguments = self._stack.pop()
        function = self._stack.pop()
        if type(function) is not Builder or type(arguments) is not tuple:
            refuse("it calls what is no function")
        self._stack.append(function(*arguments))

    def drop_attributes(self) -> None:
        # PyTorch hangs `_metadata`, the versions of layers, on a state dictionary.
        self._stack.pop()
        if type(self._stack[-1]) is not Table:
            refuse("it hangs attributes on what has none")

    def stored_outside(self) -> None:
        reference = self._stack.pop()
        if self._storages is None:
            refuse("it refers to a storage where there is none")
        self._stack.append(self._storages(reference))


# What a dictionary of numbers, texts and tensors is written with. Left out are, above all, the operations that make
# objects in other ways than by a named function, and those that reserve as much memory as the file says.
_OPERATIONS: Final[Mapping[bytes, Callable[[_Machine], None]]] = {
    b"\x80": _Machine.protocol,
    b"(": _Machine.mark,
    b"N": _Machine.push_none,
    b"\x88": _Machine.push_true,
    b"\x89": _Machine.push_false,
    b"J": _Machine.push_int32,
    b"K": _Machine.push_byte,
    b"M": _Machine.push_uint16,
    b"\x8a": _Machine.push_long,
    b"G": _Machine.push_float,
    b"X": _Machine.push_text,
    b")": _Machine.push_empty_tuple,
    b"t": _Machine.tuple_since_mark,
    b"\x85": _Machine.tuple_of_1,
    b"\x86": _Machine.tuple_of_2,
    b"\x87": _Machine.tuple_of_3,
    b"]": _Machine.push_list,
    b"a": _Machine.append,
    b"e": _Machine.append_since_mark,
    b"}": _Machine.push_table,
    b"s": _Machine.set_item,
    b"u": _Machine.set_items_since_mark,
    b"q": _Machine.remember_byte,
    b"r": _Machine.remember_uint32,
    b"h": _Machine.recall_byte,
    b"j": _Machine.recall_uint32,
    b"c": _Machine.name,
    b"R": _Machine.call,
    b"b": _Machine.drop_attributes,
    b"Q": _Machine.stored_outside,
}
