"""OpenVINO: computes in bf16 on the CPU, which takes half the time of fp32."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.engines.graph_calls import as_rows, feeds, require_names, run_planned
from vecsv.engines.limits import CPU_IN_FLIGHT_S, cpu_limits, usable_cores
from vecsv.engines.protocol import NetworkSource
from vecsv.errors import ModelError

_PRECISIONS: Final = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoNetwork:
    """A `vecsv.engines.protocol.Network`: one compiled model, and a request for each thread that calls it.

    The graph keeps its free axes: recordings of any length go through one compilation.

    Parameters
    ----------
    source : NetworkSource
        With a graph.
    precision : str
        ``"fp32"`` or ``"bf16"``: the numbers that matrix products take; inputs and embeddings stay float32.
    threads : int
        Threads of one call. With 1 as many calls run side by side as there are cores; with more, one call at a time
        has that many.

    Raises
    ------
    ModelError
        When the graph is damaged or not what its interface says.
    """

    def __init__(self, source: NetworkSource, *, precision: str = "fp32", threads: int = 1) -> None:
        import openvino

        if source.graph is None or source.interface is None:
            raise ModelError("has no ONNX graph", where=source.name)
        self._name = source.name
        self._interface = source.interface
        self.engine = f"openvino {openvino.__version__.partition('-')[0]}, cpu, {precision}"
        self.in_flight_s = CPU_IN_FLIGHT_S
        where = str(source.graph)
        try:
            # Reading a graph, unlike converting one, reports nothing to anybody.
            model = openvino.Core().read_model(where)
        except RuntimeError as error:
            raise _damaged(where) from error
        names = [[port.get_any_name() for port in ports] for ports in (model.inputs, model.outputs)]
        require_names(self._interface, *names, where=where)
        any_batch = model.input(self._interface.input).get_partial_shape()[0].is_dynamic
        self._limits = cpu_limits(source.cpu_batch if any_batch else 1)
        try:
            self._compiled = openvino.Core().compile_model(model, "CPU", _configuration(precision, threads))
        except RuntimeError as error:
            raise _damaged(where) from error
        self._output = self._compiled.output(self._interface.output)
        self._requests = threading.local()

    def run(self, inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Run recordings through the network; see `vecsv.engines.protocol.Network.run`."""
        return run_planned(inputs, self._limits, pads=False, call=self._call)

    def _call(self, batch: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        made = feeds(batch, self._interface)
        try:
            # The inputs are read where they lie; the output is a copy, because the next call overwrites it.
            self._request().infer(made, share_inputs=True)
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO cannot run it on an input of shape {made[self._interface.input].shape}", where=self._name
            ) from error
        return as_rows(np.array(self._request().get_tensor(self._output).data), len(batch), name=self._name)

    def _request(self) -> Any:
        if not hasattr(self._requests, "own"):
            self._requests.own = self._compiled.create_infer_request()
        return self._requests.own


def _configuration(precision: str, threads: int) -> dict[str, Any]:
    from openvino import properties

    side_by_side = usable_cores() if threads == 1 else 1
    return {
        properties.hint.inference_precision(): _PRECISIONS[precision],
        properties.num_streams(): side_by_side,
        properties.inference_num_threads(): threads * side_by_side,
        # Other processes may use these cores as well; the operating system knows which are free.
        properties.hint.enable_cpu_pinning(): False,
    }


def _damaged(path: str) -> ModelError:
    return ModelError("cannot be loaded by OpenVINO: missing or damaged", where=path, hint="pull the model again")
