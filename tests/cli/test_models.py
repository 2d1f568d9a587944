"""`vecsv models` on a command line, with a hub on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile

from tests.cli.conftest import Run
from tests.fetching import hub_server
from tests.fetching.hub_server import COMMIT, REPO, Hub, digest
from tests.models import hub_models
from vecsv.health.signals import RATE, speech_like

GRAPH = hub_models.graph()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own, no variable of the person who runs the tests, and no proxy."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "VECSV_OFFLINE", "VECSV_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VECSV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server.serving(Hub({"model.onnx": GRAPH})) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def two_voices(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.wav" for number in (1, 2)]
    for number, path in enumerate(paths):
        soundfile.write(path, speech_like(3.0, seed=number), RATE)
    return paths


def known(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, files: dict[str, bytes], **card: object) -> None:
    hub_models.write_card(folder, name, files, **card)
    hub_models.use_cards(folder, monkeypatch)


def speechbrain(scratch: Path) -> dict[str, bytes]:
    pytest.importorskip("onnxscript")
    return {"embedding_model.ckpt": hub_models.speechbrain()}


def wavlm(scratch: Path) -> dict[str, bytes]:
    pytest.importorskip("transformers")
    return hub_models.wavlm(scratch)


class TestPull:
    def test_an_onnx_model_is_pulled_and_verifies_two_voices(
        self, run: Run, hub: Hub, two_voices: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known(tmp_path / "cards", monkeypatch, "tiny", hub.files, family="onnx", dim=16)
        pulled = run("models", "pull", "tiny")
        assert (pulled.code, pulled.out.strip()) == (0, str(tmp_path / "cache" / "models" / "tiny"))
        again = run("models", "pull", "tiny", "--json").json
        assert (again["name"], again["dim"], again["folder"]) == ("tiny", 16, pulled.out.strip())
        verified = run("verify", *two_voices, "--model", "tiny", "--json")
        assert verified.code == 3
        assert -1.0 <= verified.json["score"] < 0.9999
        assert verified.json["model"] == "tiny"

    @pytest.mark.parametrize(("family", "dim", "make"), [("ecapa-tdnn", 48, speechbrain), ("wavlm-xvector", 16, wavlm)])
    def test_a_model_of_each_toolkit_is_pulled_and_verifies_two_voices(
        self,
        family: str,
        dim: int,
        make: Callable[[Path], dict[str, bytes]],
        run: Run,
        hub: Hub,
        two_voices: list[Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        pytest.importorskip("torch")
        hub.files = make(tmp_path)
        known(tmp_path / "cards", monkeypatch, "theirs", hub.files, family=family, dim=dim)
        assert run("models", "pull", "theirs").code == 0
        monkeypatch.setenv("VECSV_OFFLINE", "1")
        verified = run("verify", *two_voices, "--model", "theirs", "--json")
        assert verified.code == 3
        assert -1.0 <= verified.json["score"] < 0.9999
        shown = run("models", "show", "theirs", "--json").json
        assert (shown["family"], shown["dim"]) == (family, dim)
        assert shown["source"]["revision"] == COMMIT
        assert "torch" in shown["engines"]

    def test_any_model_of_the_hub_is_taken_once_a_person_consents(
        self, run: Run, hub: Hub, two_voices: list[Path]
    ) -> None:
        refused = run("models", "pull", f"hub:{REPO}")
        assert refused.code == 2
        assert "--trust-first-use" in refused.err
        pulled = run("models", "pull", f"hub:{REPO}", "--revision", "main", "--trust-first-use", "--name", "mine")
        assert pulled.code == 0
        assert COMMIT in pulled.err
        assert digest(GRAPH) in pulled.err
        assert run("verify", *two_voices, "--model", "mine").code == 3

    def test_what_goes_with_the_hub_only_is_refused_elsewhere(self, run: Run) -> None:
        outcome = run("models", "pull", "ge2e", "--revision", "main")
        assert outcome.code == 2
        assert "--revision goes with hub:OWNER/REPO only" in outcome.err
        assert "--from goes with" in run("models", "pull", f"hub:{REPO}", "--from", "x.onnx").err

    @pytest.mark.parametrize(
        ("name", "complaint"),
        [("hub:", "is no repository"), ("hub:voices", "is no repository"), ("nobody", "there is no model")],
    )
    def test_what_is_no_model_is_one_line(self, name: str, complaint: str, run: Run) -> None:
        outcome = run("models", "pull", name, *(["--trust-first-use"] if name.startswith("hub:") else []))
        assert outcome.code == 2
        assert complaint in outcome.err
        assert outcome.err.count("\n") == 1

    def test_a_refusal_of_the_hub_is_one_line(self, run: Run, hub: Hub) -> None:
        hub.gated = True
        outcome = run("models", "pull", f"hub:{REPO}", "--trust-first-use")
        assert outcome.code == 2
        assert "set HF_TOKEN" in outcome.err
        assert outcome.err.count("\n") == 1


class TestList:
    def test_models_that_can_be_fetched_and_those_in_the_cache_are_listed(
        self, run: Run, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        known(tmp_path / "cards", monkeypatch, "tiny", hub.files, family="onnx", dim=16)
        run("models", "pull", f"hub:{REPO}", "--trust-first-use", "--name", "mine")
        (broken := tmp_path / "cache" / "models" / "broken").mkdir()
        (broken / "bundle.json").write_text("no json")
        models = {model["name"]: model for model in run("models", "list", "--json").json}
        assert list(models) == ["broken", "mine", "tiny"]
        assert (models["mine"]["origin"], models["mine"]["state"], models["mine"]["dim"]) == ("hub", "cached", 16)
        assert models["mine"]["size_bytes"] > len(GRAPH)
        assert (models["tiny"]["state"], models["tiny"]["installed"]) == ("not cached", False)
        assert models["tiny"]["download_mb"] == 1
        assert models["broken"]["state"] == "damaged"
        assert [model["name"] for model in run("models", "list", "--cached", "--json").json] == ["broken", "mine"]
        assert "damaged" in run("models", "list").out

    def test_every_model_that_vecsv_knows_is_listed_with_its_licence(self, run: Run) -> None:
        models = {model["name"]: model for model in run("models", "list", "--json").json}
        assert {"ge2e", "ecapa-speechbrain", "wavlm-base-plus-sv"} <= models.keys()
        assert all(model["licence"] and model["dim"] and model["download_mb"] for model in models.values())
        assert models["ge2e"]["eer"] == pytest.approx(0.05, abs=0.03)


class TestShow:
    def test_network_front_end_engines_files_and_source_are_shown(self, run: Run, hub: Hub) -> None:
        run("models", "pull", f"hub:{REPO}", "--trust-first-use")
        shown = run("models", "show", "voices").out
        for expected in ("kaldi-fbank", "layout", "onnxruntime, openvino", "model.onnx (", REPO, digest(GRAPH)):
            assert expected in shown
        described = run("models", "show", "voices", "--json").json
        assert described["engines"] == ["onnxruntime", "openvino"]
        assert set(described["files"]) == {"bundle.json", "model.onnx", "model.safetensors"}

    def test_a_changed_file_is_found_out(self, run: Run, hub: Hub, cache: Path) -> None:
        run("models", "pull", f"hub:{REPO}", "--trust-first-use")
        (cache / "models" / "voices" / "model.onnx").write_bytes(GRAPH + b"x")
        outcome = run("models", "show", "voices")
        assert outcome.code == 2
        assert "is not the file that the bundle was made with" in outcome.err


class TestRemove:
    def test_a_model_goes_only_when_it_is_confirmed(self, run: Run, hub: Hub, cache: Path) -> None:
        run("models", "pull", f"hub:{REPO}", "--trust-first-use")
        refused = run("models", "remove", "voices")
        assert refused.code == 2
        assert "--yes" in refused.err
        assert (cache / "models" / "voices").is_dir()
        removed = run("models", "remove", "voices", "--yes", "--json").json
        assert removed["removed"] == "voices"
        assert removed["freed_bytes"] > len(GRAPH)
        assert not (cache / "models" / "voices").exists()

    def test_one_that_is_not_there_is_an_error(self, run: Run) -> None:
        outcome = run("models", "remove", "voices", "--yes")
        assert outcome.code == 2
        assert "is not in the cache (there are: no models at all)" in outcome.err


def test_presets_are_listed_with_the_front_end_they_stand_for(run: Run) -> None:
    document = run("models", "presets", "--json").json
    found = {preset["name"]: preset for preset in document}
    assert {"wespeaker", "3d-speaker", "nemo-titanet", "redimnet"} <= set(found)
    assert found["3d-speaker"]["frontend"]["window"] == "povey"
    shown = run("models", "presets").out.splitlines()
    assert shown[0].split() == ["preset", "for", "what"]
    assert len(shown) == 1 + len(found)


@pytest.mark.parametrize("command", ["list", "pull", "add", "show", "check", "export", "quantize", "remove"])
def test_every_command_has_help_with_an_example(command: str, run: Run) -> None:
    outcome = run("models", command, "--help")
    assert outcome.code == 0
    assert f"vecsv models {command}" in outcome.out
