from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from vecsv.engines.protocol import EngineSettings
from vecsv.errors import AudioError, ModelError
from vecsv.health import behaviour, run
from vecsv.health.finding import Finding
from vecsv.models.protocol import Embedder


def test_the_default_model_passes_every_check(ge2e_folder: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    health = run.check(ge2e_folder, progress=lambda done, total, name: seen.append((done, total, name)))
    assert {finding.check: finding.measured for finding in health.findings if finding.outcome == "fail"} == {}
    assert health.passed
    assert (health.model, health.family) == ("ge2e", "ge2e")
    assert health.engine.startswith("onnxruntime")
    checks = [finding.check for finding in health.findings]
    assert len(checks) == len(set(checks))
    assert {"embeddings of the original", "batch invariance", "silence and noise refused", "speed"} < set(checks)
    assert [done for done, _, _ in seen] == list(range(len(checks)))
    assert json.loads(json.dumps(health.to_json()))["passed"] is True


def test_one_failure_is_enough_to_fail(ge2e_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(embedder: Embedder) -> Finding:
        raise AudioError("no-embedding", "the network gives no direction")

    monkeypatch.setattr(behaviour, "batch_invariance", refuse)
    health = run.check(ge2e_folder)
    failed = [finding for finding in health.findings if finding.outcome == "fail"]
    assert [(finding.check, finding.measured) for finding in failed] == [
        ("batch invariance", "the network gives no direction")
    ]
    assert not health.passed


def test_a_changed_file_is_an_error_before_anything_is_run(ge2e_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(ge2e_folder, folder)
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(ModelError, match="not the file that the bundle was made with"):
        run.check(folder)


def test_an_engine_that_is_not_installed_is_skipped_saying_so(
    ge2e_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vecsv.errors import MissingDependencyError
    from vecsv.models import registry

    load = registry.load

    def without_openvino(folder: Path, settings: EngineSettings) -> Embedder:
        if settings.engine == "openvino":
            raise MissingDependencyError("OpenVINO is not installed", hint="pip install 'vecsv[openvino]'")
        return load(folder, settings)

    monkeypatch.setattr(registry, "load", without_openvino)
    found = {finding.check: finding for finding in run.check(ge2e_folder).findings}
    assert (found["same on openvino"].outcome, found["same on openvino"].measured) == (
        "skipped",
        "OpenVINO is not installed",
    )
