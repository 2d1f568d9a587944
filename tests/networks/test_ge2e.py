from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vecsv.engines.protocol import EngineSettings
from vecsv.errors import ModelError
from vecsv.health.signals import speech_like, uniform
from vecsv.models import ge2e
from vecsv.models.bundle import TENSORS_FILE
from vecsv.models.ge2e_conversion import expected_shapes, onnx_network

torch = pytest.importorskip("torch")

from vecsv.networks.ge2e import Ge2eNetwork  # noqa: E402 - after the check that PyTorch is there


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def tensors() -> dict[str, np.ndarray]:
    return {
        name: uniform(shape, place, -0.1, 0.1).astype(np.float32)
        for place, (name, shape) in enumerate(expected_shapes().items())
    }


def test_it_gives_what_the_graph_gives() -> None:
    import onnxruntime

    windows = uniform((3, 160, 40), 1, 0.0, 3.0).astype(np.float32)
    session = onnxruntime.InferenceSession(onnx_network(tensors()), providers=["CPUExecutionProvider"])
    network = Ge2eNetwork.of({name: torch.from_numpy(tensor) for name, tensor in tensors().items()})
    with torch.inference_mode():
        rows = network(torch.from_numpy(windows)).numpy()
    (expected,) = session.run([ge2e.OUTPUT], {ge2e.INPUT: windows})
    assert expected.any()
    np.testing.assert_allclose(rows, expected, atol=2e-6)


def test_its_tensors_are_those_of_the_checkpoint() -> None:
    assert {name: tuple(tensor.shape) for name, tensor in Ge2eNetwork().state_dict().items()} == expected_shapes()


def test_other_tensors_are_refused() -> None:
    with pytest.raises(ModelError, match=r"tensors do not fit.*linear.bias"):
        Ge2eNetwork.of({name: torch.from_numpy(one) for name, one in tensors().items() if name != "linear.bias"})


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_the_default_model_is_the_same_on_every_engine(engine: str, ge2e_folder: Path) -> None:
    pytest.importorskip(engine)
    one, other = (ge2e.load(ge2e_folder, EngineSettings(name)) for name in ("onnxruntime", engine))
    assert other.engine.startswith(f"{engine} ")
    prepared = [one.prepare(speech_like(seconds, seed=3)) for seconds in (5.0, 2.0)]
    np.testing.assert_allclose(other.embed(prepared), one.embed(prepared), atol=1e-5)


def test_a_bundle_with_damaged_tensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / TENSORS_FILE).write_bytes(b"no tensors")
    with pytest.raises(ModelError, match=r"model\.safetensors: cannot be used: .*pull the model again"):
        ge2e.torch_module(tmp_path)
