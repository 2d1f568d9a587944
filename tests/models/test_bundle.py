from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from vecsv.errors import ModelError
from vecsv.models import ge2e
from vecsv.models.bundle import (
    BUNDLE_FILE,
    CARD_FILE,
    ONNX_FILE,
    TENSORS_FILE,
    Bundle,
    is_bundle,
    read_bundle,
    verify_bundle,
    write_bundle,
)
from vecsv.models.fingerprint import fingerprint
from vecsv.models.windows import POOLING

TENSORS = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.array([0.5], dtype=np.float32)}
BUNDLE = Bundle(
    name="tiny",
    family="ge2e",
    network={},
    description="a model for tests",
    dim=256,
    sample_rate=16000,
    frontend=ge2e.FRONTEND,
    windowing=ge2e.WINDOWING,
    pooling=POOLING,
    fingerprint=fingerprint(TENSORS, frontend=ge2e.FRONTEND, windowing=ge2e.WINDOWING, pooling=POOLING),
    licence="CC0-1.0",
    source={"package": "none", "version": "0"},
    reference_calibration=None,
    sha256={},
)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "models" / "tiny", BUNDLE, tensors=TENSORS, graph=b"a network")


def edit(folder: Path, **changes: Any) -> None:
    path = folder / BUNDLE_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_bundle_comes_back_as_it_was_written(tiny: Path) -> None:
    found = verify_bundle(tiny)
    assert replace(found, sha256={}) == BUNDLE
    assert found.sha256.keys() == {ONNX_FILE, TENSORS_FILE}
    assert (tiny / ONNX_FILE).read_bytes() == b"a network"
    for name, tensor in load_file(tiny / TENSORS_FILE).items():
        np.testing.assert_array_equal(tensor, TENSORS[name])


def test_a_reference_calibration_comes_back_with_its_source(tmp_path: Path) -> None:
    reference = {"data": "some corpus", "thresholds": {"eer": 0.7}}
    folder = write_bundle(tmp_path / "m", replace(BUNDLE, reference_calibration=reference), tensors=TENSORS, graph=b"n")
    assert read_bundle(folder).reference_calibration == reference


class TestCard:
    @pytest.fixture
    def carded(self, tmp_path: Path) -> Path:
        return write_bundle(tmp_path / "carded", BUNDLE, tensors=TENSORS, graph=None, card="# Größe\n")

    def test_it_is_a_file_of_the_bundle(self, carded: Path) -> None:
        assert (carded / CARD_FILE).read_text(encoding="utf-8") == "# Größe\n"
        assert verify_bundle(carded).sha256.keys() == {TENSORS_FILE, CARD_FILE}

    def test_a_changed_or_missing_one_is_found_by_verification(self, carded: Path) -> None:
        (carded / CARD_FILE).write_text("# Something else\n", encoding="utf-8")
        with pytest.raises(ModelError, match=r"README\.md: is not the file that the bundle was made with"):
            verify_bundle(carded)
        (carded / CARD_FILE).unlink()
        with pytest.raises(ModelError, match=r"README\.md: cannot be read"):
            verify_bundle(carded)

    def test_a_file_of_that_name_beside_a_bundle_without_one_is_no_part_of_it(self, tiny: Path) -> None:
        (tiny / CARD_FILE).write_text("notes", encoding="utf-8")
        assert CARD_FILE not in verify_bundle(tiny).sha256

    def test_it_does_not_change_what_the_model_is(self, carded: Path, tiny: Path) -> None:
        assert read_bundle(carded).fingerprint == read_bundle(tiny).fingerprint


