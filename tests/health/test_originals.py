from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.models.variants import variant
from vecsv.engines.protocol import EngineSettings
from vecsv.frontend import known
from vecsv.frontend.spec import FrontendSpec, MelSpectrogramSpec
from vecsv.health import original_networks, originals
from vecsv.health.toolkits import SPECS
from vecsv.models import ge2e
from vecsv.models.bundle import read_bundle
from vecsv.models.protocol import Embedder


@pytest.mark.parametrize("toolkit", SPECS)
def test_the_front_end_of_every_toolkit_on_record_passes(toolkit: str) -> None:
    finding = originals.features(SPECS[toolkit])
    assert finding.outcome == "pass"
    assert finding.value is not None
    assert finding.value <= originals.FEATURE_LIMIT


@pytest.mark.parametrize(
    ("toolkit", "wrong"),
    [
        ("speechbrain", replace(known.SPEECHBRAIN, window="hann-periodic")),
        ("speechbrain", replace(known.SPEECHBRAIN, mel_scale="slaney")),
        ("wespeaker", replace(known.WESPEAKER, window="povey")),
        ("3d-speaker", replace(known.THREE_D_SPEAKER, preemphasis=0.95)),
    ],
)
def test_a_wrong_setting_is_far_from_the_toolkit(toolkit: str, wrong: FrontendSpec) -> None:
    assert originals.feature_difference(wrong, toolkit, "odd") > 10 * originals.FEATURE_LIMIT


def test_another_shape_is_infinitely_far() -> None:
    wrong = replace(known.WESPEAKER, mels=79)
    assert originals.feature_difference(wrong, "wespeaker", "odd") == float("inf")


def test_a_front_end_that_no_toolkit_has_is_skipped() -> None:
    finding = originals.features(MelSpectrogramSpec())
    assert (finding.outcome, "on record" in finding.measured) == ("skipped", True)


def test_the_published_weights_give_what_the_public_package_gave(ge2e_folder: Path) -> None:
    finding = originals.embeddings(read_bundle(ge2e_folder), ge2e.load(ge2e_folder), EngineSettings())
    assert finding.outcome == "pass"


def test_a_model_that_only_says_it_has_the_published_weights_fails(
    ge2e_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = read_bundle(ge2e_folder)
    impostor = variant(ge2e_folder, tmp_path / "m", frontend=replace(ge2e.FRONTEND, window="hamming-periodic"))
    monkeypatch.setattr(type(impostor), "fingerprint", published.fingerprint)
    assert originals.embeddings(published, impostor, EngineSettings()).outcome == "fail"


def test_other_weights_are_not_held_against_the_record(ge2e_folder: Path, tmp_path: Path) -> None:
    other = variant(ge2e_folder, tmp_path / "m", frontend=replace(ge2e.FRONTEND, trimming=None))
    finding = originals.embeddings(other.bundle, other, EngineSettings())
    assert (finding.outcome, finding.measured) == ("skipped", "these weights are not the published ones")


def test_an_exported_graph_has_no_original(ge2e_folder: Path) -> None:
    bundle = replace(read_bundle(ge2e_folder), family="onnx")
    finding = originals.embeddings(bundle, ge2e.load(ge2e_folder), EngineSettings())
    assert (finding.outcome, finding.measured) == ("skipped", "an exported graph is its own original")


CASES = [case for family in ("ecapa-tdnn", "wavlm-xvector") for case in original_networks.cases(family)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("engine", ["torch"])
def test_a_small_network_gives_what_the_original_gave(case: original_networks.Case, engine: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    assert originals.network_difference(case, EngineSettings(engine=engine)) < originals.EMBEDDING_LIMIT


def test_a_record_of_another_network_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    read: Callable[[str], dict[str, Any]] = originals.golden

    def other(name: str) -> dict[str, Any]:
        record = read(name)
        return {key: np.flip(value).tolist() if key.startswith("small/") else value for key, value in record.items()}

    monkeypatch.setattr(originals, "golden", other)
    (case, _) = original_networks.cases("ecapa-tdnn")
    assert originals.network_difference(case, EngineSettings(engine="torch")) > 100 * originals.EMBEDDING_LIMIT


def test_without_the_packages_it_needs_the_comparison_is_skipped(
    ge2e_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vecsv.errors import ModelError

    def missing(case: original_networks.Case, settings: EngineSettings) -> float:
        raise ModelError("needs PyTorch", hint="pip install 'vecsv[torch]'")

    monkeypatch.setattr(originals, "network_difference", missing)
    model: Embedder = ge2e.load(ge2e_folder)
    finding = originals.embeddings(replace(read_bundle(ge2e_folder), family="ecapa-tdnn"), model, EngineSettings())
    assert (finding.outcome, finding.measured) == ("skipped", "needs PyTorch")
