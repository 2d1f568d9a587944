from __future__ import annotations

import os
import pickle
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from tests.checkpoints import legacy
from vecsv.checkpoints.reading import read_checkpoint
from vecsv.errors import ModelError

SMALL = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.array([1.5, -2.0], dtype=np.float32)}


def read(data: bytes) -> dict[str, NDArray[Any]]:
    return read_checkpoint(data, key="model_state", where="weights.pt")


def with_object(content: object, storages: dict[str, NDArray[Any]] | None = None) -> bytes:
    return legacy.header() + legacy.pickled(content) + legacy.body(storages or {})


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
    found = read(legacy.checkpoint(state))
    assert list(found) == list(state)
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert found[name].tobytes() == tensor.tobytes()


def test_tensors_that_share_a_storage_come_back_apart() -> None:
    stored = legacy.storage("s", 6)
    content = {"model_state": {"a": legacy.tensor(stored, 0, [2], [1]), "b": legacy.tensor(stored, 2, [2, 2], [2, 1])}}
    found = read(with_object(content, {"s": np.arange(6, dtype=np.float32)}))
    np.testing.assert_array_equal(found["a"], [0, 1])
    np.testing.assert_array_equal(found["b"], [[2, 3], [4, 5]])
    found["a"][:] = 9
    assert found["b"][0, 0] == 2


def test_a_file_cut_short_anywhere_is_refused() -> None:
    whole = legacy.checkpoint(SMALL)
    for length in range(len(whole)):
        with pytest.raises(ModelError, match=r"^weights\.pt: (not a PyTorch checkpoint|the file is empty)"):
            read(whole[:length])


@given(st.integers(0, len(legacy.checkpoint(SMALL)) - 1), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
@example(position=40, byte=ord("r"))
def test_a_damaged_byte_gives_tensors_or_an_error_of_ours_and_nothing_else(position: int, byte: int) -> None:
    data = bytearray(legacy.checkpoint(SMALL))
    data[position] = byte
    try:
        found = read(bytes(data))
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(tensor, np.ndarray) for tensor in found.values())


_CODES = [bytes([code]) for code in b"(.NJKMGX)t]ae}usqrhjcRbQ\x80\x85\x86\x87\x88\x89\x8a"]
_PIECES = st.one_of(
    st.sampled_from(_CODES),
    st.sampled_from(
        [b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"ctorch\nFloatStorage\n"]
    ),
    st.sampled_from([legacy.storage("s", 4).operations, legacy.value("weight"), legacy.value((4,)), legacy.value(0)]),
    st.binary(max_size=5),
)


@given(st.lists(_PIECES, max_size=40))
@settings(max_examples=500, deadline=None)
def test_any_sequence_of_operations_gives_tensors_or_an_error_of_ours(pieces: list[bytes]) -> None:
    data = legacy.header() + b"\x80\x02" + b"".join(pieces) + b"." + legacy.body({"s": np.zeros(4, dtype=np.float32)})
    try:
        found = read_checkpoint(data, where="weights.pt")
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        assert all(tensor.size <= 4 for tensor in found.values())


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_parts_moved_about_give_tensors_or_an_error_of_ours(data: st.DataObject) -> None:
    whole = legacy.checkpoint(SMALL)
    places = st.integers(0, len(whole))
    for _ in range(data.draw(st.integers(1, 3))):
        start, end, target = data.draw(places), data.draw(places), data.draw(places)
        part = whole[min(start, end) : max(start, end)]
        whole = whole[:target] + part + whole[target + data.draw(st.integers(0, len(part))) :]
    try:
        found = read(whole)
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        assert sum(tensor.nbytes for tensor in found.values()) <= 2 * len(whole)


@given(st.binary(max_size=200))
def test_any_other_file_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"^weights\.pt: "):
        read(data)


Attack = Callable[[Path], bytes]


def _system(marker: Path) -> bytes:
    return legacy.call(legacy.name("os", "system"), f"touch {marker}").operations


def _posix_system(marker: Path) -> bytes:
    return legacy.call(legacy.name("posix", "system"), f"touch {marker}").operations


