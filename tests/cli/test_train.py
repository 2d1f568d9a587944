"""`vecsv train`, as a user calls it: a small network on made voices, then the other commands with it."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from tests.cli.conftest import Run
from vecsv.health.signals import RATE, speech_like

pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("onnxscript")

import torch

import vecsv.training.run
from vecsv.training.configuration import TrainingConfig, config_from, read_config
from vecsv.training.families.wavlm_settings import WavLMTraining
from vecsv.training.records import EpochRecord
from vecsv.training.settings import TrainResult, TrainSettings
from vecsv.training.specs import AugmentationSpec, CommonSpecs

SPEAKERS, UTTERANCES, SECONDS = 6, 4, 1.5

CONFIG = """
kind: training
family: ecapa-tdnn
front_end: {kind: log-mel, mels: 24}
network:
  channels: [16, 16, 32]
  kernels: [5, 3, 1]
  dilations: [1, 2, 1]
  scale: 2
  se_width: 8
  attention_width: 8
  dim: 16
data: {crop_s: 1.0, epoch_crops: 32, dev_speakers: 2}
augmentation:
  noise: {probability: 0.5}
  room: {probability: 0.5}
  spectrum: {}
loss: {warm_up: [0, 1]}
optimiser: {warm_up_steps: 2}
run: {epochs: 2, batch: 8}
"""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``train.tsv``, ``config.yaml``, ``noise`` and ``rooms``; read-only."""
    folder = tmp_path_factory.mktemp("corpus")
    lines = []
    for speaker in range(SPEAKERS):
        signal = speech_like(SECONDS * UTTERANCES, seed=speaker)
        for number, part in enumerate(np.array_split(signal, UTTERANCES)):
            path = folder / f"{speaker}-{number}.wav"
            soundfile.write(path, part, RATE, subtype="PCM_16")
            lines.append(f"{path.name}\tvoice {speaker}\n")
    (folder / "train.tsv").write_text("".join(lines))
    (folder / "config.yaml").write_text(CONFIG)
    for name, length in (("noise", 1.0), ("rooms", 0.1)):
        (folder / name).mkdir()
        times = np.arange(round(length * RATE)) / RATE
        signal = np.random.default_rng(1).standard_normal(times.size) * np.exp(-30 * times if name == "rooms" else 0)
        soundfile.write(folder / name / "a.wav", 0.1 * signal, RATE, subtype="PCM_16")
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of models of the test's own."""
    monkeypatch.setenv("VECSV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def words(corpus: Path, *more: object) -> list[object]:
    """`vecsv train ecapa` on the corpus."""
    sounds = ["--noise", corpus / "noise", "--rooms", corpus / "rooms"]
    config = ["--config", corpus / "config.yaml"]
    return ["train", "ecapa", "--manifest", corpus / "train.tsv", *config, *sounds, "--workers", 0, *more]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[TrainSettings]:
    """What the trainer is asked for, without any training."""
    settings: list[TrainSettings] = []

    def note(given: TrainSettings, **_: object) -> None:
        settings.append(given)

    monkeypatch.setattr(vecsv.training.run, "train", note)
    return settings


def test_the_help_shows_how_it_is_called(run: Run) -> None:
    shown = run("train", "--help").out
    assert "vecsv train ecapa --manifest" in " ".join(shown.split())
    for option in ("--manifest", "--dev", "--config", "--noise", "--rooms", "--start-from", "--resume", "--set"):
        assert option in shown


def test_a_trained_model_is_used_by_name(run: Run, corpus: Path, cache: Path, tmp_path: Path) -> None:
    folder, store = tmp_path / "run", tmp_path / "store"
    done = run(*words(corpus, "--out", folder, "--name", "ours", "--licence", "CC0-1.0", "--json"))
    assert done.code == 0, done.err
    found = done.json
    assert (found["name"], found["epochs"], found["run"]) == ("ours", 2, str(folder))
    # Two of the six speakers measure, and of each of the others' four recordings one is held out.
    assert (found["recordings"], found["speakers"], found["classes"]) == (12, 4, 4)
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert found["history"] == history
    assert [epoch["epoch"] for epoch in history] == [0, 1]
    assert found["dev_eer"] == min(epoch["dev_eer"] for epoch in history)

    listed = {one["name"]: one for one in run("models", "list", "--cached", "--json").json}
    assert listed["ours"]["licence"] == "CC0-1.0"
    embedded = run("embed", "--manifest", corpus / "train.tsv", "--model", "ours", "--store", store, "--json")
    assert embedded.json["embedded"] == SPEAKERS * UTTERANCES
    assert run("eval", "--store", store, "--all-pairs", "--json").json["model"] == "ours"


def test_the_table_says_what_came_of_it(run: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"learning_rate": 0.1, "margin": 0.2, "loader_wait_part": 0.0, "seconds": 1.0, "dev_min_dcf": 0.5}
    history = tuple(
        EpochRecord(epoch, epoch + 1, 1.0, 0.5, crops_per_second=100.0 + epoch, dev_eer=eer, **figures)
        for epoch, eer in enumerate((0.0234, 0.0123, 0.0345))
    )
    result = TrainResult(
        "ours",
        bundle=Path("cache/ours"),
        run=Path("runs/ours"),
        epochs=3,
        best_epoch=1,
        stopped_early=True,
        history=history,
        speakers=1200,
        classes=3600,
        recordings=34567,
        hours=12.345,
        bad=2,
        short=3,
        narrow=5,
        unreadable=4,
        parameters=640_000,
    )
    monkeypatch.setattr(vecsv.training.run, "train", lambda settings, **_: result)
    done = run(*words(corpus))
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "model                   ours, 0.64 million parameters",
        "learnt from             34,567 recordings of 1,200 speakers, 12.35 h",
        "classes                 3,600",
        "left out                6 unreadable, 3 too short",
        "narrow                  5 recordings of a lower sampling rate",
        "epochs                  3, of which number 1 is kept (from 0); ended early, for want of better ones",
        "EER on unseen speakers  1.23%",
        "minDCF p=0.01           0.5000",
        "held-out accuracy       -",
        "speed                   101 crops a second",
        "bundle                  cache/ours",
        "run                     runs/ours",
    ]


