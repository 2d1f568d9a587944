from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vecsv.errors import ModelError
from vecsv.models import registry
from vecsv.models.bundle import BUNDLE_FILE
from vecsv.models.pull import UnreachableModelError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own, offline."""
    monkeypatch.setenv("VECSV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VECSV_OFFLINE", "1")
    return tmp_path / "cache"


def test_a_cached_model_is_loaded_by_name_even_offline(ge2e_folder: Path, cache: Path) -> None:
    shutil.copytree(ge2e_folder, cache / "models" / "ge2e")
    messages: list[str] = []
    model = registry.load("ge2e", on_message=messages.append)
    assert (model.name, model.dim, model.sample_rate) == ("ge2e", 256, 16000)
    assert messages == []


def test_a_folder_with_a_bundle_is_loaded_by_path(ge2e_folder: Path, cache: Path, tmp_path: Path) -> None:
    shutil.copytree(ge2e_folder, tmp_path / "mine")
    assert registry.load(tmp_path / "mine").name == "ge2e"
    assert registry.load(str(tmp_path / "mine")).name == "ge2e"


def test_a_model_that_is_not_cached_is_pulled_by_itself_and_says_so(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VECSV_OFFLINE")
    messages: list[str] = []
    assert not registry.installed("ge2e")
    try:
        model = registry.load("ge2e", on_message=messages.append)
    except UnreachableModelError as error:
        pytest.skip(str(error))
    assert model.name == "ge2e"
    assert registry.installed("ge2e")
    assert messages[0].startswith("fetching ge2e")


def test_offline_and_not_cached_is_an_error_that_says_what_to_run(cache: Path) -> None:
    with pytest.raises(ModelError, match="`vecsv models pull ge2e`"):
        registry.load("ge2e")


@pytest.mark.parametrize("name", ["ge3e", "../models/ge2e", "no/such/folder", ""])
def test_what_is_neither_a_model_nor_a_folder_is_refused_with_the_known_models(name: str, cache: Path) -> None:
    with pytest.raises(ModelError, match=r"known models: .*ge2e"):
        registry.load(name)


def test_a_folder_without_a_bundle_is_refused_saying_so(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no model \(no bundle\.json\)"):
        registry.load(tmp_path)


def test_a_bundle_of_an_unknown_family_is_refused(ge2e_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(ge2e_folder, tmp_path / "mine")
    path = tmp_path / "mine" / BUNDLE_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "family": "telepathy"}))
    with pytest.raises(ModelError, match="telepathy"):
        registry.load(tmp_path / "mine")


def test_a_name_wins_over_a_folder_called_the_same(
    ge2e_folder: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ge2e_folder, cache / "models" / "ge2e")
    (tmp_path / "here" / "ge2e").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert registry.locate("ge2e") == cache / "models" / "ge2e"
    with pytest.raises(ModelError, match=r"bundle\.json"):
        registry.locate("./ge2e")