def _eval(marker: Path) -> bytes:
    return legacy.call(legacy.name("builtins", "eval"), f"open({str(marker)!r}, 'w')").operations


def _old_eval(marker: Path) -> bytes:
    return legacy.call(legacy.name("__builtin__", "eval"), f"open({str(marker)!r}, 'w')").operations


def _exec(marker: Path) -> bytes:
    return legacy.call(legacy.name("builtins", "exec"), f"open({str(marker)!r}, 'w')").operations


def _attribute_chain(marker: Path) -> bytes:
    getter = legacy.name("builtins", "getattr")
    system = legacy.call(getter, legacy.call(legacy.name("importlib", "import_module"), "os"), "system")
    return legacy.call(system, f"touch {marker}").operations


def _dotted_name(marker: Path) -> bytes:
    lookup = legacy.name("collections", "OrderedDict.__init__.__globals__")
    return legacy.call(lookup, str(marker)).operations


def _dotted_name_by_stack(marker: Path) -> bytes:
    lookup = legacy.Raw(legacy.value("os") + legacy.value("system") + b"\x93")
    return legacy.call(lookup, f"touch {marker}").operations


def _instance_operation(marker: Path) -> bytes:
    return b"(" + legacy.value(f"touch {marker}") + b"ios\nsystem\n"


def _object_operation(marker: Path) -> bytes:
    return b"(cos\nsystem\n" + legacy.value(f"touch {marker}") + b"o"


def _torch_itself(marker: Path) -> bytes:
    return legacy.call(legacy.name("torch.serialization", "load"), str(marker)).operations


def _extension_registry(marker: Path) -> bytes:
    return b"\x82\x01"


def _unneeded_operation(marker: Path) -> bytes:
    return b"\x96" + (1).to_bytes(8, "little") + b"x"


