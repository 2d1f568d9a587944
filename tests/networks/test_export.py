from __future__ import annotations

import functools
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest

from vecsv.errors import ModelError
from vecsv.health.signals import drawn, uniform
from vecsv.networks.ecapa_spec import SPEECHBRAIN, WESPEAKER_512_GLOBAL, EcapaSpec, tensor_shapes

if TYPE_CHECKING:
    import torch
else:
    torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from vecsv.networks.ecapa_tdnn import EcapaTdnn
from vecsv.networks.export import onnx_graph

SMALL = {
    "channels": (32, 32, 48),
    "kernels": (5, 3, 1),
    "dilations": (1, 4, 1),
    "scale": 4,
    "se_width": 8,
    "attention_width": 12,
    "dim": 24,
}
DESIGNS = {"reflect": replace(SPEECHBRAIN, **SMALL), "zero": replace(WESPEAKER_512_GLOBAL, **SMALL)}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def network(spec: EcapaSpec) -> EcapaTdnn:
    return EcapaTdnn.of(spec, {name: torch.tensor(tensor) for name, tensor in drawn(tensor_shapes(spec)).items()})


@functools.cache
def ecapa_graph(design: str) -> bytes:
    return exported(network(DESIGNS[design]), torch.zeros(2, 50, 80), batch=0, frames=1)


def dense() -> torch.nn.Linear:
    layer = torch.nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(uniform((2, 4), 1, -1.0, 1.0)))
        layer.bias.copy_(torch.tensor(uniform(2, 2, -1.0, 1.0)))
    return layer


@functools.cache
def dense_graph() -> bytes:
    return exported(dense(), torch.zeros(2, 4), batch=0)


def exported(module: torch.nn.Module, example: torch.Tensor, **dynamic: int) -> bytes:
    axes = {axis: name for name, axis in dynamic.items()}
    return onnx_graph(module, example, input_name="features", output_name="embedding", dynamic=axes)


def session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("design", DESIGNS)
def test_the_graph_gives_what_torch_gives_for_any_batch_and_length(design: str) -> None:
    spec = DESIGNS[design]
    subject, graph = network(spec), session(ecapa_graph(design))
    # From the shortest it takes, over 0.3 s, to 60 s.
    for batch, frames in [(1, spec.min_frames), (3, 31), (1, 50), (2, 299), (1, 6001)]:
        features = uniform((batch, frames, 80), frames, -30.0, 30.0).astype(np.float32)
        (ours,) = graph.run(None, {"features": features})
        with torch.inference_mode():
            theirs = subject(torch.from_numpy(features)).numpy()
        cosines = np.sum(ours * theirs, axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
        assert ours.shape == (batch, 24)
        assert (1.0 - cosines).max() < 1e-5
        assert np.linalg.norm(ours - theirs) < 1e-5 * np.linalg.norm(theirs)


def test_the_graph_of_another_padding_gives_something_else() -> None:
    spec, graph = DESIGNS["reflect"], session(ecapa_graph("reflect"))
    features = uniform((1, 60, 80), 3, -30.0, 30.0).astype(np.float32)
    (ours,) = graph.run(None, {"features": features})
    with torch.inference_mode():
        other = network(replace(spec, padding="zero"))(torch.from_numpy(features)).numpy()
    assert np.linalg.norm(ours - other) > 1e-3 * np.linalg.norm(other)


def test_the_same_module_gives_the_same_bytes() -> None:
    assert dense_graph() == exported(dense(), torch.ones(3, 4), batch=0)


def test_another_weight_gives_other_bytes() -> None:
    other = dense()
    with torch.no_grad():
        other.weight[0, 0] += 1e-6
    assert dense_graph() != exported(other, torch.zeros(2, 4), batch=0)


def test_inputs_outputs_and_free_axes_have_the_names_asked_for() -> None:
    graph = session(ecapa_graph("zero"))
    (entry,), (result,) = graph.get_inputs(), graph.get_outputs()
    assert (entry.name, entry.shape) == ("features", ["batch", "frames", 80])
    assert (result.name, result.shape) == ("embedding", ["batch", 24])


def test_an_axis_that_is_not_dynamic_keeps_its_length() -> None:
    graph = session(dense_graph())
    with pytest.raises(Exception, match=r"(?i)invalid dimensions"):
        graph.run(None, {"features": np.zeros((2, 5), dtype=np.float32)})


def test_nothing_tells_where_or_how_it_was_made() -> None:
    graph = ecapa_graph("reflect")
    model = onnx.load_from_string(graph)
    assert model.producer_name == "vecsv"
    assert not model.metadata_props
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    for told in (str(Path.cwd()), sys.prefix, Path(torch.__file__).parent.as_posix(), "Traceback", ".py"):
        assert told.encode() not in graph


def test_an_old_runtime_can_read_it() -> None:
    model = onnx.load_from_string(dense_graph())
    assert model.ir_version <= 10
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]


def test_weights_stand_inside_and_batchnorm_keeps_its_statistics() -> None:
    model = onnx.load_from_string(ecapa_graph("zero"))
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert not any(
        attribute.name == "training_mode" and attribute.i for node in model.graph.node for attribute in node.attribute
    )


def test_a_module_in_training_is_written_as_it_evaluates_and_stays_in_training() -> None:
    module = torch.nn.Sequential(dense(), torch.nn.Dropout(0.5)).train()
    graph = session(exported(module, torch.zeros(2, 4), batch=0))
    (ours,) = graph.run(None, {"features": np.ones((1, 4), dtype=np.float32)})
    assert module.training
    with torch.inference_mode():
        assert np.allclose(ours, dense()(torch.ones(1, 4)).numpy(), atol=1e-6)


def test_a_module_that_no_graph_can_follow_is_refused_in_one_line() -> None:
    class Deciding(torch.nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features if features.sum().item() > 0 else -features

    with pytest.raises(ModelError, match="cannot be written as ONNX") as caught:
        exported(Deciding(), torch.ones(2, 4), batch=0)
    assert "\n" not in str(caught.value)


def test_without_the_exporters_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ModelError, match=r"pip install 'vecsv\[torch\]'"):
        exported(dense(), torch.zeros(2, 4), batch=0)


def test_it_is_quiet(capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder) -> None:
    exported(dense(), torch.zeros(2, 4), batch=0)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
