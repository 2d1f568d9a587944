from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save, save_file

from tests.checkpoints.zipped import SMALL
from vecsv.checkpoints.reading import read_checkpoint
from vecsv.errors import ModelError


def read(data: bytes) -> dict[str, NDArray[Any]]:
    return read_checkpoint(data, where="model.safetensors")


def written(header: object, numbers: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def entry(start: int, end: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "dtype", ["f4", "f8", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?", "c8"]
)  # fmt: skip
def test_every_type_comes_back_bit_by_bit(dtype: str, tmp_path: Path) -> None:
    tensors = {"a": np.arange(6).reshape(2, 3).astype(dtype), "b": np.array(1).astype(dtype)}
    save_file(tensors, tmp_path / "model.safetensors")
    found = read_checkpoint(tmp_path / "model.safetensors", where="model.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert found[name].tobytes() == tensor.tobytes()


def test_brain_floats_come_as_the_same_numbers_in_float32() -> None:
    numbers = np.array([1.0, -2.5, 0.0, np.inf], dtype=np.float32)
    halves = (numbers.view(np.uint32) >> 16).astype("<u2").tobytes()
    found = read(written({"w": entry(0, 8, [4], "BF16")}, halves))
    assert found["w"].dtype == np.float32
    np.testing.assert_array_equal(found["w"], numbers)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (written({"w": entry(0, 4 * 10**12, [10**12])}), "not a PyTorch checkpoint"),
        (written({"w": entry(0, 4, [10**12])}, bytes(4)), "not a PyTorch checkpoint"),
        (written({"w": entry(0, 4, [2**63, 2**63])}, bytes(4)), "not a PyTorch checkpoint"),
        (written({"v": entry(0, 4, [1]), "w": entry(0, 4, [1])}, bytes(4)), "not a PyTorch checkpoint"),
        (written({"w": entry(4, 8, [1])}, bytes(8)), "not a PyTorch checkpoint"),
        (written({"w": entry(0, 4, [1])}, bytes(9)), "not a PyTorch checkpoint"),
        (written({"w": entry(0, 4, [-1])}, bytes(4)), "not a PyTorch checkpoint"),
        (written({"w": entry(0, 1, [1], "F8_E5M2")}, bytes(1)), "F8_E5M2 numbers, which vecsv does not read"),
        (written(b'{"w":' + b"[" * 100_000), "not a PyTorch checkpoint"),
        ((2**62).to_bytes(8, "little") + b"{}", "starts as no known format"),
        ((17 * 2**20).to_bytes(8, "little") + b"{" + bytes(17 * 2**20), "describes more than any network has"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=r"^model\.safetensors: ") as refusal:
        read(data)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_header_whose_length_begins_like_a_pickle_is_read() -> None:
    """The length's first byte is 0x80, the first byte of a pickle, for one header in 32."""
    files = {"x" * length: save({"x" * length: np.ones(2, np.float32)}) for length in range(1, 256)}
    alike = {name: data for name, data in files.items() if data[0] == 0x80}
    assert alike
    assert all(set(read(data)) == {name} for name, data in alike.items())


def test_a_key_is_refused() -> None:
    with pytest.raises(ModelError, match="holds tensors only"):
        read_checkpoint(save(SMALL), where="model.safetensors", key="model")


@given(st.integers(0, len(save(SMALL)) - 1), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_damaged_byte_gives_tensors_or_an_error_of_ours_and_nothing_else(position: int, byte: int) -> None:
    data = bytearray(save(SMALL))
    data[position] = byte
    try:
        found = read(bytes(data))
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        assert sum(tensor.size for tensor in found.values()) <= 100


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"", "the file is empty"),
    ],
)
def test_what_people_hand_over_by_mistake_is_named(data: bytes, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        read(data)
