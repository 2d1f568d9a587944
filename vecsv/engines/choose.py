"""Which engine runs a network: a rule over what was asked for, what the model offers and what the machine has."""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass
from importlib.util import find_spec

from vecsv.engines.combining import CombiningNetwork
from vecsv.engines.protocol import EngineSettings, Network, NetworkSource
from vecsv.errors import MissingDependencyError, ModelError, UsageError, VecsvError


@dataclass(frozen=True)
class Machine:
    """What this machine can run networks with.

    Attributes
    ----------
    openvino, torch : bool
        Whether they are installed.
    gpus : int
        CUDA devices that this process may use.
    torch_cuda, onnxruntime_cuda : bool
        Whether the installed ones can use CUDA.
    """

    openvino: bool = False
    torch: bool = False
    gpus: int = 0
    torch_cuda: bool = False
    onnxruntime_cuda: bool = False


@dataclass(frozen=True)
class Choice:
    """What runs a network: an engine's name, a device (never ``"auto"``) and a precision."""

    engine: str
    device: str
    precision: str


def choose(settings: EngineSettings, source: NetworkSource, machine: Machine) -> Choice:
    """Choose the engine and the device; a pure function.

    On the CPU that is ONNX Runtime, else OpenVINO, else PyTorch. OpenVINO's lead is in bf16 (half the time), which ONNX
    Runtime has not; at fp32 both take the same time for recordings of ever new lengths, which OpenVINO prepares itself
    for, and OpenVINO takes longer to open (``benchmarks/engines.py``). On a GPU it is PyTorch, which pads and masks,
    else ONNX Runtime.

    Raises
    ------
    MissingDependencyError
        When what was asked for is not installed.
    ModelError
        When the model cannot be run like that.
    UsageError
        When nothing can be run like that.

    Examples
    --------
    >>> from pathlib import Path
    >>> from vecsv.engines.protocol import GraphInterface
    >>> source = NetworkSource("x", Path("x.onnx"), GraphInterface("features", "embeddings"))
    >>> choose(EngineSettings(), source, Machine()).engine
    'onnxruntime'
    """
    device = _device(settings, source, machine)
    engines: tuple[str, ...] = ("torch", "onnxruntime") if device != "cpu" else ("onnxruntime", "openvino", "torch")
    if settings.engine != "auto":
        engines = (settings.engine,)
    refusals = []
    for engine in engines:
        refusal = _refusal(engine, device, settings.precision, source, machine)
        if refusal is None:
            return Choice(engine, device, settings.precision)
        refusals.append(refusal)
    # What is only not installed is easiest to mend, then what was asked for; what the model is cannot be helped.
    raise min(refusals, key=lambda one: (MissingDependencyError, UsageError, ModelError).index(type(one)))


def _device(settings: EngineSettings, source: NetworkSource, machine: Machine) -> str:
    if settings.device == "auto":
        able = (
            _refusal("torch", "cuda", settings.precision, source, machine),
            _refusal("onnxruntime", "cuda", settings.precision, source, machine),
        )
        wanted = {"torch": able[:1], "onnxruntime": able[1:], "openvino": ()}.get(settings.engine, able)
        return "cuda" if machine.gpus and None in wanted else "cpu"
    if settings.device == "cpu":
        return "cpu"
    number = int(settings.device.partition(":")[2] or 0)
    if machine.gpus == 0:
        raise UsageError(f"there is no GPU for --device {settings.device}", hint="choose --device cpu")
    if number >= machine.gpus:
        raise UsageError(f"there is no {settings.device}", hint=f"the last one is cuda:{machine.gpus - 1}")
    return settings.device


def _refusal(engine: str, device: str, precision: str, source: NetworkSource, machine: Machine) -> VecsvError | None:
    """Why an engine cannot run a network like that; None where it can."""
    on_cpu = device == "cpu"
    if on_cpu and precision == "fp16":
        return UsageError("fp16 is for GPUs", hint="choose --precision bf16 or fp32, or --device cuda")
    if engine == "torch":
        if source.module is None:
            return ModelError("PyTorch cannot run it", where=source.name, hint="choose --engine onnxruntime")
        if not machine.torch:
            return MissingDependencyError("PyTorch is not installed", hint="pip install 'vecsv[torch]'")
        if not on_cpu and not machine.torch_cuda:
            return MissingDependencyError(
                "the installed PyTorch cannot use CUDA", hint="install a build of PyTorch with CUDA"
            )
        return None
    if source.graph is None or source.interface is None:
        return ModelError("has no ONNX graph", where=source.name, hint="choose --engine torch")
    if engine == "onnxruntime":
        if precision != "fp32":
            other = "torch" if source.module is not None else "openvino" if on_cpu else None
            hint = f"choose --engine {other} or --precision fp32" if other else "choose --precision fp32"
            return UsageError(f"ONNX Runtime does not compute in {precision} here", hint=hint)
        if not on_cpu and not machine.onnxruntime_cuda:
            return MissingDependencyError(
                "the installed ONNX Runtime cannot use CUDA",
                hint="pip install onnxruntime-gpu in place of onnxruntime",
            )
        return None
    if not on_cpu:
        return UsageError("OpenVINO runs on the CPU here", hint="choose --engine torch or --device cpu")
    if not machine.openvino:
        return MissingDependencyError("OpenVINO is not installed", hint="pip install 'vecsv[openvino]'")
    return None


def this_machine(settings: EngineSettings) -> Machine:
    """Look at this machine, no closer than the settings ask for: with ``device="cpu"`` nothing is imported."""
    openvino, torch = find_spec("openvino") is not None, find_spec("torch") is not None
    gpus = 0 if settings.device == "cpu" else count_gpus()
    if gpus == 0:
        return Machine(openvino=openvino, torch=torch)
    import onnxruntime

    torch_cuda = False
    if torch:
        from torch import cuda

        torch_cuda = cuda.is_available()
    providers = onnxruntime.get_available_providers()
    return Machine(openvino, torch, gpus, torch_cuda, "CUDAExecutionProvider" in providers)


def count_gpus() -> int:
    """CUDA devices that this process may use, asked of the driver: PyTorch need not be imported to find none."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
            return 0
    except (OSError, AttributeError):
        return 0
    return count.value


def open_network(source: NetworkSource, settings: EngineSettings) -> Network:
    """Open a network on the engine that `choose` picks.

    Parameters
    ----------
    source : NetworkSource
    settings : EngineSettings

    Raises
    ------
    VecsvError
        When it cannot be run as the settings ask; says what to install or choose.
    """
    choice = choose(settings, source, this_machine(settings))
    network = _opened(choice, source, settings.threads)
    return network if choice.device == "cpu" else CombiningNetwork(network)


def _opened(choice: Choice, source: NetworkSource, threads: int) -> Network:
    if choice.engine == "onnxruntime":
        from vecsv.engines.onnx_runtime import OnnxRuntimeNetwork

        return OnnxRuntimeNetwork(source, device=choice.device, threads=threads)
    if choice.engine == "openvino":
        from vecsv.engines.openvino import OpenVinoNetwork

        return OpenVinoNetwork(source, precision=choice.precision, threads=threads)
    from vecsv.engines.torch_engine import TorchNetwork

    return TorchNetwork(source, device=choice.device, precision=choice.precision, threads=threads)