ATTACKS = [
    _system,
    _posix_system,
    _eval,
    _old_eval,
    _exec,
    _attribute_chain,
    _dotted_name,
    _dotted_name_by_stack,
    _instance_operation,
    _object_operation,
    _torch_itself,
    _extension_registry,
    _unneeded_operation,
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("place", ["magic number", "version", "system", "object", "state", "tensor", "keys"])
def test_a_pickle_that_names_anything_but_tensors_is_refused_without_effect(
    attack: Attack, place: str, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"
    payload = legacy.Raw(attack(marker))
    magic = legacy.pickled(legacy.MAGIC_NUMBER)
    data = {
        "magic number": legacy.pickled(payload),
        "version": magic + legacy.pickled(payload),
        "system": legacy.header({**legacy.SYSTEM, "more": payload}),
        "object": with_object(payload),
        "state": with_object({"model_state": {}, "optimizer": payload}),
        "tensor": with_object({"model_state": {"weight": payload}}),
        "keys": legacy.header() + legacy.pickled({"model_state": {}}) + legacy.pickled([payload]),
    }[place]
    with pytest.raises(ModelError, match="which no set of weights needs") as refusal:
        read(data)
    assert "do not trust this file" in str(refusal.value)
    assert not marker.exists()


def test_the_refusal_names_what_the_pickle_wanted() -> None:
    with pytest.raises(ModelError, match=r"wants to use builtins\.eval"):
        read(with_object({"model_state": legacy.call(legacy.name("builtins", "eval"), "1")}))


def test_the_attacks_would_work_on_an_ordinary_unpickler(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    pickle.loads(legacy.pickled(legacy.Raw(_system(marker))))
    assert marker.exists()


def test_names_that_tensors_need_are_refused_outside_the_object() -> None:
    with pytest.raises(ModelError, match=r"collections\.OrderedDict"):
        read(legacy.header({**legacy.SYSTEM, "more": legacy.call(legacy.name("collections", "OrderedDict"))}))


def test_attributes_cannot_be_hung_on_the_reader_s_own_builders() -> None:
    builder = legacy.name("torch._utils", "_rebuild_tensor_v2")
    state = legacy.value((None, {"__call__": 1}))
    with pytest.raises(ModelError, match="not a PyTorch checkpoint"):
        read(with_object({"model_state": {}, "more": legacy.Raw(builder.operations + state + b"b")}))
    assert read(legacy.checkpoint(SMALL)).keys() == SMALL.keys()


def test_a_length_that_would_reserve_gigabytes_is_refused() -> None:
    with pytest.raises(ModelError, match="pickle operation BYTEARRAY8"):
        read(legacy.header() + b"\x80\x02\x96" + (2**62).to_bytes(8, "little") + b".")


def test_a_memo_index_that_would_reserve_gigabytes_reserves_nothing() -> None:
    remembered = legacy.Raw(legacy.value({}) + b"r" + (2**32 - 1).to_bytes(4, "little"))
    data = with_object({"model_state": {}, "more": remembered})
    tracemalloc.start()
    assert read(data) == {}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_text_that_is_longer_than_the_file_reserves_nothing() -> None:
    tracemalloc.start()
    with pytest.raises(ModelError, match="describes more than any network has"):
        read(legacy.header() + b"\x80\x02X" + (2**32 - 1).to_bytes(4, "little") + b"text")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_a_tuple_nested_without_end_is_no_key_and_no_crash() -> None:
    deep = legacy.Raw(b")" + b"\x85" * 400_000)
    with pytest.raises(ModelError, match="neither a text nor a number"):
        read(with_object({deep: 1}))
    with pytest.raises(ModelError, match="described wrongly"):
        read(with_object({"model_state": {}, "more": legacy.Raw(deep.operations + b"Q")}))


def test_operations_without_end_are_refused() -> None:
    with pytest.raises(ModelError, match="describes more than any network has"):
        read(legacy.header() + b"\x80\x02" + b"N" * 1_000_001)


def test_a_list_that_holds_itself_is_no_obstacle() -> None:
    circle = legacy.Raw(b"]q\x07h\x07a")
    assert read(with_object({"model_state": {}, "more": circle})) == {}


def test_views_of_a_storage_that_repeat_it_many_times_are_refused() -> None:
    stored = legacy.storage("s", 1000)
    content = {"model_state": {str(n): legacy.tensor(stored, n, [900], [1]) for n in range(100)}}
    with pytest.raises(ModelError, match="far bigger than what is stored"):
        read(with_object(content, {"s": np.zeros(1000, dtype=np.float32)}))


def test_names_for_one_tensor_share_it_however_many_they_are() -> None:
    stored = legacy.storage("s", 1000)
    content = {"model_state": {str(n): legacy.tensor(stored, 0, [1000], [1]) for n in range(100)}}
    found = read(with_object(content, {"s": np.zeros(1000, dtype=np.float32)}))
    assert len(found) == 100
    assert len({id(tensor) for tensor in found.values()}) == 1


@given(st.data())
def test_a_view_is_taken_out_as_its_offset_and_strides_say(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 4), max_size=3))
    strides = data.draw(st.lists(st.integers(0, 20), min_size=len(shape), max_size=len(shape)))
    offset = data.draw(st.integers(0, 10))
    stored = np.arange(40, dtype=np.float32)
    places = [offset + sum(i * s for i, s in zip(index, strides, strict=True)) for index in np.ndindex(*shape)]
    view = legacy.tensor(legacy.storage("s", stored.size), offset, shape, strides)
    try:
        found = read(with_object({"model_state": {"weight": view}}, {"s": stored}))["weight"]
    except ModelError as error:
        # Interleaved axes without a number twice are refused as well; no network has them.
        if len(set(places)) == len(places) and max(places) < stored.size:
            assert "twice" in str(error)
            ordered = sorted((s, n) for s, n in zip(strides, shape, strict=True) if n > 1)
            assert any(s <= (n - 1) * t for (t, n), (s, _) in pairwise(ordered))
    else:
        assert max(places) < stored.size
        assert len(set(places)) == len(places)
        assert found.flags.c_contiguous
        assert found.shape == tuple(shape)
        np.testing.assert_array_equal(found.ravel(), places)


def _one(stored: legacy.Raw, offset: int, shape: list[int], strides: list[int]) -> dict[str, Any]:
    return {"model_state": {"weight": legacy.tensor(stored, offset, shape, strides)}}


FOUR = np.arange(4, dtype=np.float32)


@pytest.mark.parametrize(
    ("content", "storages", "complaint"),
    [
        (_one(legacy.storage("s", 4), 1, [4], [1]), {"s": FOUR}, "reaches beyond its storage"),
        (_one(legacy.storage("s", 4), -1, [4], [1]), {"s": FOUR}, "described wrongly"),
        (_one(legacy.storage("s", 4), 0, [2, 2], [1, 3]), {"s": FOUR}, "reaches beyond its storage"),
        (_one(legacy.storage("s", 4), 0, [10**12], [0]), {"s": FOUR}, "numbers of its storage twice"),
        (_one(legacy.storage("s", 4), 0, [10**6, 10**6], [1, 0]), {"s": FOUR}, "numbers of its storage twice"),
        (_one(legacy.storage("s", 4), 0, [3, 2], [1, 1]), {"s": FOUR}, "numbers of its storage twice"),
        (_one(legacy.storage("s", 4), 0, [2**61, 2**61], [2**61, 1]), {"s": FOUR}, "reaches beyond its storage"),
        (_one(legacy.storage("s", 4), 0, [2**64], [1]), {"s": FOUR}, "described wrongly"),
        (_one(legacy.storage("s", 4), 0, [4], [1, 1]), {"s": FOUR}, "described wrongly"),
        (_one(legacy.storage("s", 4), 0, [1] * 17, [1] * 17), {"s": FOUR}, "described wrongly"),
        (_one(legacy.storage("s", 10**12), 0, [10**12], [1]), {"s": FOUR}, "4 elements instead of 1000000000000"),
        (_one(legacy.storage("s", 4), 0, [-2], [1]), {"s": FOUR}, "described wrongly"),
        (_one(legacy.storage("s", 4, view=("v", 0, 2)), 0, [4], [1]), {"s": FOUR}, "described wrongly"),
        (_one(legacy.storage("s", -4), 0, [4], [1]), {"s": FOUR}, "described wrongly"),
        (_one(legacy.storage("s", 5), 0, [4], [1]), {"s": FOUR}, "4 elements instead of 5"),
        (_one(legacy.storage("s", 4), 0, [4], [1]), {"t": FOUR}, "does not match its tensors"),
        (_one(legacy.storage("s", 4), 0, [4], [1]), {}, "does not match its tensors"),
        ({"model_state": {"weight": 3}}, {}, "no tensor"),
        ({"model_state": {3: 3}}, {}, "name is no text"),
        ({"model_state": [1]}, {}, "no dictionary 'model_state'"),
        ({"other": {}}, {}, "model_state"),
        ([1], {}, "no dictionary 'model_state'"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    content: object, storages: dict[str, NDArray[Any]], complaint: str
) -> None:
    with pytest.raises(ModelError, match="not a PyTorch checkpoint") as refusal:
        read(with_object(content, storages))
    assert complaint in str(refusal.value)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (legacy.pickled(1) + legacy.checkpoint(SMALL), "magic number"),
        (legacy.pickled(legacy.MAGIC_NUMBER) + legacy.pickled(1002), "protocol version"),
        (legacy.header({**legacy.SYSTEM, "little_endian": False}), "little-endian"),
        (legacy.checkpoint(SMALL) + b"x", "something follows"),
        (b"PK\x03\x04" + bytes(40), "not a PyTorch checkpoint"),
    ],
)
def test_a_file_of_another_format_is_refused_with_the_reason(data: bytes, complaint: str) -> None:
    with pytest.raises(ModelError) as refusal:
        read(data)
    assert complaint in str(refusal.value)


def test_nothing_of_torch_is_imported_for_it() -> None:
    # Run in a process of its own: other tests may have imported anything.
    import subprocess
    import sys

    script = (
        "import sys; from tests.checkpoints import legacy, test_reading as t; "
        "t.read(legacy.checkpoint(t.SMALL)); sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", script], cwd=root, env=dict(os.environ), check=False).returncode == 0
