from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from vecsv.checkpoints.hugging_face import as_float32, read_json, read_weights
from vecsv.errors import ModelError


def sharded(folder: Path, placed: dict[str, str]) -> Path:
    """A folder with an index, and with the files ``one`` and ``two`` where it names them."""
    index = {"metadata": {"total_size": 8}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    for file in set(placed.values()) & {"one.safetensors", "two.safetensors"}:
        held = {name: np.full(2, number, np.float32) for number, name in enumerate(placed) if placed[name] == file}
        save_file(held, folder / file)
    return folder


def test_weights_in_several_files_are_read_as_one(tmp_path: Path) -> None:
    tensors, where = read_weights(sharded(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"}))
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {"a": [0.0, 0.0], "b": [1.0, 1.0]}
    assert where.endswith("model.safetensors.index.json")


def test_safetensors_come_before_a_pickle(tmp_path: Path) -> None:
    save_file({"a": np.ones(1, np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"never read")
    assert list(read_weights(tmp_path)[0]) == ["a"]


@pytest.mark.parametrize(
    "name",
    [
        "../model.safetensors",
        "/etc/passwd",
        "sub/model.safetensors",
        "..\\model.safetensors",
        "..",
        "model.safetensors\n",
        "model.py",
        "C:model.safetensors",
        "",
        "x" * 10**6 + ".safetensors",
    ],
)
def test_an_index_leads_nowhere_but_into_its_folder(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "model"
    inside.mkdir()
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="which is no name of a file of weights") as refusal:
        read_weights(sharded(inside, {"a": name}))
    assert len(str(refusal.value).replace(str(tmp_path), "")) < 250
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "index",
    ["[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": {"a": 1}}', '{"weight_map": {"a": null}}'],
)
def test_an_index_without_files_is_refused(tmp_path: Path, index: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    with pytest.raises(ModelError, match=r"has no weight_map|is no JSON object"):
        read_weights(tmp_path)


def test_an_index_of_very_many_files_is_refused(tmp_path: Path) -> None:
    placed = {str(number): f"model-{number}.bin" for number in range(257)}
    with pytest.raises(ModelError, match="names 257 files, more than 256"):
        read_weights(sharded(tmp_path, placed))


def test_a_file_that_the_index_names_and_nobody_has_is_named(tmp_path: Path) -> None:
    folder = sharded(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    (folder / "two.safetensors").unlink()
    with pytest.raises(ModelError, match=r"two\.safetensors: is missing, but model\.safetensors\.index\.json names it"):
        read_weights(folder)


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    folder = sharded(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    save_file({"a": np.zeros(2, np.float32), "b": np.ones(2, np.float32)}, folder / "two.safetensors")
    with pytest.raises(ModelError, match=r"two\.safetensors: holds a, which another file holds as well"):
        read_weights(folder)


def test_a_folder_without_weights_says_what_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no weights: neither model\.safetensors nor pytorch_model\.bin"):
        read_weights(tmp_path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "is not JSON"),
        (b"[]", "is no JSON object"),
        (b" " * (16 * 2**20 + 1), "is larger than 16 MiB"),
    ],
)
def test_what_is_no_json_object_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=complaint):
        read_json(tmp_path / "config.json")


def test_a_missing_or_unreadable_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json: is missing"):
        read_json(tmp_path / "config.json")
    with pytest.raises(ModelError, match="cannot be read"):
        read_json(tmp_path)


def test_half_precision_is_widened_and_nothing_else() -> None:
    widened = as_float32({"a": np.array([0.1], np.float16), "b": np.array([0.1], np.float32)}, where="x")
    assert widened["a"].dtype == widened["b"].dtype == np.float32
    assert widened["a"][0] == np.float16(0.1)
    for dtype in (np.float64, np.int64, np.bool_):
        with pytest.raises(ModelError, match=f"x: a is {np.dtype(dtype)}, expected float32 or float16"):
            as_float32({"a": np.zeros(1, dtype)}, where="x")
