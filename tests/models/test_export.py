from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    import torch
else:
    torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from tests.models.ecapa_checkpoints import conversion
from vecsv.engines.protocol import EngineSettings
from vecsv.errors import ModelError
from vecsv.health.behaviour import distances
from vecsv.health.original_networks import cases
from vecsv.health.signals import speech_like
from vecsv.models import export, registry
from vecsv.models.conversion import as_bundle, write_conversion

torch.set_num_threads(1)

FAMILIES: dict[str, Callable[[Path], Any]] = {
    "SpeechBrain": lambda scratch: conversion("speechbrain", "small"),
    "WeSpeaker": lambda scratch: conversion("wespeaker", "small"),
    "transformers": lambda scratch: cases("wavlm-xvector")[0].convert(scratch),
}


@pytest.fixture(scope="module", params=FAMILIES)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    made = FAMILIES[request.param](folder / "scratch")
    described = as_bundle(made, name="small", description="a small one", licence="Apache-2.0", source={})
    return write_conversion(folder / "small", made, described)


def test_the_exported_graph_takes_waves_of_any_length_and_number_and_gives_the_model_s_vectors(
    bundle: Path, tmp_path: Path
) -> None:
    import onnxruntime

    exported = export.export_onnx(bundle, tmp_path / "out.onnx", speech_like)
    assert exported.cosine_distance <= export.TOLERANCE
    assert exported.compared == sum(export._BATCHES) * len(export._LENGTHS_S)
    session = onnxruntime.InferenceSession(str(tmp_path / "out.onnx"), providers=["CPUExecutionProvider"])
    model = registry.load(bundle, EngineSettings(engine="onnxruntime"))
    for seconds, size in ((0.9, 2), (5.43, 1), (12.0, 3)):
        waves = np.stack([speech_like(seconds, 900 + item) for item in range(size)])
        (found,) = session.run(["embeddings"], {"wave": waves})
        expected = model.embed([model.prepare(wave) for wave in waves])
        assert distances(found, expected).max() < 1e-5
    facts = session.get_modelmeta().custom_metadata_map
    assert (facts["fingerprint"], facts["sample_rate"]) == (model.fingerprint, "16000")


def test_a_graph_that_is_not_the_model_s_is_not_written(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = export._whole

    class Backwards(torch.nn.Module):
        def forward(self, wave: torch.Tensor) -> torch.Tensor:
            return torch.flip(wave, [1])

    def other(described: Any, network: Any) -> Any:
        return torch.nn.Sequential(Backwards(), whole(described, network)).eval()

    monkeypatch.setattr(export, "_whole", other)
    with pytest.raises(ModelError, match=r"gives other embeddings than small: cosine distance .*; nothing was written"):
        export.export_onnx(bundle, tmp_path / "out.onnx", speech_like)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cuts_silences_out_is_refused_saying_why(ge2e_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="ge2e cannot be exported with its front end: it cuts out silences"):
        export.export_onnx(ge2e_folder, tmp_path / "out.onnx", speech_like)
