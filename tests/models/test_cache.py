from __future__ import annotations

from pathlib import Path
from threading import Event, Thread

import pytest

from vecsv.errors import ModelError
from vecsv.models import cache


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; where its models are."""
    monkeypatch.setenv("VECSV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


def put(models: Path, name: str, content: bytes = b"{}") -> Path:
    (models / name).mkdir(parents=True)
    (models / name / "bundle.json").write_bytes(content)
    return models / name


def test_models_in_the_cache_are_named_and_what_is_on_its_way_is_not(models: Path) -> None:
    assert cache.cached_names() == []
    for name in ("b", "a", ".a-0123"):
        put(models, name)
    (models / "no-model").mkdir()
    assert cache.cached_names() == ["a", "b"]


def test_a_removed_model_is_gone_and_its_size_is_told(models: Path) -> None:
    put(models, "mine", b"x" * 100)
    put(models, "other")
    assert cache.remove("mine") == 100
    assert cache.cached_names() == ["other"]
    assert sorted(path.name for path in models.iterdir()) == ["other"]


@pytest.mark.parametrize("name", ["mine", "../models/other", "", "."])
def test_what_is_not_there_is_not_removed(name: str, models: Path) -> None:
    put(models, "other")
    with pytest.raises(ModelError, match=r"is not in the cache \(there are: other\)"):
        cache.remove(name)
    assert cache.cached_names() == ["other"]


def test_a_damaged_model_can_be_removed(models: Path) -> None:
    put(models, "mine", b"no json")
    cache.remove("mine")
    assert cache.cached_names() == []


def test_a_second_writer_waits_for_the_first_and_says_so(models: Path) -> None:
    order: list[str] = []
    waits = Event()

    def told(message: str) -> None:
        order.append(message)
        waits.set()

    def second() -> None:
        with cache.alone("mine", told):
            order.append("second")

    with cache.alone("mine", told):
        thread = Thread(target=second)
        thread.start()
        assert waits.wait(60)
        order.append("first")
    thread.join()
    assert order == ["another process is fetching mine; waiting for it", "first", "second"]


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("VECSV_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"the cache cannot be written: .*VECSV_CACHE"), cache.alone("mine", print):
        pass


def test_an_empty_downloads_folder_goes_with_the_last_of_them(models: Path) -> None:
    first, second = (cache.downloads_folder("a/b", commit) for commit in ("0" * 40, "1" * 40))
    for folder in (first, second):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"")
    cache.drop_downloads(first)
    assert second.is_dir()
    assert not first.exists()
    cache.drop_downloads(second)
    assert not second.parent.parent.exists()
