from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from vecsv.health import behaviour
from vecsv.health.finding import Finding, failed
from vecsv.models.protocol import Embedder


def test_check_prints_a_table_and_ends_with_what_it_comes_to(run: Run, ge2e_folder: Path) -> None:
    done = run("models", "check", str(ge2e_folder))
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["check", "result", "measured"]
    assert lines[-1].endswith("all passed")
    assert any(line.startswith("batch invariance") and " pass " in line for line in lines)


def test_check_ends_with_1_when_something_fails_and_says_it_in_json(
    run: Run, ge2e_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(embedder: Embedder) -> Finding:
        return failed("voices told apart", "says the same of everybody")

    monkeypatch.setattr(behaviour, "not_collapsed", broken)
    done = run("models", "check", str(ge2e_folder), "--json")
    assert done.code == 1
    document = json.loads(done.out)
    assert set(document) == {"model", "family", "fingerprint", "engine", "findings", "passed"}
    assert document["passed"] is False
    assert set(document["findings"][0]) == {"check", "outcome", "measured", "value", "limit"}


def test_check_of_what_is_no_model_is_one_line_and_2(run: Run, tmp_path: Path) -> None:
    done = run("models", "check", str(tmp_path))
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "holds no model" in done.err


def test_export_of_the_default_model_says_why_not(run: Run, ge2e_folder: Path, tmp_path: Path) -> None:
    done = run("models", "export", str(ge2e_folder), "--onnx", str(tmp_path / "out.onnx"))
    assert done.code == 2
    assert "cuts out silences" in done.err
    assert not (tmp_path / "out.onnx").exists()


def test_export_writes_a_file_and_says_how_close_it_is(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from tests.models.ecapa_checkpoints import conversion
    from vecsv.models.conversion import as_bundle, write_conversion

    made = conversion("speechbrain", "small")
    bundle = as_bundle(made, name="small", description="", licence="Apache-2.0", source={})
    folder = write_conversion(tmp_path / "small", made, bundle)
    done = run("models", "export", str(folder), "--onnx", str(tmp_path / "out.onnx"), "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert set(document) == {"path", "megabytes", "cosine_distance", "compared", "against"}
    assert document["cosine_distance"] <= 1e-5
    assert (tmp_path / "out.onnx").stat().st_size == pytest.approx(document["megabytes"] * 1e6, rel=1e-3)
