from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fetching import hub_server
from tests.fetching.hub_server import COMMIT, REPO, Hub, Request, digest
from vecsv.config import cache_dir
from vecsv.errors import ModelError
from vecsv.fetching.sources import UnreachableModelError
from vecsv.models.cache import cached_names
from vecsv.models.pretrained import PIN_FILE, fetch_pretrained, pin_of

FILES = {
    "config.json": b"{}",
    "preprocessor_config.json": b"{ }",
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"the same weights",
    "README.md": b"A model.",
}
WANTED = ["config.json", "preprocessor_config.json", "model.safetensors"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of the test's own, no variable of the person who runs the tests, and no proxy."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "VECSV_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VECSV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server.serving(Hub(dict(FILES))) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def test_without_consent_it_is_refused_before_anything_is_asked(hub: Hub) -> None:
    with pytest.raises(ModelError, match=rf"nobody has pinned {REPO} at main.*network\.trust_first_use: true"):
        fetch_pretrained(REPO)
    assert not hub.asked


def test_with_consent_commit_and_checksums_are_told_and_kept(hub: Hub) -> None:
    said: list[str] = []
    folder = fetch_pretrained(REPO, trust_first_use=True, on_message=said.append)
    assert folder.is_relative_to(cache_dir())
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != PIN_FILE} == {
        name: FILES[name] for name in WANTED
    }
    assert said[0] == f"fetching {', '.join(WANTED)} of {REPO} at commit {COMMIT}, on trust"
    assert said[1:] == [f"pinned {name}: SHA-256 {digest(FILES[name])}" for name in WANTED]
    pin = pin_of(folder)
    assert pin is not None
    assert (pin.repo, pin.revision) == (REPO, COMMIT)
    assert pin.files == {name: digest(FILES[name]) for name in WANTED}
    # It is no speaker model.
    assert cached_names() == []


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_from_then_on_it_needs_neither_consent_nor_the_hub(
    revision: str | None, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetch_pretrained(REPO, trust_first_use=True)
    hub.asked.clear()
    monkeypatch.setenv("VECSV_OFFLINE", "1")
    said: list[str] = []
    assert fetch_pretrained(REPO, revision=revision, on_message=said.append) == folder
    assert said == [f"{REPO} is pinned to commit {COMMIT}: {folder}"]
    assert not hub.asked


def test_another_revision_needs_consent_again(hub: Hub) -> None:
    fetch_pretrained(REPO, trust_first_use=True)
    with pytest.raises(ModelError, match=f"nobody has pinned {REPO} at v2"):
        fetch_pretrained(REPO, revision="v2")


def test_a_damaged_or_lost_file_is_fetched_again_and_has_to_be_the_same(hub: Hub) -> None:
    folder = fetch_pretrained(REPO, trust_first_use=True)
    (folder / "model.safetensors").write_bytes(b"damaged")
    (folder / "config.json").unlink()
    fetch_pretrained(REPO)
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    (folder / "model.safetensors").unlink()
    hub.files["model.safetensors"] = b"others!"
    with pytest.raises(ModelError, match="is not the file that was pinned"):
        fetch_pretrained(REPO)


def test_offline_no_connection_is_made(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fetch_pretrained(REPO, trust_first_use=True)
    (folder / "config.json").unlink()
    hub.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for repo in (REPO, "someone/else"):
        with pytest.raises(UnreachableModelError, match="HF_HUB_OFFLINE"):
            fetch_pretrained(repo, trust_first_use=True)
    assert not hub.asked


def test_a_download_that_failed_pins_nothing_and_what_came_is_not_fetched_again(hub: Hub) -> None:
    def whole(request: Request, content: bytes) -> None:
        request.give(content)

    hub.faults = [whole, whole, hub_server.status(403)]
    with pytest.raises(UnreachableModelError):
        fetch_pretrained(REPO, trust_first_use=True)
    with pytest.raises(ModelError, match="nobody has pinned"):
        fetch_pretrained(REPO)
    hub.asked.clear()
    folder = fetch_pretrained(REPO, trust_first_use=True)
    assert {Path(asked.path).name for asked in hub.contents()} == {"model.safetensors"}
    assert (folder / "config.json").read_bytes() == FILES["config.json"]


def test_a_damaged_pin_is_said_to_be_one(hub: Hub) -> None:
    folder = fetch_pretrained(REPO, trust_first_use=True)
    (folder / PIN_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"pinned\.json: cannot be read as JSON"):
        fetch_pretrained(REPO)


def test_what_is_no_repository_or_holds_no_model_is_refused(hub: Hub) -> None:
    with pytest.raises(ModelError, match="is no repository of the hub"):
        fetch_pretrained("wavlm", trust_first_use=True)
    hub.files = {"README.md": b"nothing else"}
    with pytest.raises(ModelError, match=f"which file of {REPO} is the model"):
        fetch_pretrained(REPO, trust_first_use=True)


def test_a_folder_that_was_not_fetched_has_no_pin(tmp_path: Path) -> None:
    assert pin_of(tmp_path) is None
    (tmp_path / PIN_FILE).write_text(json.dumps({"repo": "a/b"}), encoding="utf-8")
    assert pin_of(tmp_path) is None
