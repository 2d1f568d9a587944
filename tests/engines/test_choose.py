from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.graphs import recordings, reference, source
from vecsv.engines.choose import Choice, Machine, choose, count_gpus, open_network, this_machine
from vecsv.engines.protocol import EngineSettings, GraphInterface, NetworkSource
from vecsv.errors import MissingDependencyError, ModelError, UsageError, VecsvError

GRAPH = NetworkSource("graph", Path("x.onnx"), GraphInterface("x", "y"))
MODULE = NetworkSource("module", module=lambda: pytest.fail("choosing loads nothing"))
BOTH = NetworkSource("both", GRAPH.graph, GRAPH.interface, MODULE.module)

BARE = Machine()
FULL = Machine(openvino=True, torch=True)
GPU = Machine(openvino=True, torch=True, gpus=2, torch_cuda=True, onnxruntime_cuda=True)
GPU_TORCH_ONLY = Machine(torch=True, gpus=1, torch_cuda=True)
GPU_ONNX_ONLY = Machine(torch=True, gpus=1, onnxruntime_cuda=True)
GPU_UNUSED = Machine(torch=True, gpus=1)


@pytest.mark.parametrize(
    ("settings", "source_", "machine", "expected"),
    [
        ({}, GRAPH, BARE, ("onnxruntime", "cpu", "fp32")),
        ({}, BOTH, FULL, ("onnxruntime", "cpu", "fp32")),
        ({}, MODULE, FULL, ("torch", "cpu", "fp32")),
        ({}, BOTH, GPU, ("onnxruntime", "cpu", "fp32")),
        ({"engine": "openvino"}, GRAPH, FULL, ("openvino", "cpu", "fp32")),
        ({"engine": "torch"}, BOTH, FULL, ("torch", "cpu", "fp32")),
        ({"precision": "bf16"}, BOTH, FULL, ("openvino", "cpu", "bf16")),
        ({"precision": "bf16"}, BOTH, Machine(torch=True), ("torch", "cpu", "bf16")),
        ({"precision": "bf16"}, MODULE, FULL, ("torch", "cpu", "bf16")),
        ({"device": "auto"}, BOTH, FULL, ("onnxruntime", "cpu", "fp32")),
        ({"device": "auto"}, BOTH, GPU, ("torch", "cuda", "fp32")),
        ({"device": "auto"}, GRAPH, GPU, ("onnxruntime", "cuda", "fp32")),
        ({"device": "auto"}, GRAPH, GPU_TORCH_ONLY, ("onnxruntime", "cpu", "fp32")),
        ({"device": "auto"}, BOTH, GPU_ONNX_ONLY, ("onnxruntime", "cuda", "fp32")),
        ({"device": "auto"}, BOTH, GPU_UNUSED, ("onnxruntime", "cpu", "fp32")),
        ({"device": "auto", "engine": "openvino"}, BOTH, GPU, ("openvino", "cpu", "fp32")),
        ({"device": "auto", "engine": "torch"}, BOTH, GPU_ONNX_ONLY, ("torch", "cpu", "fp32")),
        ({"device": "auto", "precision": "fp16"}, BOTH, GPU, ("torch", "cuda", "fp16")),
        ({"device": "cuda"}, BOTH, GPU, ("torch", "cuda", "fp32")),
        ({"device": "cuda:1"}, GRAPH, GPU, ("onnxruntime", "cuda:1", "fp32")),
        ({"device": "cuda", "engine": "onnxruntime"}, BOTH, GPU, ("onnxruntime", "cuda", "fp32")),
        ({"device": "cuda", "precision": "bf16"}, MODULE, GPU_TORCH_ONLY, ("torch", "cuda", "bf16")),
    ],
)
def test_what_is_chosen(
    settings: dict[str, str], source_: NetworkSource, machine: Machine, expected: tuple[str, str, str]
) -> None:
    assert choose(EngineSettings(**settings), source_, machine) == Choice(*expected)


@pytest.mark.parametrize(
    ("settings", "source_", "machine", "kind", "says"),
    [
        ({}, MODULE, BARE, MissingDependencyError, r"PyTorch is not installed \(pip install 'vecsv\[torch\]'\)"),
        ({"engine": "openvino"}, GRAPH, BARE, MissingDependencyError, r"pip install 'vecsv\[openvino\]'"),
        ({"engine": "torch"}, GRAPH, FULL, ModelError, "graph: PyTorch cannot run it.*--engine onnxruntime"),
        ({"engine": "onnxruntime"}, MODULE, FULL, ModelError, "module: has no ONNX graph.*--engine torch"),
        ({"engine": "openvino", "device": "cuda"}, BOTH, GPU, UsageError, "OpenVINO runs on the CPU here"),
        ({"engine": "openvino", "precision": "fp16"}, BOTH, FULL, UsageError, "fp16 is for GPUs"),
        ({"precision": "fp16"}, BOTH, FULL, UsageError, "fp16"),
        ({"precision": "bf16"}, GRAPH, BARE, MissingDependencyError, "OpenVINO is not installed"),
        ({"precision": "bf16", "engine": "onnxruntime"}, GRAPH, FULL, UsageError, "--engine openvino"),
        ({"precision": "bf16", "engine": "onnxruntime"}, BOTH, FULL, UsageError, "--engine torch"),
        ({"precision": "bf16", "device": "cuda"}, GRAPH, GPU, UsageError, "bf16.*--precision fp32"),
        ({"device": "cuda"}, BOTH, FULL, UsageError, "there is no GPU.*--device cpu"),
        ({"device": "cuda:2"}, BOTH, GPU, UsageError, "there is no cuda:2.*cuda:1"),
        ({"device": "cuda"}, BOTH, GPU_UNUSED, MissingDependencyError, "PyTorch with CUDA"),
        ({"device": "cuda"}, GRAPH, GPU_TORCH_ONLY, MissingDependencyError, "onnxruntime-gpu"),
        ({"device": "cuda", "engine": "onnxruntime"}, BOTH, GPU_TORCH_ONLY, MissingDependencyError, "onnxruntime-gpu"),
    ],
)
def test_what_cannot_be_is_an_error_that_says_what_to_do(
    settings: dict[str, str], source_: NetworkSource, machine: Machine, kind: type[VecsvError], says: str
) -> None:
    with pytest.raises(kind, match=says) as raised:
        choose(EngineSettings(**settings), source_, machine)
    assert raised.value.hint


def test_a_machine_that_is_not_asked_about_gpus_is_not_searched_for_them() -> None:
    machine = this_machine(EngineSettings(device="cpu"))
    assert (machine.gpus, machine.torch_cuda, machine.onnxruntime_cuda) == (0, False, False)


def test_gpus_are_counted_as_pytorch_counts_them() -> None:
    cuda = pytest.importorskip("torch").cuda
    assert count_gpus() == (cuda.device_count() if cuda.is_available() else 0)


def test_auto_opens_a_network_that_computes(tmp_path: Path) -> None:
    inputs = recordings(5, 8)
    network = open_network(source(tmp_path), EngineSettings(device="auto"))
    assert abs(network.run(inputs) - [reference(one) for one in inputs]).max() < 1e-3
