from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.models.onnx_graphs import Exported


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VECSV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return Exported().write(tmp_path / "model.onnx")


def test_the_folder_goes_to_stdout_and_everything_else_to_stderr(run: Run, graph: Path, cache: Path) -> None:
    outcome = run("models", "add", graph, "--name", "mine", "--preset", "wespeaker")
    assert outcome.code == 0
    assert outcome.out == f"{cache / 'models' / 'mine'}\n"
    assert "vecsv: recognised an ONNX file\n" in outcome.err
    assert "vecsv: mine is ready: " in outcome.err


def test_json_has_stable_keys(run: Run, graph: Path, cache: Path) -> None:
    outcome = run("models", "add", graph, "--name", "mine", "--preset", "wespeaker", "--licence", "MIT", "--json")
    assert list(outcome.json) == ["name", "folder", "family", "dim", "fingerprint", "licence", "source"]
    assert outcome.json["licence"] == "MIT"
    described = json.loads((cache / "models" / "mine" / "bundle.json").read_text())
    assert outcome.json["fingerprint"] == described["fingerprint"]


def test_the_model_is_then_shown_by_its_name(run: Run, graph: Path) -> None:
    run("models", "add", graph, "--name", "mine", "--preset", "wespeaker", "--description", "our own")
    shown = run("models", "show", "mine", "--json")
    assert shown.code == 0
    assert shown.json["description"] == "our own"
    assert any(model["name"] == "mine" for model in run("models", "list", "--json").json)


def test_a_second_one_of_that_name_needs_replace(run: Run, graph: Path) -> None:
    words = ("models", "add", graph, "--name", "mine", "--preset", "wespeaker")
    assert run(*words).code == 0
    refused = run(*words)
    assert refused.code == 2
    assert refused.err == "vecsv: there is a model mine in the cache already (choose another name, or give --replace)\n"
    assert run(*words, "--replace").code == 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("absent.pt", "--name", "mine"), "absent.pt: there is no such file or folder"),
        (("model.onnx", "--name", "../mine"), "cannot be a model's name"),
        (("model.onnx", "--name", "ge2e"), "ge2e is the name of a model that vecsv knows"),
        (("model.onnx", "--name", "mine", "--preset", "absent"), "there is no preset 'absent'"),
        (("model.onnx", "--name", "mine", "--key", "model"), "leave --key out"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: tuple[str, ...], reason: str, run: Run, graph: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(graph.parent)
    outcome = run("models", "add", *words)
    assert outcome.code == 2
    assert outcome.out == ""
    assert reason in outcome.err.splitlines()[-1]
    assert sum(not line.startswith("vecsv: recognised") for line in outcome.err.splitlines()) == 1
    assert not (cache / "models" / "mine").exists()


def test_help_shows_examples(run: Run) -> None:
    outcome = run("models", "add", "--help")
    assert "vecsv models add" in outcome.out
    assert "--preset" in outcome.out


def test_of_a_trained_model_the_card_is_named_for_its_configuration(run: Run, graph: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from safetensors.numpy import load_file

    from vecsv.models.bundle import read_bundle, write_bundle

    added = Path(run("models", "add", graph, "--name", "mine", "--preset", "wespeaker").out.strip())
    source = {"kind": "training", "config": {"run": {"epochs": 3}}, "data": {"speakers": 8}}
    folder = write_bundle(
        tmp_path / "trained",
        replace(read_bundle(added), source=source),
        tensors=load_file(added / "model.safetensors"),
        graph=(added / "model.onnx").read_bytes(),
        card="# trained",
    )
    shown = run("models", "show", folder)
    assert shown.code == 0
    assert "data.speakers 8" in shown.out
    assert f"config in {folder / 'README.md'}" in shown.out
    assert "epochs" not in shown.out
    assert "README.md (0.0 MB)" in shown.out
    found = run("models", "show", folder, "--json").json
    assert found["source"] == source
    assert found["files"]["README.md"] == len("# trained")
