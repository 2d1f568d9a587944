"""How much memory `vecsv embed` takes: over 2,000 and 20,000 utterances, and over one recording of three hours.

Each run is a process of its own; what is printed is its peak resident set, as the kernel counted it. The recordings
are synthetic, made in the folder that is given (3 GB, removed again unless ``--keep``).

    python benchmarks/memory.py /tmp/scratch
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.fixtures.stores import speak

FEW, MANY = 2_000, 20_000
MOST_GROWTH = 1.10
MOST_FOR_THREE_HOURS = 1024**3
_SHORT_S = 0.7
_RATE = 16000


def make_short(folder: Path, count: int) -> Path:
    """Write `count` different recordings of 0.7 s, ten of each speaker; returns their manifest."""
    rows = []
    for number in range(count):
        speaker, take = divmod(number, 10)
        path = folder / f"{speaker:05d}" / f"{take}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            waveform = speak(f"{speaker:05d}", take)[: round(_SHORT_S * _RATE)]
            soundfile.write(path, waveform, _RATE, "PCM_16")
        rows.append(f"{path.relative_to(folder)}\t{speaker:05d}\n")
    manifest = folder / f"{count}.tsv"
    manifest.write_text("".join(rows), encoding="utf-8")
    return manifest


def make_long(folder: Path, hours: float) -> Path:
    """Write one recording, 48 kHz and stereo, a minute at a time; returns its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    minute = np.concatenate([speak("long", take) for take in range(60)])
    minute = soxr.resample(minute, _RATE, 48000)
    stereo = np.stack([minute, 0.5 * minute[::-1]], axis=1)
    with soundfile.SoundFile(folder / "long.wav", "w", 48000, 2, "PCM_16") as file:
        for number in range(round(hours * 60)):
            file.write(stereo * (0.5 + 0.5 * (number % 7) / 6))
    manifest = folder / "long.tsv"
    manifest.write_text("long.wav\tlong\n", encoding="utf-8")
    return manifest


def peak_of_embedding(manifest: Path, store: Path) -> tuple[int, float]:
    """Peak resident set in bytes of `vecsv embed` over a manifest, and how many seconds it took."""
    shutil.rmtree(store, ignore_errors=True)
    command = [sys.executable, "-m", "vecsv", "embed", "--manifest", str(manifest), "--store", str(store)]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    # Linux counts in KiB, macOS in bytes.
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), time.monotonic() - started


def main() -> None:
    """Measure, print, and end with 1 when a bound is broken."""
    parser = argparse.ArgumentParser(description="Peak memory of `vecsv embed`.")
    parser.add_argument("folder", type=Path, help="where recordings and stores are made")
    parser.add_argument("--keep", action="store_true", help="do not remove them again")
    parser.add_argument("--few", type=int, default=FEW)
    parser.add_argument("--many", type=int, default=MANY)
    parser.add_argument("--hours", type=float, default=3.0)
    given = parser.parse_args()
    scratch: Path = given.folder / "vecsv-memory"
    try:
        peaks = {}
        for count in (given.few, given.many):
            peaks[count], took = peak_of_embedding(make_short(scratch / "short", count), scratch / f"store-{count}")
            print(
                f"{count:,} utterances of {_SHORT_S} s: peak {peaks[count] / 2**20:.1f} MiB, {took:.1f} s", flush=True
            )
        ratio = peaks[given.many] / peaks[given.few]
        print(f"ratio: {ratio:.3f} (at most {MOST_GROWTH})", flush=True)
        long, took = peak_of_embedding(make_long(scratch / "long", given.hours), scratch / "store-long")
        print(f"one recording of {given.hours:g} h, 48 kHz stereo: peak {long / 2**20:.1f} MiB, {took:.1f} s")
    finally:
        if not given.keep:
            shutil.rmtree(scratch, ignore_errors=True)
    sys.exit(0 if ratio <= MOST_GROWTH and long < MOST_FOR_THREE_HOURS else 1)


if __name__ == "__main__":
    main()
