from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from tests.checkpoints import legacy, zipped
from tests.checkpoints.test_reading import ATTACKS, Attack
from tests.checkpoints.zipped import SMALL
from vecsv.checkpoints.reading import read_checkpoint
from vecsv.errors import ModelError

FOUR = np.arange(4, dtype=np.float32)


def read(data: bytes, key: str | None = None) -> dict[str, NDArray[Any]]:
    return read_checkpoint(data, where="weights.pt", key=key)


def complaint(data: bytes, key: str | None = None) -> str:
    with pytest.raises(ModelError) as refusal:
        read(data, key)
    assert str(refusal.value).startswith("weights.pt: ")
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def require_equal(found: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]]) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert found[name].tobytes() == tensor.tobytes()


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8),
        st.sampled_from(["<f4", "<f8", "<f2", "<i8"]).flatmap(
            lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
        ),
        max_size=4,
    )
)
def test_tensors_come_back_with_their_names_types_and_bits(state: dict[str, NDArray[Any]]) -> None:
    require_equal(read(zipped.checkpoint(state)), state)


def test_arrays_can_be_written_to() -> None:
    found = read(zipped.checkpoint(SMALL))
    found["weight"][0, 0] = 9
    assert found["weight"][0, 0] == 9


class TestWhichDictionary:
    def test_the_only_one_is_found(self) -> None:
        require_equal(read(zipped.checkpoint(SMALL, key="state_dict")), SMALL)

    def test_one_is_chosen_by_its_key(self) -> None:
        first, storages = zipped.state({"a": FOUR})
        second = {"a": legacy.tensor(zipped.storage("9", 2), 0, [2], [1])}
        data = zipped.archive(zipped.members({"model": first, "ema": second}, {**storages, "9": FOUR[:2]}))
        assert read(data, "model")["a"].size == 4
        assert read(data, "ema")["a"].size == 2
        assert "2 dictionaries of tensors (it has 'model', 'ema'): say which" in complaint(data)
        assert "no dictionary 'teacher' in it (it has 'model', 'ema')" in complaint(data, "teacher")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ([1], "holds no dictionary"),
            ({"epoch": 3, "optimizer": {"lr": 0.1}}, "no dictionary of tensors in it (it has 'epoch', 'optimizer')"),
            ({"weight": legacy.tensor(zipped.storage("0", 4), 0, [4], [1]), "epoch": 3}, "something that is no tensor"),
            ({3: legacy.tensor(zipped.storage("0", 4), 0, [4], [1])}, "name is no text"),
        ],
    )
    def test_without_one_the_reason_is_told(self, content: object, words: str) -> None:
        assert words in complaint(zipped.archive(zipped.members(content, {"0": FOUR})))


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("place", ["object", "optimiser", "tensor"])
def test_a_pickle_that_names_anything_but_tensors_is_refused_without_effect(
    attack: Attack, place: str, tmp_path: Any
) -> None:
    marker = tmp_path / "ran"
    payload = legacy.Raw(attack(marker))
    content = {"object": payload, "optimiser": {"model": {}, "o": payload}, "tensor": {"model": {"w": payload}}}[place]
    said = complaint(zipped.archive(zipped.members(content)))
    assert "which no set of weights needs" in said
    assert "do not trust this file" in said
    assert not marker.exists()


def test_a_file_cut_short_anywhere_is_refused() -> None:
    whole = zipped.checkpoint(SMALL)
    for length in range(len(whole)):
        complaint(whole[:length])


@given(st.integers(0, len(zipped.checkpoint(SMALL)) - 1), st.integers(0, 255))
@settings(max_examples=400, deadline=None)
def test_a_damaged_byte_gives_the_same_tensors_or_an_error_of_ours(position: int, byte: int) -> None:
    data = bytearray(zipped.checkpoint(SMALL))
    data[position] = byte
    try:
        found = read(bytes(data))
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        # Every member that is read is under a checksum.
        require_equal(found, SMALL)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_parts_moved_about_give_the_same_tensors_or_an_error_of_ours(data: st.DataObject) -> None:
    whole = zipped.checkpoint(SMALL)
    places = st.integers(0, len(whole))
    for _ in range(data.draw(st.integers(1, 3))):
        start, end, target = data.draw(places), data.draw(places), data.draw(places)
        part = whole[min(start, end) : max(start, end)]
        whole = whole[:target] + part + whole[target + data.draw(st.integers(0, len(part))) :]
    try:
        require_equal(read(whole), SMALL)
    except ModelError as error:
        assert "\n" not in str(error)


def _patched(data: bytes, what: bytes, offset: int, replacement: bytes, *, which: int = 0) -> bytes:
    """Overwrite bytes relative to an occurrence of a signature."""
    place = -1
    for _ in range(which + 1):
        place = data.index(what, place + 1)
    start = place + offset
    return data[:start] + replacement + data[start + len(replacement) :]


