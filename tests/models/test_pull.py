from __future__ import annotations

import hashlib
import importlib.util
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from vecsv.errors import ModelError
from vecsv.models import pull as pulling
from vecsv.models.bundle import BUNDLE_FILE, ONNX_FILE, TENSORS_FILE, is_bundle, verify_bundle
from vecsv.models.cards import find_card
from vecsv.models.pull import UnreachableModelError, cached_folder, pull


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("VECSV_CACHE", str(folder))
    monkeypatch.delenv("VECSV_OFFLINE", raising=False)
    return folder


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pip that finds no packages anywhere."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def small_wheel(
    folder: Path, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, *, checkpoint: bytes = b""
) -> Path:
    """A wheel that the card is made to expect, with this checkpoint, so that only what is in it can be wrong."""
    path = folder / "small.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    card = find_card("ge2e")
    digests = [hashlib.sha256(content).hexdigest() for content in (path.read_bytes(), checkpoint)]
    expected = replace(card, source=replace(card.source, wheel_sha256=digests[0], member_sha256=digests[1]))
    monkeypatch.setattr(pulling, "find_card", lambda name: expected)
    return path


def test_a_model_is_fetched_with_pip_and_says_so_once(cache: Path) -> None:
    messages: list[str] = []
    try:
        folder = pull("ge2e", on_message=messages.append)
    except UnreachableModelError as error:
        pytest.skip(str(error))
    assert folder == cache / "models" / "ge2e"
    assert messages[0] == "fetching ge2e (16 MB) from PyPI package resemblyzer 0.1.4, once"
    again: list[str] = []
    assert pull("ge2e", on_message=again.append) == folder
    assert again == [f"ge2e is in the cache already: {folder}"]


def test_a_wheel_on_disk_gives_the_same_model_even_offline(
    ge2e_wheel: Path, ge2e_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECSV_OFFLINE", "1")
    bundle = verify_bundle(pull("ge2e", source=ge2e_wheel))
    assert bundle == verify_bundle(ge2e_folder)
    assert bundle.source["package"] == "resemblyzer"
    assert bundle.source["wheel_sha256"] == hashlib.sha256(ge2e_wheel.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", [BUNDLE_FILE, ONNX_FILE, TENSORS_FILE])
def test_a_damaged_model_in_the_cache_is_replaced(name: str, ge2e_wheel: Path) -> None:
    folder = pull("ge2e", source=ge2e_wheel)
    (folder / name).write_bytes(b"damaged")
    pull("ge2e", source=ge2e_wheel)
    assert verify_bundle(folder).name == "ge2e"


def test_a_model_of_an_older_card_is_replaced(ge2e_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pull("ge2e", source=ge2e_wheel)
    newer = replace(find_card("ge2e"), reference_calibration={"data": "a corpus"})
    monkeypatch.setattr(pulling, "find_card", lambda name: newer)
    pull("ge2e", source=ge2e_wheel)
    assert verify_bundle(folder).reference_calibration == {"data": "a corpus"}


def test_offline_without_a_cached_model_is_refused_with_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECSV_OFFLINE", "1")
    with pytest.raises(UnreachableModelError) as refusal:
        pull("ge2e")
    text = str(refusal.value)
    assert "not in the cache" in text
    assert "VECSV_OFFLINE" in text
    assert "`vecsv models pull ge2e`" in text
    assert "--from WHEEL" in text
    assert "resemblyzer 0.1.4" in text
    assert not is_bundle(cached_folder("ge2e"))


@pytest.mark.usefixtures("no_index")
def test_a_package_that_pip_cannot_find_is_one_line_with_pip_s_reason() -> None:
    with pytest.raises(UnreachableModelError) as refusal:
        pull("ge2e")
    text = str(refusal.value)
    assert "pip cannot fetch resemblyzer==0.1.4: No matching distribution found" in text
    assert "--from WHEEL" in text
    assert "\n" not in text
    assert not cached_folder("ge2e").exists()


def test_a_python_without_pip_is_refused_with_the_way_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnreachableModelError, match=r"this Python has no pip \(.*--from WHEEL"):
        pull("ge2e")


def test_another_wheel_is_refused_by_its_checksum_before_it_is_opened(tmp_path: Path) -> None:
    wheel = tmp_path / "resemblyzer-0.1.4-py3-none-any.whl"
    wheel.write_bytes(b"not even a zip file")
    with pytest.raises(ModelError, match="is not the wheel of resemblyzer") as refusal:
        pull("ge2e", source=wheel)
    assert str(wheel) in str(refusal.value)
    assert hashlib.sha256(wheel.read_bytes()).hexdigest() in str(refusal.value)
    assert not cached_folder("ge2e").exists()


def test_a_wheel_without_the_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = small_wheel(tmp_path, {"other.txt": b"x"}, monkeypatch)
    with pytest.raises(ModelError, match=r"small\.whl: holds no resemblyzer/pretrained\.pt"):
        pull("ge2e", source=wheel)


def test_a_checkpoint_with_another_checksum_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = small_wheel(tmp_path, {"resemblyzer/pretrained.pt": b"x"}, monkeypatch)
    with pytest.raises(ModelError, match=r"resemblyzer/pretrained\.pt has SHA-256"):
        pull("ge2e", source=wheel)


def test_a_checkpoint_that_is_none_leaves_the_cache_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = small_wheel(tmp_path, {"resemblyzer/pretrained.pt": b"x"}, monkeypatch, checkpoint=b"x")
    with pytest.raises(ModelError, match=r"resemblyzer/pretrained\.pt: not a PyTorch checkpoint"):
        pull("ge2e", source=wheel)
    assert not cached_folder("ge2e").exists()


def test_a_wheel_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.whl: cannot be read: No such file"):
        pull("ge2e", source=tmp_path / "none.whl")


def test_an_unknown_model_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(ModelError, match="known models: "):
        pull("ge3e")
