from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.models import hub_models
from vecsv.errors import ModelError
from vecsv.models import families
from vecsv.models.bundle import BUNDLE_FILE, read_bundle
from vecsv.models.conversion import as_bundle, write_conversion


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of the ONNX family."""
    (tmp_path / "model.onnx").write_bytes(hub_models.graph())
    conversion = families.convert("onnx", tmp_path / "model.onnx", preset="sherpa-wespeaker")
    described = as_bundle(conversion, name="tiny", description="for tests", licence="CC0-1.0", source={})
    return write_conversion(tmp_path / "tiny", conversion, described)


def test_a_graph_is_converted_loaded_and_run_by_what_runs_graphs(bundle: Path) -> None:
    assert families.load_bundle(bundle, "onnx").dim == 16
    assert families.engines(read_bundle(bundle)) == ("onnxruntime", "openvino")


def test_a_graph_has_no_pytorch_form(bundle: Path) -> None:
    with pytest.raises(ModelError, match="there is no PyTorch form of it"):
        families.torch_module(bundle)


def test_the_default_model_runs_on_every_engine(ge2e_folder: Path) -> None:
    assert families.engines(read_bundle(ge2e_folder)) == ("onnxruntime", "openvino", "torch")


@pytest.mark.parametrize(
    "ask",
    [
        lambda folder: families.load_bundle(folder, "telepathy"),
        lambda folder: families.convert("telepathy", folder),
        families.torch_module,
    ],
)
def test_an_unknown_family_is_refused(ask: Callable[[Path], object], bundle: Path) -> None:
    path = bundle / BUNDLE_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "family": "telepathy"}))
    with pytest.raises(ModelError, match="of the family telepathy, which this version of vecsv does not know"):
        ask(bundle)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(2, np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=r"x\.safetensors: is no ECAPA-TDNN of SpeechBrain or WeSpeaker"):
        families.convert("ecapa-tdnn", tmp_path / "x.safetensors")
