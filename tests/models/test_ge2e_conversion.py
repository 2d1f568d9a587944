from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from tests.checkpoints import legacy
from vecsv.errors import ModelError
from vecsv.models import ge2e
from vecsv.models.ge2e_conversion import expected_shapes, onnx_network, read_checkpoint

Tensors = dict[str, NDArray[np.float32]]


def weights(seed: int = 0) -> Tensors:
    """Random weights with PyTorch's names and shapes, large enough that every gate moves."""
    random = np.random.default_rng(seed)
    return {name: random.normal(scale=0.08, size=shape).astype(np.float32) for name, shape in expected_shapes().items()}


def slow_network(tensors: Tensors, windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """The network by the equations in the documentation of torch.nn.LSTM, step by step, in float64."""

    def squash(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1 / (1 + np.exp(-values))

    sequence = windows.astype(np.float64)
    for layer in range(3):
        hidden = np.zeros((len(windows), 256))
        cell = np.zeros((len(windows), 256))
        outputs = []
        for step in range(sequence.shape[1]):
            gates = (
                sequence[:, step] @ tensors[f"lstm.weight_ih_l{layer}"].T.astype(np.float64)
                + tensors[f"lstm.bias_ih_l{layer}"]
                + hidden @ tensors[f"lstm.weight_hh_l{layer}"].T.astype(np.float64)
                + tensors[f"lstm.bias_hh_l{layer}"]
            )
            inputs, forgets, candidates, outs = np.split(gates, 4, axis=1)
            cell = squash(forgets) * cell + squash(inputs) * np.tanh(candidates)
            hidden = squash(outs) * np.tanh(cell)
            outputs.append(hidden)
        sequence = np.stack(outputs, axis=1)
    return np.maximum(0.0, sequence[:, -1] @ tensors["linear.weight"].T.astype(np.float64) + tensors["linear.bias"])


def run(network: bytes, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    activations: NDArray[np.float32] = session.run([ge2e.OUTPUT], {ge2e.INPUT: windows})[0]
    return activations


WINDOWS = np.random.default_rng(1).normal(size=(3, 160, 40)).astype(np.float32)


@pytest.fixture(scope="module")
def expected() -> NDArray[np.float64]:
    """What the equations give for `weights()` and `WINDOWS`."""
    return slow_network(weights(), WINDOWS)


def test_the_network_computes_the_lstm_s_equations(expected: NDArray[np.float64]) -> None:
    assert 0.2 < (expected > 0).mean() < 0.8
    np.testing.assert_allclose(run(onnx_network(weights()), WINDOWS), expected, atol=2e-5)


@pytest.mark.parametrize("order", [[0, 1, 3, 2], [0, 2, 1, 3], [1, 0, 2, 3], [3, 1, 2, 0]])
def test_no_other_order_of_gates_computes_them(order: list[int], expected: NDArray[np.float64]) -> None:
    def shuffled(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        parts = np.split(tensor, 4)
        return np.concatenate([parts[place] for place in order])

    wrong = {name: shuffled(tensor) if name.startswith("lstm") else tensor for name, tensor in weights().items()}
    assert np.abs(run(onnx_network(wrong), WINDOWS) - expected).max() > 1e-2


def test_the_network_is_built_the_same_each_time_and_takes_any_number_of_windows() -> None:
    network = onnx_network(weights())
    assert network == onnx_network(weights())
    model = onnx.load_from_string(network)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "windows"
    for count in (1, 2, 31):
        assert run(network, np.zeros((count, 160, 40), dtype=np.float32)).shape == (count, 256)


def test_a_checkpoint_gives_exactly_the_network_s_tensors() -> None:
    tensors = weights()
    leftovers = {name: np.ones(1, dtype=np.float32) for name in ("similarity_weight", "similarity_bias")}
    found = read_checkpoint(legacy.checkpoint({**leftovers, **tensors}), where="weights.pt")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)


def _without(name: str) -> Tensors:
    return {label: tensor for label, tensor in weights().items() if label != name}


def _with(name: str, tensor: NDArray[np.float32]) -> Tensors:
    return {**weights(), name: tensor}


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        (_without("linear.bias"), "unknown or missing tensors: linear.bias"),
        (_with("lstm.weight_ih_l3", np.ones(1, dtype=np.float32)), "unknown or missing tensors: lstm.weight_ih_l3"),
        (
            _with("linear.bias", np.ones(255, dtype=np.float32)),
            "linear.bias is float32 (255,), expected float32 (256,)",
        ),
        (_with("linear.bias", np.full(256, np.nan, dtype=np.float32)), "linear.bias holds values that are not finite"),
    ],
)
def test_another_network_s_checkpoint_is_refused_by_name(tensors: Tensors, complaint: str) -> None:
    with pytest.raises(ModelError, match=r"^weights\.pt: ") as refusal:
        read_checkpoint(legacy.checkpoint(tensors), where="weights.pt")
    assert complaint in str(refusal.value)
