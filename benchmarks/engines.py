"""ECAPA-TDNN with 1024 channels on every engine: 8 recordings of 3 s, on this machine's cores.

    python benchmarks/engines.py [--rounds 5]

Random weights, BatchNorm statistics drawn as well. Each engine runs the 8 recordings as one batch in one call of all
cores, and one by one from a thread for each core, as `vecsv embed` does. The engines take turns, so that whatever else
the machine does meets all of them; figures are medians, ratios are to PyTorch's batch in one call. The last part runs
40 recordings of 40 lengths, which are new to every engine the first time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.throughput import matrix_rate
from vecsv.engines.choose import open_network
from vecsv.engines.limits import usable_cores
from vecsv.engines.protocol import EngineSettings, GraphInterface, Network, NetworkSource
from vecsv.networks.ecapa_spec import SPEECHBRAIN
from vecsv.networks.ecapa_tdnn import EcapaTdnn
from vecsv.networks.export import onnx_graph

FRAMES, RECORDINGS, FRAMES_PER_SECOND = 300, 8, 100
TORCH = ("torch", "fp32")
ENGINES = (TORCH, ("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))

Engine = tuple[str, str]
Inputs = Sequence[NDArray[np.float32]]
Rows = NDArray[np.float32]


def random_network() -> EcapaTdnn:
    """An ECAPA-TDNN of SpeechBrain's shape whose BatchNorms change something."""
    torch.manual_seed(0)
    network = EcapaTdnn(SPEECHBRAIN).eval()
    for module in network.modules():
        if (
            isinstance(module, torch.nn.BatchNorm1d)
            and module.running_mean is not None
            and module.running_var is not None
        ):
            module.running_mean.normal_(0.0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return network


def random_features(frames: Sequence[int]) -> list[Rows]:
    """Features of recordings, float32 ``(frames, bands)``."""
    generator = np.random.default_rng(0)
    return [generator.standard_normal((count, SPEECHBRAIN.bands)).astype(np.float32) for count in frames]


class Work:
    """What is to be computed.

    Attributes
    ----------
    audio_s : float
        Seconds of audio.
    operations : float
        Floating-point operations of the network's products, a multiplication and an addition counting as two.
    matrix_rate : float
        Operations a second that the machine reaches in a large matrix product.
    """

    def __init__(self, features: Inputs, network: EcapaTdnn, matrix_rate: float) -> None:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            for one in features:
                network(torch.from_numpy(one)[None])
        self.audio_s = sum(one.shape[0] for one in features) / FRAMES_PER_SECOND
        self.operations = float(counter.get_total_flops())
        self.matrix_rate = matrix_rate


def in_one_call(source: NetworkSource, engine: Engine, cores: int) -> Callable[[Inputs], Rows]:
    """Run recordings as one batch, all cores at it."""
    network = open_network(source, EngineSettings(engine[0], "cpu", engine[1], threads=cores))

    def run(features: Inputs) -> Rows:
        # PyTorch has one number of threads for the whole process, and the other way of running wants another.
        torch.set_num_threads(cores)
        return network.run(features)

    return run


def from_each_core(source: NetworkSource, engine: Engine, pool: ThreadPoolExecutor) -> Callable[[Inputs], Rows]:
    """Run recordings one by one, a thread on each core sharing the network."""
    network: Network = open_network(source, EngineSettings(engine[0], "cpu", engine[1], threads=1))

    def run(features: Inputs) -> Rows:
        torch.set_num_threads(1)
        return np.concatenate(list(pool.map(network.run, [[one] for one in features])))

    return run


def least_cosine(first: Rows, second: Rows) -> float:
    """Lowest cosine between two engines' embeddings of one recording."""
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(((first * second).sum(axis=1) / norms).min())


@dataclass(frozen=True)
class Taken:
    """What one run took: seconds by the clock and, hardly changed by whatever else the machine does, of its cores."""

    wall_s: float
    cores_s: float


def timed(run: Callable[[Inputs], Rows], features: Inputs) -> tuple[Taken, Rows]:
    """Run once and measure."""
    started, busy = time.perf_counter(), time.process_time()
    rows = run(features)
    return Taken(time.perf_counter() - started, time.process_time() - busy), rows


def show(engine: Engine, wall_s: float, cores_s: float, base_s: float, work: Work, cosine: float) -> None:
    """Print a line of figures."""
    speed = work.operations / wall_s
    print(
        f"  {' '.join(engine):17} {wall_s:6.3f} s   cores {cores_s:6.3f} s   RTF {wall_s / work.audio_s:.4f}   "
        f"x {base_s / wall_s:4.2f}   {speed / 1e9:4.0f} GFLOP/s ({speed / work.matrix_rate:4.0%} of the matrix rate)   "
        f"cosine to torch {cosine:.7f}"
    )


def measure(
    runs: Mapping[Engine, Callable[[Inputs], Rows]], features: Inputs, rounds: int
) -> tuple[dict[Engine, list[Taken]], dict[Engine, Rows]]:
    """Let the engines take turns."""
    taken: dict[Engine, list[Taken]] = {engine: [] for engine in runs}
    rows: dict[Engine, Rows] = {}
    for _ in range(rounds):
        for engine, run in runs.items():
            one, rows[engine] = timed(run, features)
            taken[engine].append(one)
    return taken, rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    network, cores = random_network(), usable_cores()
    equal, unequal = random_features([FRAMES] * RECORDINGS), random_features(list(range(150, 950, 20)))
    with tempfile.TemporaryDirectory(prefix="engines-") as folder, ThreadPoolExecutor(cores) as pool:
        graph = Path(folder) / "ecapa.onnx"
        example, axes = torch.zeros(2, 100, SPEECHBRAIN.bands), {0: "batch", 1: "frames"}
        graph.write_bytes(onnx_graph(network, example, input_name="features", output_name="embedding", dynamic=axes))

        def source(batch: int) -> NetworkSource:
            interface = GraphInterface("features", "embedding")
            return NetworkSource("ecapa-1024", graph, interface, lambda: network, cpu_batch=batch)

        together = {engine: in_one_call(source(RECORDINGS), engine, cores) for engine in ENGINES}
        apart = {engine: from_each_core(source(1), engine, pool) for engine in ENGINES}
        rate = matrix_rate(cores)
        print(f"{cores} cores, matrix products at {rate / 1e9:.0f} GFLOP/s")
        print(", ".join(f"{package} {version(package)}" for package in ("torch", "onnxruntime", "openvino")))
        base_s = None
        for way, runs in (("in one call of all cores", together), ("one by one from each core", apart)):
            work = Work(equal, network, rate)
            taken, rows = measure(runs, equal, rounds + 1)
            # The first round warms up.
            wall = {engine: statistics.median(one.wall_s for one in taken[engine][1:]) for engine in ENGINES}
            busy = {engine: statistics.median(one.cores_s for one in taken[engine][1:]) for engine in ENGINES}
            base_s = base_s or wall[TORCH]
            print(f"{RECORDINGS} recordings of 3 s, {way}:")
            for engine in ENGINES:
                cosine = least_cosine(rows[TORCH], rows[engine])
                show(engine, wall[engine], busy[engine], base_s, work, cosine)
        work = Work(unequal, network, rate)
        taken, rows = measure(apart, unequal, 2)
        for number, time_ in enumerate(("for the first time", "again")):
            print(f"{len(unequal)} recordings of as many lengths, one by one from each core, {time_}:")
            for engine in ENGINES:
                one, first = taken[engine][number], taken[TORCH][number]
                show(engine, one.wall_s, one.cores_s, first.wall_s, work, least_cosine(rows[TORCH], rows[engine]))


if __name__ == "__main__":
    main()
