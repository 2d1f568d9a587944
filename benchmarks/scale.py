"""How long, and in how much memory, all pairs of many utterances are evaluated; beside the straightforward method.

    python benchmarks/scale.py [--utterances 10000] [--many 100000] [--naive 2000]

Simulated embeddings of 192 dimensions, twenty utterances a speaker. Each run is a process of its own, one after the
other: exact metrics of all pairs with 1,000 speaker-bootstrap replicates, the same pairs by histogram, many more pairs
by histogram, and the straightforward method: the scores of all pairs in Python lists, and 100 thresholds on a grid of
0.01. That one takes time and memory in proportion to the pairs, so it is run at fewer utterances and multiplied up.
Printed are seconds, peak resident memory as the kernel counted it, and the bounds; it ends with 1 when one is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from vecsv.calibration import allpairs
from vecsv.calibration.bootstrap import bootstrap_pairs
from vecsv.calibration.evaluate import evaluate_histograms, evaluate_kinds
from vecsv.calibration.speaker_pairs import choose_grid

DIMENSIONS, PER_SPEAKER = 192, 20
MOST_BYTES = 1.5 * 1e9
MOST_SECONDS = {"exact": 15.0, "bootstrap": 60.0, "histogram": 300.0}
MOST_EER_ERROR = 1e-5


def simulate(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of speakers who vary by different amounts, some of whom are like each other."""
    random = np.random.default_rng(count)
    speakers = np.repeat(np.arange(count // PER_SPEAKER), PER_SPEAKER)
    means = random.standard_normal((count // PER_SPEAKER, DIMENSIONS), dtype=np.float32)
    means[:, 0] += random.gamma(1.0, 4.0, len(means)).astype(np.float32)
    spread = 1.3 * np.exp(random.normal(0, 0.3, len(means))).astype(np.float32)
    vectors = random.standard_normal((speakers.size, DIMENSIONS), dtype=np.float32)
    vectors *= spread[speakers, None]
    vectors += means[speakers]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, speakers


def exact(count: int) -> dict[str, Any]:
    """All metrics of all pairs, then the bootstrap, timed apart."""
    vectors, speakers = simulate(count)
    started = time.perf_counter()
    targets, non_targets = allpairs.exact(vectors, speakers)
    metrics = evaluate_kinds(targets, non_targets)
    scored = time.perf_counter()
    thresholds = [point.threshold for point in metrics.fnmr_at_fmr]
    grid = choose_grid(targets, non_targets, thresholds)
    del targets, non_targets
    system = allpairs.reduce_pairs(vectors, speakers, grid)
    cost = metrics.cost("p=0.01").normalised
    intervals = bootstrap_pairs(system, metrics.eer, cost, thresholds=thresholds, replicates=1000)
    return {
        "pairs": metrics.targets + metrics.non_targets,
        "seconds": scored - started,
        "bootstrap_seconds": time.perf_counter() - scored,
        "eer": metrics.eer,
        "min_dcf": cost,
        "eer_interval": [intervals.eer.low, intervals.eer.high],
        "min_dcf_interval": [intervals.min_dcf.low, intervals.min_dcf.high],
        "fmr_intervals": [[one.low, one.value, one.high] for one in intervals.fmr],
    }


def histogram(count: int) -> dict[str, Any]:
    """All pairs by histogram."""
    vectors, speakers = simulate(count)
    started = time.perf_counter()
    metrics = evaluate_histograms(allpairs.histogram(vectors, speakers))
    return {
        "pairs": metrics.targets + metrics.non_targets,
        "seconds": time.perf_counter() - started,
        "eer": metrics.eer,
        "min_dcf": metrics.cost("p=0.01").normalised,
    }


def naive(count: int) -> dict[str, Any]:
    """All pairs in Python lists, and the errors at 100 thresholds on a grid of 0.01."""
    vectors, speakers = simulate(count)
    started = time.perf_counter()
    target: list[float] = []
    non_target: list[float] = []
    for i in range(count):
        for j in range(i + 1, count):
            score = float(np.dot(vectors[i], vectors[j]))
            (target if speakers[i] == speakers[j] else non_target).append(score)
    rates = []
    for step in range(100):
        threshold = step / 100
        missed = sum(score < threshold for score in target) / len(target)
        accepted = sum(score >= threshold for score in non_target) / len(non_target)
        rates.append((abs(missed - accepted), (missed + accepted) / 2))
    return {
        "pairs": count * (count - 1) // 2,
        "seconds": time.perf_counter() - started,
        "eer": min(rates)[1],
    }


RUNS: dict[str, Callable[[int], dict[str, Any]]] = {"exact": exact, "histogram": histogram, "naive": naive}


def measure(name: str, count: int) -> dict[str, Any]:
    """Run one of the runs in a process of its own; with its peak resident set in bytes."""
    command = [sys.executable, __file__, "--run", name, "--utterances", str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    answer = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    found: dict[str, Any] = json.loads(answer)
    # Linux counts in KiB, macOS in bytes.
    return {**found, "peak": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)}


def main() -> None:
    """Measure, print, and end with 1 when a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=10_000)
    parser.add_argument("--many", type=int, default=100_000)
    parser.add_argument("--naive", type=int, default=2_000)
    parser.add_argument("--run", choices=RUNS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        print(json.dumps(RUNS[given.run](given.utterances)))
        return

    ours = measure("exact", given.utterances)
    print(f"{given.utterances:,} utterances of {DIMENSIONS} dimensions, {ours['pairs']:,} pairs")
    print(f"  scored, sorted, every metric    {ours['seconds']:8.1f} s   EER {ours['eer']:.7f}", flush=True)
    low, high = ours["eer_interval"]
    print(f"  1,000 replicates of speakers    {ours['bootstrap_seconds']:8.1f} s   EER {low:.5f} to {high:.5f}")
    print(f"  peak memory of both             {ours['peak'] / 1e6:8.0f} MB", flush=True)
    binned = measure("histogram", given.utterances)
    print(f"  by histogram                    {binned['seconds']:8.1f} s   EER {binned['eer']:.7f}", flush=True)
    error = abs(binned["eer"] - ours["eer"])
    print(f"  EER by histogram is off by      {error:8.1e}     minDCF {abs(binned['min_dcf'] - ours['min_dcf']):.1e}")

    theirs = measure("naive", given.naive)
    factor = ours["pairs"] / theirs["pairs"]
    print(f"straightforward, {given.naive:,} utterances, {theirs['pairs']:,} pairs")
    print(f"  lists, 100 thresholds           {theirs['seconds']:8.1f} s   EER {theirs['eer']:.7f}")
    print(f"  peak memory                     {theirs['peak'] / 1e6:8.0f} MB")
    seconds = theirs["seconds"] * factor
    print(f"  at {given.utterances:,} (times {factor:.0f})           {seconds:8.0f} s", flush=True)
    print(f"ratio                             {seconds / ours['seconds']:8.0f}")

    many = measure("histogram", given.many)
    print(f"{given.many:,} utterances, {many['pairs']:,} pairs, by histogram")
    print(f"  every metric                    {many['seconds']:8.1f} s   EER {many['eer']:.7f}")
    print(f"  peak memory                     {many['peak'] / 1e6:8.0f} MB")

    bounds = {
        "seconds of exact metrics": (ours["seconds"], MOST_SECONDS["exact"]),
        "seconds of the bootstrap": (ours["bootstrap_seconds"], MOST_SECONDS["bootstrap"]),
        "seconds of the histogram": (many["seconds"], MOST_SECONDS["histogram"]),
        "bytes of exact metrics": (ours["peak"], MOST_BYTES),
        "bytes of the histogram": (many["peak"], MOST_BYTES),
        "EER by histogram against exact": (error, MOST_EER_ERROR),
    }
    broken = [f"{name}: {value:.4g}, at most {most:.4g}" for name, (value, most) in bounds.items() if value > most]
    print("bounds: " + ("; ".join(broken) or "all kept"))
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
