"""PyTorch: the engine for GPUs, and for networks that exist only as a module."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.engines.batching import BatchLimits, plan_batches
from vecsv.engines.limits import CPU_IN_FLIGHT_S, GPU_IN_FLIGHT_S, cpu_limits, gpu_limits
from vecsv.engines.protocol import NetworkSource
from vecsv.errors import ModelError

if TYPE_CHECKING:
    import torch

_AUTOCAST: Final = {"bf16": "bfloat16", "fp16": "float16"}


class TorchNetwork:
    """A `vecsv.engines.protocol.Network`: a PyTorch module in evaluation mode, run without gradients.

    On the CPU inputs run one after the other, or with others of just their length. On a GPU they are sorted by length
    into batches, padded a little where the module masks padding; batches are copied from page-locked memory while
    the one before is computed, and nothing waits for the GPU until all are on their way.

    Lengths differ from batch to batch, so neither ``torch.compile`` nor CUDA graphs are used: both work for one shape
    at a time, and batches are large enough that launching kernels is not what takes the time.

    Parameters
    ----------
    source : NetworkSource
        With a module.
    device : str
        A PyTorch device. ``"meta"`` computes shapes alone: see `forward`.
    precision : str
        ``"fp32"``, or ``"bf16"`` or ``"fp16"`` for autocast. At fp32 a GPU may round the factors of a convolution as
        PyTorch lets it by default (TF32).
    threads : int
        Threads of one call on the CPU; PyTorch has one such number for the whole process.
    limits : BatchLimits, optional
        How large batches may grow; by default what suits the device.

    Raises
    ------
    ModelError
        When the model is no module.
    """

    def __init__(
        self,
        source: NetworkSource,
        *,
        device: str = "cpu",
        precision: str = "fp32",
        threads: int = 1,
        limits: BatchLimits | None = None,
    ) -> None:
        import torch

        if source.module is None:
            raise ModelError("PyTorch cannot run it", where=source.name)
        self._name = source.name
        self._device = torch.device(device)
        self._cast = getattr(torch, _AUTOCAST[precision]) if precision in _AUTOCAST else None
        self._takes_lengths = source.takes_lengths
        self._limits = limits or (cpu_limits(source.cpu_batch) if device == "cpu" else None)
        if device == "cpu":
            torch.set_num_threads(threads)
        self._module = source.module().to(self._device).eval()
        self.engine = f"torch {torch.__version__}, {device}, {precision}"
        self.in_flight_s = CPU_IN_FLIGHT_S if device == "cpu" else GPU_IN_FLIGHT_S

    def run(self, inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Run recordings through the network; see `vecsv.engines.protocol.Network.run`."""
        parts = self.forward(inputs)
        rows = np.empty((len(inputs), parts[0][1].shape[1]), dtype=np.float32)
        for positions, embeddings in parts:
            rows[list(positions)] = embeddings.float().cpu().numpy()
        return rows

    def forward(self, inputs: Sequence[NDArray[np.float32]]) -> list[tuple[tuple[int, ...], torch.Tensor]]:
        """Start all inputs on the device, in batches.

        Returns
        -------
        list of (positions, embeddings)
            For each batch, where its inputs stand in `inputs`, and their embeddings ``(batch, dim)`` on the device.
        """
        import torch

        limits = self._limits or gpu_limits(inputs[0].ndim)
        batches = plan_batches([one.shape[0] for one in inputs], limits, pads=self._takes_lengths)
        parts = []
        with torch.inference_mode(), self._autocast():
            for batch in batches:
                chosen = [inputs[position] for position in batch.positions]
                parts.append((batch.positions, self._embeddings(chosen, batch.length)))
        return parts

    def _embeddings(self, inputs: list[NDArray[np.float32]], longest: int) -> torch.Tensor:
        import torch

        pinned = self._device.type == "cuda"
        host = torch.zeros((len(inputs), longest, *inputs[0].shape[1:]), dtype=torch.float32, pin_memory=pinned)
        for row, one in zip(host.numpy(), inputs, strict=True):
            row[: one.shape[0]] = one
        batch = host.to(self._device, non_blocking=pinned)
        arguments: dict[str, Any] = {}
        # A module need not mask where nothing is padded.
        if any(one.shape[0] < longest for one in inputs):
            lengths = torch.tensor([one.shape[0] for one in inputs], dtype=torch.int64, pin_memory=pinned)
            arguments["lengths"] = lengths.to(self._device, non_blocking=pinned)
        embeddings: torch.Tensor = self._module(batch, **arguments)
        if embeddings.ndim != 2 or embeddings.shape[0] != len(inputs):
            raise ModelError(
                f"its network gives shape {tuple(embeddings.shape)} for a batch of {len(inputs)}, not (batch, dim)",
                where=self._name,
            )
        return embeddings

    def _autocast(self) -> Any:
        if self._cast is None:
            return nullcontext()
        import torch

        return torch.autocast(self._device.type, dtype=self._cast)
