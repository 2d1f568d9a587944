"""Running the command line in process, and a store made with the default model from synthetic voices."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.voices import make_once
from vecsv.api import Store
from vecsv.cli.app import main


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("verify", "a.wav", ...)` is `vecsv verify a.wav ...`."""

    def call(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["vecsv", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Outcome(int(stopped.value.code or 0), printed.out, printed.err)

    return call


@pytest.fixture(scope="session")
def built(voices: Path, ge2e_folder: Path) -> Path:
    """A store of all synthetic voices, indexed and calibrated; read-only."""

    def make(folder: Path) -> None:
        store = Store(folder)
        store.embed(voices / "train.tsv")
        store.build_index()
        store.calibrate()

    return make_once(voices.parent, "cli-store", make)


@pytest.fixture
def recordings(voices: Path) -> dict[str, list[Path]]:
    """Recordings of each synthetic speaker."""
    found: dict[str, list[Path]] = {}
    for line in (voices / "train.tsv").read_text(encoding="utf-8").splitlines():
        path, speaker = line.split("\t")
        found.setdefault(speaker, []).append(voices / path)
    return found