def _entry(data: bytes, offset: int, replacement: bytes) -> bytes:
    return _patched(data, b"PK\x01\x02", offset, replacement)


def _small() -> dict[str, bytes]:
    described, storages = zipped.state(SMALL)
    return zipped.members(described, storages)


def _zip64_lie() -> bytes:
    whole = zipped.checkpoint(SMALL)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 5, 5, 2**60, 2**60)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(whole) - 22, 1)
    return whole[:-22] + record + locator + whole[-22:]


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "a name that climbs": (lambda: zipped.archive({**_small(), "../../x": b""}), "never gives"),
    "a name from the root": (lambda: zipped.archive({**_small(), "/etc/x": b""}), "never gives"),
    "another system's separator": (lambda: zipped.archive({**_small(), "..\\x": b""}), "never gives"),
    "a name with a line end": (lambda: zipped.archive({**_small(), "a\nb": b""}), "never gives"),
    "a name without folder": (lambda: zipped.archive(_small(), folder=""), "never gives"),
    "two folders": (
        lambda: zipped.archive([*((f"a/{n}", c) for n, c in _small().items()), ("b/x", b"")], folder=""),
        "outside its folder",
    ),
    "a name twice": (lambda: zipped.archive([*_small().items(), ("data.pkl", b"")]), "twice"),
    "a compressed member": (
        lambda: zipped.archive(_small(), compression=zipfile.ZIP_DEFLATED),
        "compressed, which torch.save never does",
    ),
    "a bomb": (
        lambda: zipped.archive({**_small(), "data/9": bytes(50_000_000)}, compression=zipfile.ZIP_DEFLATED),
        "compressed, which torch.save never does",
    ),
    "an encrypted member": (lambda: _entry(zipped.checkpoint(SMALL), 8, b"\x01\x00"), "encrypted"),
    "a size beyond the file": (
        lambda: _entry(_entry(zipped.checkpoint(SMALL), 20, b"\xfe\xff\xff\xff"), 24, b"\xfe\xff\xff\xff"),
        "bigger than the file",
    ),
    "two sizes": (lambda: _entry(zipped.checkpoint(SMALL), 20, b"\x01\x00\x00\x00"), "two sizes"),
    "a place outside": (lambda: _entry(zipped.checkpoint(SMALL), 42, b"\xfe\xff\xff\xff"), "bigger than the file"),
    "a directory beyond the file": (_zip64_lie, "outside the file"),
    "something after the end": (lambda: zipped.checkpoint(SMALL) + b"x", "cut short"),
    "a damaged number": (lambda: _patched(zipped.checkpoint(SMALL), FOUR.tobytes(), 9, b"\x01"), "is damaged"),
    "no object": (lambda: zipped.archive({"version": b"3"}), "has no data.pkl"),
    "no storage": (
        lambda: zipped.archive({k: v for k, v in _small().items() if k != "data/0"}),
        "storage '0' is missing",
    ),
    "a short storage": (lambda: zipped.archive({**_small(), "data/0": b"1234"}), "has 4 bytes instead of 24"),
    "the other byte order": (lambda: zipped.archive({**_small(), "byteorder": b"big"}), "little-endian"),
    "a program": (lambda: zipped.archive({**_small(), "code/__torch__.py": b""}), "TorchScript"),
    "more after the object": (
        lambda: zipped.archive({**_small(), "data.pkl": _small()["data.pkl"] + b"x"}),
        "something follows",
    ),
    "an ordinary archive": (lambda: zipped.archive({"readme.txt": b"hello"}), "has no data.pkl"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_with_the_reason(case: str) -> None:
    make, words = HOSTILE[case]
    assert words in complaint(make())


def test_a_number_of_10_to_the_12_elements_is_refused_before_memory_is_reserved() -> None:
    for shape, strides in (([10**12], [1]), ([10**12], [0]), ([10**6, 10**6], [10**6, 1]), ([4, 10**12], [1, 0])):
        content = {"weight": legacy.tensor(zipped.storage("0", 4), 0, shape, strides)}
        said = complaint(zipped.archive(zipped.members(content, {"0": FOUR})))
        assert "reaches beyond its storage" in said or "takes numbers of its storage twice" in said


def test_a_storage_described_twice_is_refused() -> None:
    content = {
        "a": legacy.tensor(zipped.storage("0", 4), 0, [4], [1]),
        "b": legacy.tensor(zipped.storage("0", 2, "float64"), 0, [2], [1]),
    }
    assert "'0' is described twice" in complaint(zipped.archive(zipped.members(content, {"0": FOUR})))
