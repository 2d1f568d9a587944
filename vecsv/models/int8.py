"""Running int8 networks: on ONNX Runtime's CPU kernels alone, whose roundings are part of what the model is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.engines.protocol import EngineSettings, Network, NetworkSource
from vecsv.errors import UsageError

PRECISION: Final = "int8"


def is_int8(network: Mapping[str, Any]) -> bool:
    """Whether a bundle's ``network`` is one that `vecsv.models.quantize` made.

    Examples
    --------
    >>> is_int8({"precision": "int8"}), is_int8({})
    (True, False)
    """
    return network.get("precision") == PRECISION


def open_int8(source: NetworkSource, settings: EngineSettings) -> Network:
    """Open an int8 network.

    Raises
    ------
    UsageError
        When it is to be run by another engine, on a GPU, or in another precision.
    """
    from vecsv.engines.choose import open_network

    on_cpu = settings.device in {"cpu", "auto"}
    if settings.engine not in {"auto", "onnxruntime"} or settings.precision != "fp32" or not on_cpu:
        raise UsageError(
            f"{source.name} is an int8 model, which runs on onnxruntime on the CPU alone",
            hint="leave out --engine, --device and --precision, or use the model it was made of",
        )
    return _Int8(open_network(source, replace(settings, engine="onnxruntime", device="cpu")))


class _Int8:
    """A network whose engine is told with its precision."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.engine = network.engine.replace("fp32", PRECISION)
        self.in_flight_s = network.in_flight_s

    def run(self, inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """See `vecsv.engines.protocol.Network`."""
        return self._network.run(inputs)
