"""What every engine looks like to the models, and what a model tells an engine about its network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from vecsv.errors import ModelError, UsageError

if TYPE_CHECKING:
    import torch

ENGINES: Final = ("auto", "onnxruntime", "openvino", "torch")
PRECISIONS: Final = ("fp32", "bf16", "fp16")
LAYOUTS: Final = ("wave", "time-features", "features-time", "image-features-time")


@dataclass(frozen=True)
class EngineSettings:
    """How a network is run; none of it changes what an embedding means.

    Attributes
    ----------
    engine : str
        One of `ENGINES`; ``"auto"`` takes the fastest that is installed and can run the model on the device.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"auto"``: a GPU where there is one.
    precision : str
        One of `PRECISIONS`: the numbers that the network computes with. Embeddings stay within 1e-3 in cosine.
    threads : int
        Threads that one call of the network may use. The embedding stage calls it from one thread for each core and
        so wants 1; a single verification may want more.
    """

    engine: str = "auto"
    device: str = "cpu"
    precision: str = "fp32"
    threads: int = 1

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise UsageError(f"there is no engine {self.engine!r}", hint=f"engines: {', '.join(ENGINES)}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"there is no precision {self.precision!r}", hint=f"precisions: {', '.join(PRECISIONS)}")
        family, _, number = self.device.partition(":")
        plain = self.device in {"cpu", "cuda", "auto"} or (family == "cuda" and number.isdecimal() and number.isascii())
        if not plain:
            raise UsageError(
                f"there is no device {self.device!r}", hint="devices: cpu, cuda, cuda:0, cuda:1, ..., auto"
            )
        if self.threads < 1:
            raise UsageError(f"threads is {self.threads}, but has to be at least 1")


def on_gpu(engine: str) -> bool:
    """Whether what `Network.engine` says names a GPU.

    Examples
    --------
    >>> on_gpu("torch 2.9.0, cuda:1, bf16"), on_gpu("onnxruntime 1.20.0, cpu, fp32")
    (True, False)
    """
    return ", cuda" in engine


@dataclass(frozen=True)
class GraphInterface:
    """How an ONNX graph takes one recording after another.

    Attributes
    ----------
    input : str
        Name of the input that takes features or the waveform.
    output : str
        Name of the output that gives embeddings, float32 ``(batch, dim)`` or with further axes of length 1.
    layout : str
        Shape of the input: ``"wave"`` is ``(batch, samples)``, ``"time-features"`` is ``(batch, frames, bands)``,
        ``"features-time"`` is ``(batch, bands, frames)``, ``"image-features-time"`` is ``(batch, 1, bands, frames)``.
    lengths : str or None
        Name of an int64 ``(batch,)`` input that says how many frames (or samples) of each item count; None without.
    frame_multiple : int
        The number of frames is filled up with zeros to a multiple of this; only with `lengths`.
    """

    input: str
    output: str
    layout: str = "time-features"
    lengths: str | None = None
    frame_multiple: int = 1

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ModelError(f"layout is {self.layout!r}, this version knows {', '.join(LAYOUTS)}")
        if self.frame_multiple < 1 or (self.frame_multiple > 1 and self.lengths is None):
            raise ModelError("frames can only be filled up to a multiple of at least 1, and where lengths are taken")

    def to_json(self) -> dict[str, Any]:
        """Return the interface as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> GraphInterface:
        """Read what `to_json` wrote; a ModelError when it is none."""
        try:
            return cls(**values)
        except TypeError as error:
            raise ModelError(f"interface {dict(values)!r} is not a graph's interface") from error


@dataclass(frozen=True)
class NetworkSource:
    """Where a network comes from; each engine takes the form it can run.

    Attributes
    ----------
    name : str
        What errors call the model.
    graph : Path or None
        The network as an ONNX file.
    interface : GraphInterface or None
        How the graph is called; None without a graph.
    module : callable or None
        Makes the network as a PyTorch module in evaluation mode, weights loaded. Called with a batch, float32
        ``(batch, frames, bands)`` or ``(batch, samples)``, and with ``lengths=`` int64 ``(batch,)`` where some of the
        batch are padded; gives ``(batch, dim)``. None where the family has no such module.
    takes_lengths : bool
        Whether the module masks padding, so that recordings of unequal lengths may share a batch and the result of
        each is as if it were alone.
    cpu_batch : int
        Inputs of one length that share a call on the CPU: more than 1 only where that was measured to be faster.
    """

    name: str
    graph: Path | None = None
    interface: GraphInterface | None = None
    module: Callable[[], torch.nn.Module] | None = None
    takes_lengths: bool = False
    cpu_batch: int = 1


class Network(Protocol):
    """A network on one engine, device and precision; safe to share between threads."""

    @property
    def engine(self) -> str:
        """What runs it, for people and records: ``"onnxruntime 1.20.0, cpu, fp32"``."""

    @property
    def in_flight_s(self) -> float:
        """Seconds of audio that one call should be given to use the device well."""

    def run(self, inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Run recordings through the network.

        Parameters
        ----------
        inputs : sequence of ndarray
            Each recording's front end, float32 ``(frames, bands)`` or ``(samples,)``; lengths may differ.

        Returns
        -------
        ndarray
            Float32 ``(recordings, dim)``, not scaled to unit length; each row as if its recording were alone, within
            1e-5 in cosine at fp32.
        """