def test_nothing_else_is_left_beside_a_bundle(tiny: Path) -> None:
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny"]
    assert sorted(path.name for path in tiny.iterdir()) == [BUNDLE_FILE, ONNX_FILE, TENSORS_FILE]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"format_version": 1}, "format version 1"),
        ({"colour": "red"}, "unknown or missing: colour"),
        ({"dim": "256"}, "dim is '256'"),
        ({"frontend": None}, "frontend is no object"),
        ({"frontend": {"kind": "waveform"}}, "front end: unknown or missing"),
        ({"windowing": {"frames": 160}}, "windowing"),
        ({"pooling": {"windows": "maximum"}}, "pooling"),
        ({"reference_calibration": 0.7}, "reference_calibration"),
    ],
)
def test_a_description_that_does_not_fit_is_refused_naming_the_file(
    changes: dict[str, Any], complaint: str, tiny: Path
) -> None:
    edit(tiny, **changes)
    with pytest.raises(ModelError) as refusal:
        read_bundle(tiny)
    assert str(tiny / BUNDLE_FILE) in str(refusal.value)
    assert complaint in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_description_that_is_no_json_object_is_refused_naming_the_file(content: bytes, tiny: Path) -> None:
    (tiny / BUNDLE_FILE).write_bytes(content)
    with pytest.raises(ModelError, match=BUNDLE_FILE):
        read_bundle(tiny)


def test_a_missing_field_is_refused_by_name(tiny: Path) -> None:
    values = json.loads((tiny / BUNDLE_FILE).read_text())
    del values["licence"]
    (tiny / BUNDLE_FILE).write_text(json.dumps(values))
    with pytest.raises(ModelError, match="unknown or missing: licence"):
        read_bundle(tiny)


@pytest.mark.parametrize("name", [ONNX_FILE, TENSORS_FILE])
def test_a_changed_file_is_found_by_verification(name: str, tiny: Path) -> None:
    content = bytearray((tiny / name).read_bytes())
    content[-1] ^= 1
    (tiny / name).write_bytes(content)
    with pytest.raises(ModelError, match="not the file that the bundle was made with") as refusal:
        verify_bundle(tiny)
    assert str(tiny / name) in str(refusal.value)


@pytest.mark.parametrize("name", [ONNX_FILE, TENSORS_FILE])
def test_a_missing_file_is_found_by_verification(name: str, tiny: Path) -> None:
    (tiny / name).unlink()
    with pytest.raises(ModelError, match=name):
        verify_bundle(tiny)


def test_a_changed_rule_is_found_by_verification(tiny: Path) -> None:
    edit(tiny, frontend={**BUNDLE.frontend.to_json(), "hop": 161})
    with pytest.raises(ModelError, match="fingerprint"):
        verify_bundle(tiny)


def test_a_bundle_that_is_there_stays_unless_it_is_to_be_replaced(tiny: Path) -> None:
    other = replace(BUNDLE, description="another")
    write_bundle(tiny, other, tensors=TENSORS, graph=b"another")
    assert verify_bundle(tiny).description == BUNDLE.description
    write_bundle(tiny, other, tensors=TENSORS, graph=b"another", replace=True)
    assert verify_bundle(tiny).description == "another"
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny"]


@pytest.mark.parametrize("replacing", [False, True])
def test_writers_at_the_same_time_leave_one_whole_bundle(replacing: bool, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny"

    def write(number: int) -> None:
        bundle = replace(BUNDLE, description=f"writer {number}")
        write_bundle(folder, bundle, tensors=TENSORS, graph=b"%d" % number, replace=replacing)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(24)))
    assert verify_bundle(folder).description.startswith("writer ")
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


@pytest.mark.parametrize("step", range(1, 7))
@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_fault_leaves_nothing_half_written(call: str, step: int, tmp_path: Path, monkeypatch: Any) -> None:
    folder = tmp_path / "models" / "tiny"
    calls = 0

    def failing(original: Any) -> Any:
        def wrapped(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == step:
                raise OSError(28, "No space left on device")
            return original(*arguments)

        return wrapped

    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(os, "fsync", failing(os.fsync))
        else:
            patch.setattr(Path, "rename", failing(Path.rename))
        try:
            write_bundle(folder, BUNDLE, tensors=TENSORS, graph=b"a network")
        except ModelError as error:
            assert "No space left on device" in str(error)
            assert str(folder) in str(error)
        else:
            assert calls < step
    assert not folder.exists() or verify_bundle(folder)
    assert [path.name for path in folder.parent.iterdir()] in ([], ["tiny"])
    write_bundle(folder, BUNDLE, tensors=TENSORS, graph=b"a network")
    assert verify_bundle(folder).name == "tiny"


def test_only_a_folder_with_a_description_is_a_bundle(tiny: Path) -> None:
    assert is_bundle(tiny)
    assert not is_bundle(tiny.parent)
    assert not is_bundle(tiny / "nowhere")
