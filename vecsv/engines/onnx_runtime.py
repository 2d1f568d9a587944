"""ONNX Runtime: the engine that is always there, on the CPU or through its CUDA provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.engines.batching import BatchLimits
from vecsv.engines.graph_calls import as_rows, feeds, require_names, run_planned
from vecsv.engines.limits import CPU_IN_FLIGHT_S, GPU_IN_FLIGHT_S, cpu_limits, gpu_limits
from vecsv.engines.protocol import NetworkSource
from vecsv.errors import ModelError

# Warnings are for those who made the graph.
_ERRORS_ONLY: Final = 3


class OnnxRuntimeNetwork:
    """A `vecsv.engines.protocol.Network`: one session, which any number of threads may call at once.

    Parameters
    ----------
    source : NetworkSource
        With a graph.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    threads : int
        Threads of one call on the CPU. With 1 a call runs on the thread that makes it.
    limits : BatchLimits, optional
        How large batches may grow; by default what suits the device.

    Raises
    ------
    ModelError
        When the graph is damaged or not what its interface says, or the device cannot be had.
    """

    def __init__(
        self, source: NetworkSource, *, device: str = "cpu", threads: int = 1, limits: BatchLimits | None = None
    ) -> None:
        import onnxruntime

        if source.graph is None or source.interface is None:
            raise ModelError("has no ONNX graph", where=source.name)
        self._name = source.name
        self._interface = source.interface
        self.engine = f"onnxruntime {onnxruntime.__version__}, {device}, fp32"
        self.in_flight_s = CPU_IN_FLIGHT_S if device == "cpu" else GPU_IN_FLIGHT_S
        where = str(source.graph)
        self._session = _session(where, device, threads)
        entries = {one.name: one.shape for one in self._session.get_inputs()}
        require_names(self._interface, list(entries), [one.name for one in self._session.get_outputs()], where=where)
        any_batch = not isinstance(entries[self._interface.input][0], int)
        if device == "cpu":
            limits = limits or cpu_limits(source.cpu_batch)
        self._limits = limits if any_batch else BatchLimits(items=1, size=1)

    def run(self, inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Run recordings through the network; see `vecsv.engines.protocol.Network.run`."""
        limits = self._limits or gpu_limits(inputs[0].ndim)
        return run_planned(inputs, limits, pads=self._interface.lengths is not None, call=self._call)

    def _call(self, batch: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        made = feeds(batch, self._interface)
        try:
            (output,) = self._session.run([self._interface.output], made)
        # ONNX Runtime has a dozen exception classes, without a common base of its own.
        except Exception as error:
            raise ModelError(
                f"ONNX Runtime cannot run it on an input of shape {made[self._interface.input].shape}: "
                f"{_first_line(error)}",
                where=self._name,
            ) from error
        return as_rows(output, len(batch), name=self._name)


def _session(path: str, device: str, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    providers: list[Any] = ["CPUExecutionProvider"]
    if device != "cpu":
        if hasattr(onnxruntime, "preload_dlls"):
            # CUDA's libraries as the package index ships them, which the loader does not find by itself.
            onnxruntime.preload_dlls()
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": int(device.partition(":")[2] or 0)}))
    try:
        session = onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:
        raise ModelError(
            "cannot be loaded by ONNX Runtime: missing or damaged", where=path, hint="pull the model again"
        ) from error
    # Where CUDA does not start, ONNX Runtime says so in its log and takes the CPU; nobody asked for that.
    if device != "cpu" and "CUDAExecutionProvider" not in session.get_providers():
        raise ModelError(
            f"ONNX Runtime cannot use {device}",
            hint="its onnxruntime-gpu has to fit the CUDA version; or choose --device cpu",
        )
    return session


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
