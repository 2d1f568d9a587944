"""The PyTorch engine on the CPU, on ``meta`` (every step but the numbers), and on a GPU where there is one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.engines.graphs import BANDS, DIM, WEIGHT, recordings, reference
from vecsv.engines.batching import BatchLimits
from vecsv.engines.choose import open_network
from vecsv.engines.protocol import EngineSettings, NetworkSource
from vecsv.engines.torch_engine import TorchNetwork
from vecsv.errors import ModelError

pytest.importorskip("torch")

import torch


class MaskedMean(torch.nn.Module):
    """`tests.engines.graphs.reference` as a module that masks padding; notes how often, and with what, it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.from_numpy(WEIGHT.copy()))
        self.calls: list[tuple[tuple[int, ...], bool]] = []

    def forward(self, batch: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        self.calls.append((tuple(batch.shape), lengths is not None))
        assert not self.training
        active = torch.tanh(batch)
        if lengths is None:
            return active.mean(dim=1) @ self.weight
        mask = torch.arange(batch.shape[1], device=batch.device) < lengths[:, None]
        return ((active * mask[:, :, None]).sum(dim=1) / lengths[:, None]) @ self.weight


class BlindMean(torch.nn.Module):
    """The same without a mask: padding would change what it gives."""

    def __init__(self) -> None:
        super().__init__()
        self.masked = MaskedMean()

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        # Padding is not zero for it.
        result: torch.Tensor = self.masked(batch + 1.0)
        return result


def masked(calls: list[tuple[tuple[int, ...], bool]] | None = None) -> NetworkSource:
    def make() -> torch.nn.Module:
        module = MaskedMean().train()
        if calls is not None:
            module.calls = calls
        return module

    return NetworkSource("masked", module=make, takes_lengths=True)


BLIND = NetworkSource("blind", module=BlindMean)


def expected(inputs: list[NDArray[np.float32]]) -> list[NDArray[np.float64]]:
    return [reference(one)[:DIM] for one in inputs]


def test_recordings_of_any_lengths_give_what_numpy_gives() -> None:
    inputs = recordings(7, 12, 3, 12, 1)
    rows = open_network(masked(), EngineSettings("torch")).run(inputs)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected(inputs), atol=1e-6)


def test_on_the_cpu_nothing_is_padded_and_no_lengths_are_given() -> None:
    calls: list[tuple[tuple[int, ...], bool]] = []
    TorchNetwork(masked(calls)).run(recordings(7, 12, 7, 3))
    assert sorted(calls) == sorted(((1, count, BANDS), False) for count in (7, 12, 7, 3))


@pytest.mark.parametrize("items", [1, 2, 8])
def test_padded_batches_give_what_each_recording_gives_alone(items: int) -> None:
    calls: list[tuple[tuple[int, ...], bool]] = []
    inputs = recordings(7, 12, 3, 12, 1, 40)
    rows = TorchNetwork(masked(calls), limits=BatchLimits(items, size=1000, waste=0.95)).run(inputs)
    np.testing.assert_allclose(rows, expected(inputs), atol=1e-6)
    assert len(calls) == -(-6 // items)
    assert any(with_lengths for _, with_lengths in calls) == (items > 1)


def test_a_module_that_masks_nothing_gets_equal_lengths_only() -> None:
    inputs = recordings(7, 12, 3, 12, 7)
    rows = TorchNetwork(BLIND, limits=BatchLimits(8, size=1000, waste=0.95)).run(inputs)
    np.testing.assert_allclose(rows, expected([one + 1 for one in inputs]), atol=1e-6)


def test_on_meta_batches_are_those_of_a_gpu_and_every_embedding_has_its_place() -> None:
    calls: list[tuple[tuple[int, ...], bool]] = []
    network = TorchNetwork(masked(calls), device="meta")
    parts = network.forward(recordings(300, 290, 50, 295, 48))
    assert [positions for positions, _ in parts] == [(0, 3, 1), (2, 4)]
    assert [tuple(embeddings.shape) for _, embeddings in parts] == [(3, DIM), (2, DIM)]
    assert all(embeddings.device.type == "meta" for _, embeddings in parts)
    assert calls == [((3, 300, BANDS), True), ((2, 50, BANDS), True)]


def test_a_wave_goes_the_same_way_as_features() -> None:
    class Moments(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return torch.stack([batch.mean(dim=1), batch.square().mean(dim=1)], dim=1)

    inputs = recordings(160, 320, 160, wave=True)
    rows = TorchNetwork(NetworkSource("moments", module=Moments)).run(inputs)
    np.testing.assert_allclose(rows, [[one.mean(), (one**2).mean()] for one in inputs], atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_is_near_but_not_the_same_and_comes_back_as_float32(precision: str) -> None:
    inputs = recordings(30, 50, 30)
    network = TorchNetwork(masked(), precision=precision)
    rows, exact = network.run(inputs), np.array(expected(inputs))
    cosines = (rows * exact).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(exact, axis=1)
    assert rows.dtype == np.float32
    assert cosines.min() > 0.999
    assert abs(rows - exact).max() > 1e-6
    assert network.engine.endswith(f"cpu, {precision}")


def test_no_gradients_are_kept() -> None:
    ((_, embeddings),) = TorchNetwork(masked()).forward(recordings(5))
    assert not embeddings.requires_grad


def test_eight_threads_at_once_each_get_their_own() -> None:
    network = TorchNetwork(masked())
    inputs = recordings(*range(1, 65))
    pieces = [inputs[start : start + 4] for start in range(0, 64, 4)]
    with ThreadPoolExecutor(8) as pool:
        for piece, rows in zip(pieces, pool.map(network.run, pieces), strict=True):
            np.testing.assert_allclose(rows, expected(piece), atol=1e-6)


@pytest.mark.parametrize("shape", [lambda batch: batch, lambda batch: batch[:1, 0], lambda batch: batch[0, 0]])
def test_a_module_that_gives_no_row_for_each_recording_is_refused(
    shape: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    class Wrong(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return shape(batch)

    network = TorchNetwork(NetworkSource("wrong", module=Wrong, cpu_batch=2))
    with pytest.raises(ModelError, match=r"wrong: its network gives shape \("):
        network.run(recordings(5, 5))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_gpu_gives_what_the_cpu_gives(precision: str) -> None:
    inputs = recordings(*range(1, 400, 7))
    on_gpu = open_network(masked(), EngineSettings("torch", "cuda", precision)).run(inputs)
    on_cpu = open_network(masked(), EngineSettings("torch")).run(inputs)
    cosines = (on_gpu * on_cpu).sum(1) / np.linalg.norm(on_gpu, axis=1) / np.linalg.norm(on_cpu, axis=1)
    assert cosines.min() > 1 - 1e-3