def test_a_run_is_not_written_over_unasked(run: Run, corpus: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.pt").write_bytes(b"somebody's")
    done = run(*words(corpus, "--out", tmp_path / "run"))
    assert (done.code, done.err.count("\n")) == (2, 2)
    assert "--resume goes on with it, --replace begins anew" in done.err
    assert (tmp_path / "run" / "state.pt").read_bytes() == b"somebody's"


@pytest.mark.parametrize(
    ("more", "out", "name"),
    [
        ([], "runs/config", "config"),
        (["--name", "ours"], "runs/ours", "ours"),
        (["--out", "elsewhere/first"], "elsewhere/first", "first"),
        (["--out", "elsewhere/first", "--name", "ours"], "elsewhere/first", "ours"),
    ],
)
def test_run_and_model_are_named_after_each_other(
    run: Run, corpus: Path, asked: list[TrainSettings], more: list[str], out: str, name: str
) -> None:
    done = run(*words(corpus, *more))
    # The trainer gave nothing, as in all processes but the first, so there is nothing to print.
    assert (done.code, done.out) == (0, "")
    assert (asked[0].out, asked[0].name) == (Path(out), name)


def test_the_usual_configuration_is_that_of_the_kind(run: Run, corpus: Path, asked: list[TrainSettings]) -> None:
    assert run("train", "ecapa", "--manifest", corpus / "train.tsv").code == 0
    assert (asked[0].name, asked[0].config) == ("ecapa-small", read_config(Path("train-ecapa-small")))


def test_options_go_over_the_configuration(run: Run, corpus: Path, asked: list[TrainSettings]) -> None:
    overrides = ["--set", "run.epochs=7", "--set", "augmentation.room=null", "--set", "data.crop_s=0.5"]
    assert run(*words(corpus, *overrides, "--epochs", 3, "--precision", "bf16", "--resume")).code == 0
    config = asked[0].config
    assert (config.run.epochs, config.run.precision, config.augmentation.room) == (3, "bf16", None)
    assert (config.data.crop_s, config.run.batch) == (0.5, 8)
    assert (asked[0].resume, asked[0].replace, asked[0].workers) == (True, False, 0)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["train", "resnet", "--manifest", "train.tsv"], "there is no training of 'resnet' (it is ecapa or wavlm)"),
        (["train", "ecapa", "--manifest", "absent.tsv"], "absent.tsv"),
        (["train", "ecapa", "--manifest", "train.tsv", "--config", "absent"], "absent: cannot be read"),
        (
            ["train", "wavlm", "--manifest", "train.tsv", "--config", "train-ecapa-small"],
            "ecapa-tdnn, not wavlm",
        ),
        (
            ["train", "ecapa", "--manifest", "train.tsv", "--set", "run.epoch=3"],
            "small: run: unknown: epoch",
        ),
        (["train", "ecapa", "--manifest", "train.tsv"], "--set augmentation.noise=null"),
        (["train", "ecapa", "--manifest", "train.tsv", "--precision", "fp8"], "precision is 'fp8'"),
    ],
)
def test_a_mistake_is_one_line(
    run: Run, corpus: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], wanted: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*[corpus / word if word == "train.tsv" else word for word in given])
    assert done.code == 2
    assert wanted in done.err.splitlines()[-1]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("package", ["torch", "accelerate", "onnxscript"])
def test_a_missing_package_is_one_line(run: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    done = run(*words(corpus))
    expected = f"vecsv: training needs {package}, which is not installed (pip install 'vecsv[train]')\n"
    assert (done.code, done.err) == (2, expected)


def documented(marker: str) -> Any:
    """The block of YAML in docs/training.md that has a line like this."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (block,) = (found for found in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if marker in found)
    return yaml.safe_load(block)


def test_the_documented_configuration_is_what_is_taken_when_nothing_is_said() -> None:
    config = config_from(documented("kind: training"), where="docs")
    every = (getattr(config.augmentation, one.name) for one in fields(AugmentationSpec))
    assert config.augmentation == AugmentationSpec(*(type(one)() for one in every))
    assert replace(config, augmentation=AugmentationSpec()) == TrainingConfig()


def test_every_key_is_documented() -> None:
    written = documented("kind: training")
    assert written.keys() == TrainingConfig().to_json().keys()
    for section in fields(CommonSpecs):
        if section.name != "augmentation":
            assert written[section.name].keys() == TrainingConfig().to_json()[section.name].keys()
    for effect, values in written["augmentation"].items():
        parsed = getattr(config_from(written, where="docs").augmentation, effect)
        assert values.keys() == {one.name for one in fields(parsed)}
    assert documented("frozen_layers")["network"] == asdict(WavLMTraining())
