from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fetching import hub_server
from tests.fetching.hub_server import COMMIT, REPO, Hub, digest
from tests.models import hub_models
from vecsv.config import cache_dir
from vecsv.errors import ModelError
from vecsv.fetching.hub import Listing
from vecsv.fetching.sources import UnreachableModelError
from vecsv.models import registry
from vecsv.models.bundle import TENSORS_FILE, read_bundle, verify_bundle
from vecsv.models.cache import cached_names
from vecsv.models.hub_pull import choose_files, hub_name, pull_from_hub

GRAPH = hub_models.graph()
OTHER_GRAPH = hub_models.graph(seed=1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own, no variable of the person who runs the tests, and no proxy."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "VECSV_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VECSV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server.serving(Hub({"model.onnx": GRAPH, "README.md": b"A model."})) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A card of the ONNX model on the hub."""
    folder = tmp_path / "cards"
    hub_models.write_card(folder, "tiny", {"model.onnx": GRAPH}, family="onnx", preset="sherpa-wespeaker", dim=16)
    hub_models.use_cards(folder, monkeypatch)
    return "tiny"


def downloads() -> list[Path]:
    """Files on their way that a pull left."""
    return [path for path in (cache_dir() / "downloads").rglob("*") if path.is_file()]


class TestPinned:
    def test_a_pinned_model_becomes_a_bundle_that_says_where_it_is_from(self, hub: Hub, card: str) -> None:
        messages: list[str] = []
        folder = registry.pull(card, on_message=messages.append)
        bundle = verify_bundle(folder)
        assert (bundle.name, bundle.family, bundle.dim, bundle.licence) == ("tiny", "onnx", 16, "CC0-1.0")
        assert bundle.source == {
            "repo": REPO,
            "revision": COMMIT,
            "files": {"model.onnx": digest(GRAPH)},
            "mb": 1,
        }
        assert messages[0] == f"fetching tiny (1 MB) from {REPO} of {hub.url}, once"
        assert messages[-1] == f"tiny is ready: {folder}"
        assert downloads() == []

    def test_one_that_is_there_is_not_fetched_again_even_offline(
        self, hub: Hub, card: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = registry.pull(card)
        hub.asked.clear()
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        messages: list[str] = []
        assert registry.pull(card, on_message=messages.append) == folder
        assert messages == [f"tiny is in the cache already: {folder}"]
        assert not hub.asked

    def test_a_damaged_one_is_fetched_and_built_again(self, hub: Hub, card: str) -> None:
        folder = registry.pull(card)
        (folder / TENSORS_FILE).write_bytes(b"damaged")
        registry.pull(card)
        assert verify_bundle(folder).name == "tiny"

    @pytest.mark.parametrize("variable", ["VECSV_OFFLINE", "HF_HUB_OFFLINE"])
    def test_offline_no_connection_is_made(
        self, variable: str, hub: Hub, card: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(variable, "1")
        with pytest.raises(UnreachableModelError, match=f"{variable} forbids fetching it .*--from FOLDER.*model.onnx"):
            registry.pull(card)
        assert not hub.asked
        assert cached_names() == []

    def test_a_wrong_file_leaves_the_cache_as_it_was(self, hub: Hub, card: str) -> None:
        hub.files["model.onnx"] = OTHER_GRAPH
        with pytest.raises(ModelError, match="is not the file that was pinned"):
            registry.pull(card)
        assert cached_names() == []
        assert downloads() == []

    def test_a_card_that_promises_another_length_is_refused(self, hub: Hub, card: str, tmp_path: Path) -> None:
        hub_models.write_card(tmp_path / "cards", "tiny", {"model.onnx": GRAPH}, family="onnx", dim=17)
        with pytest.raises(ModelError, match="gives 16 numbers, but its card says 17"):
            registry.pull(card)
        assert cached_names() == []

    def test_what_was_fetched_but_could_not_be_built_is_not_fetched_again(
        self, hub: Hub, card: str, tmp_path: Path
    ) -> None:
        hub_models.write_card(tmp_path / "cards", "tiny", {"model.onnx": GRAPH}, family="telepathy", dim=16)
        with pytest.raises(ModelError, match="telepathy"):
            registry.pull(card)
        hub.asked.clear()
        hub_models.write_card(tmp_path / "cards", "tiny", {"model.onnx": GRAPH}, family="onnx", dim=16)
        registry.pull(card)
        assert not hub.asked

    @pytest.mark.parametrize("as_folder", [True, False])
    def test_a_copy_on_disk_gives_the_same_model_without_a_network(
        self, as_folder: bool, card: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VECSV_OFFLINE", "1")
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy" / "model.onnx").write_bytes(GRAPH)
        given = tmp_path / "copy" if as_folder else tmp_path / "copy" / "model.onnx"
        assert verify_bundle(registry.pull(card, source=given)).source["revision"] == COMMIT
        assert (tmp_path / "copy" / "model.onnx").read_bytes() == GRAPH

    def test_a_copy_that_is_not_the_pinned_file_is_refused_before_it_is_read(self, card: str, tmp_path: Path) -> None:
        (tmp_path / "model.onnx").write_bytes(b"no graph at all")
        with pytest.raises(ModelError, match=rf"model\.onnx: is not model\.onnx of {REPO}: its SHA-256 is"):
            registry.pull(card, source=tmp_path)
        with pytest.raises(ModelError, match="cannot be read: No such file"):
            registry.pull(card, source=tmp_path / "nowhere")

    def test_a_model_of_several_files_wants_their_folder(self, card: str, tmp_path: Path) -> None:
        files = {"config.json": b"{}", "model.safetensors": b"x"}
        hub_models.write_card(tmp_path / "cards", "tiny", files, family="wavlm-xvector", dim=16)
        (tmp_path / "model.safetensors").write_bytes(b"x")
        with pytest.raises(ModelError, match=r"tiny is 2 files: config\.json, model\.safetensors \(give the folder"):
            registry.pull(card, source=tmp_path / "model.safetensors")
        with pytest.raises(ModelError, match=r"config\.json: cannot be read: No such file"):
            registry.pull(card, source=tmp_path)

    def test_a_model_is_pulled_by_itself_when_it_is_asked_for_by_name(self, hub: Hub, card: str) -> None:
        assert registry.load(card).dim == 16


class TestFirstUse:
    def test_without_consent_it_is_refused_before_anything_is_asked(self, hub: Hub) -> None:
        with pytest.raises(ModelError, match=f"nobody has pinned {REPO}: .*on trust .*add --trust-first-use"):
            pull_from_hub(REPO)
        assert not hub.asked
        assert cached_names() == []

    def test_with_consent_commit_and_checksums_are_told_and_kept(self, hub: Hub) -> None:
        messages: list[str] = []
        folder = pull_from_hub(REPO, trust_first_use=True, licence="CC0-1.0", on_message=messages.append)
        assert f"fetching model.onnx of {REPO} at commit {COMMIT}, on trust" in messages
        assert f"pinned model.onnx: SHA-256 {digest(GRAPH)}" in messages
        bundle = verify_bundle(folder)
        assert (bundle.name, bundle.licence, bundle.dim) == ("voices", "CC0-1.0", 16)
        assert bundle.source == {"repo": REPO, "revision": COMMIT, "files": {"model.onnx": digest(GRAPH)}, "mb": 1}
        assert registry.load("voices").dim == 16
        assert downloads() == []

    def test_from_then_on_it_is_pinned_and_needs_no_consent(self, hub: Hub) -> None:
        folder = pull_from_hub(REPO, trust_first_use=True)
        hub.asked.clear()
        messages: list[str] = []
        assert pull_from_hub(REPO, on_message=messages.append) == folder
        assert messages == [f"voices is in the cache already, pinned to commit {COMMIT}: {folder}"]
        assert not hub.asked

    def test_a_damaged_one_is_made_again_from_the_very_same_files(self, hub: Hub) -> None:
        folder = pull_from_hub(REPO, trust_first_use=True, licence="CC0-1.0")
        (folder / TENSORS_FILE).write_bytes(b"damaged")
        pull_from_hub(REPO)
        assert verify_bundle(folder).licence == "CC0-1.0"

    def test_a_hub_that_has_changed_since_is_found_out(self, hub: Hub) -> None:
        folder = pull_from_hub(REPO, trust_first_use=True)
        (folder / TENSORS_FILE).write_bytes(b"damaged")
        hub.files["model.onnx"] = OTHER_GRAPH
        with pytest.raises(ModelError, match="is not the file that was pinned"):
            pull_from_hub(REPO, trust_first_use=True)

    def test_another_revision_needs_consent_again(self, hub: Hub) -> None:
        pull_from_hub(REPO, trust_first_use=True)
        with pytest.raises(ModelError, match=f"nobody has pinned {REPO} at main"):
            pull_from_hub(REPO, revision="main")

    def test_the_name_of_a_known_model_is_not_taken(self, hub: Hub, card: str) -> None:
        with pytest.raises(ModelError, match="vecsv has a pinned model called tiny"):
            pull_from_hub(REPO, name=card, trust_first_use=True)

    def test_the_name_of_another_model_in_the_cache_is_not_taken(self, hub: Hub, card: str, tmp_path: Path) -> None:
        registry.pull(card).rename(cache_dir() / "models" / "mine")
        (tmp_path / "cards" / "tiny.yaml").unlink()
        assert pull_from_hub(REPO, name="mine") == cache_dir() / "models" / "mine"
        with pytest.raises(ModelError, match="another model called mine in the cache"):
            pull_from_hub("someone/else", name="mine", trust_first_use=True)

    def test_a_name_that_is_none_is_refused(self, hub: Hub) -> None:
        with pytest.raises(ModelError, match="cannot be a model's name"):
            pull_from_hub(REPO, name="../mine", trust_first_use=True)
        assert hub_name("Someone/Voices-LM") == "voices-lm"

    def test_what_is_no_model_leaves_nothing_in_the_cache(self, hub: Hub) -> None:
        hub.files = {"model.onnx": b"no graph"}
        with pytest.raises(ModelError, match=r"model\.onnx"):
            pull_from_hub(REPO, trust_first_use=True)
        assert cached_names() == []

    @pytest.mark.parametrize("variable", ["VECSV_OFFLINE", "HF_HUB_OFFLINE"])
    def test_offline_no_connection_is_made(self, variable: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(variable, "1")
        with pytest.raises(UnreachableModelError, match=variable):
            pull_from_hub(REPO, trust_first_use=True)
        assert not hub.asked


class TestChoosingFiles:
    @pytest.mark.parametrize(
        ("there", "chosen"),
        [
            (["README.md", "hyperparams.yaml", "embedding_model.ckpt", "classifier.ckpt"], ["embedding_model.ckpt"]),
            (["avg_model.pt", "config.yaml"], ["avg_model.pt"]),
            (["onnx/model.onnx", "README.md"], ["onnx/model.onnx"]),
            (
                ["pytorch_model.bin", "model.safetensors", "config.json", "preprocessor_config.json"],
                ["config.json", "preprocessor_config.json", "model.safetensors"],
            ),
        ],
    )
    def test_repositories_of_speaker_models_are_recognised(self, there: list[str], chosen: list[str]) -> None:
        assert choose_files(Listing(REPO, COMMIT, dict.fromkeys(there))) == chosen

    def test_a_person_may_choose(self) -> None:
        listing = Listing(REPO, COMMIT, {"a.onnx": 1, "b.onnx": 1})
        assert choose_files(listing, ["b.onnx"]) == ["b.onnx"]
        with pytest.raises(ModelError, match=r"has no c\.onnx \(it has: a\.onnx, b\.onnx\)"):
            choose_files(listing, ["c.onnx"])

    @pytest.mark.parametrize("there", [["a.onnx", "b.onnx"], ["README.md"]])
    def test_where_nothing_or_too_much_fits_a_person_has_to(self, there: list[str]) -> None:
        with pytest.raises(ModelError, match=rf"which file of {REPO} is the model\? \(name it with --file; it has"):
            choose_files(Listing(REPO, COMMIT, dict.fromkeys(there)))


def start_pulling(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vecsv", "models", "pull", f"hub:{REPO}", "--trust-first-use", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)


class TestProcesses:
    def test_two_at_once_fetch_once_and_both_have_it(self, hub: Hub) -> None:
        hub.faults = [hub_server.dripping(10, 0.1)]
        processes = [start_pulling(), start_pulling()]
        finished = [process.communicate(timeout=120) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], finished
        assert len(hub.of_cdn()) == 1
        assert any("another process is fetching voices" in err or "in the cache already" in err for _, err in finished)
        verify_bundle(cache_dir() / "models" / "voices")

    def test_one_killed_on_the_way_is_continued_and_leaves_no_model(self, hub: Hub) -> None:
        hub.faults = [hub_server.dripping(40, 0.5)]
        process = start_pulling()
        part = cache_dir() / "downloads" / REPO.replace("/", "--") / COMMIT / "model.onnx.part"
        deadline = time.monotonic() + 60
        while not (part.is_file() and part.stat().st_size):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert cached_names() == []
        hub.asked.clear()
        pull_from_hub(REPO, trust_first_use=True)
        (asked,) = hub.of_cdn()
        assert re.fullmatch(r"bytes=[1-9]\d*-", asked.headers["Range"])
        assert read_bundle(cache_dir() / "models" / "voices").source["files"] == {"model.onnx": digest(GRAPH)}
