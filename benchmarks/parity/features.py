"""Compare vecsv's front ends with those of the toolkits whose models it runs.

    python benchmarks/parity/features.py [--venv FOLDER] [--golden vecsv/health/golden/features.json]

It makes a virtual environment (several GB once; `--venv` keeps it), lets the toolkits' own code compute their features
of made-up speech, computes the same with vecsv, NumPy and PyTorch, and prints the largest difference of each. It exits
1 when one is above 1e-4 of the largest feature (of 53 dB: 0.005 dB; of 10 nats: 0.001). `--golden` records the
toolkits' figures for the test that stands beside it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from vecsv.frontend.compute import front_end
from vecsv.health.toolkits import PROJECTION_SEED, SIGNALS, SPECS, WHOLE_FRAMES, projection

LARGEST_DIFFERENCE = 1e-4
PACKAGES = ("torch==2.11.0", "torchaudio==2.11.0", "speechbrain==1.1.2", "transformers==5.23.0", "librosa==0.11.0")
NEMO_VERSIONS = ("1.23.0", "3.0.0")


def public_python(folder: Path) -> Path:
    """Python of a virtual environment with the toolkits in it, made where it is missing."""
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    if not (folder / "features.ready").exists():
        print(f"making a virtual environment with the toolkits in {folder}", flush=True)
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([*pip, *PACKAGES], check=True)
        for version in NEMO_VERSIONS:
            # Of NeMo only one file is run, so the many packages that the whole needs stay out.
            nemo = ["--no-deps", "--target", str(folder / f"nemo-{version}"), f"nemo_toolkit=={version}"]
            subprocess.run([*pip, *nemo], check=True)
        (folder / "features.ready").touch()
    return python


def public_features(venv: Path, scratch: Path) -> dict[str, NDArray[np.float32]]:
    """Features by the toolkits, keyed ``TOOLKIT/SIGNAL``."""
    python, out = public_python(venv), scratch / "features.npz"
    signals: dict[str, Any] = dict(SIGNALS)
    np.savez(scratch / "signals.npz", **signals)
    nemo = [str(venv / f"nemo-{version}") for version in NEMO_VERSIONS]
    script = Path(__file__).with_name("features_public.py")
    subprocess.run([str(python), str(script), str(scratch / "signals.npz"), str(out), *nemo], check=True)
    with np.load(out) as arrays:
        return dict(arrays)


def our_features(toolkit: str, signal: str) -> dict[str, NDArray[np.float32]]:
    """Features by vecsv, of each way it has to compute them."""
    import torch

    from vecsv.networks.features import feature_module

    spec, waveform = SPECS[toolkit], SIGNALS[signal]
    with torch.inference_mode():
        ours = feature_module(spec)(torch.from_numpy(waveform)[None])[0].numpy()
    return {"numpy": front_end(spec)(waveform), "torch": ours}


def write_golden(path: Path, public: dict[str, NDArray[np.float32]]) -> None:
    """Record the toolkits' figures: some frames whole, of every one a projection."""
    lines = []
    for key, values in public.items():
        frames = values if values.ndim == 2 else values[: values.size // 80 * 80].reshape(-1, 80)
        entry = {
            "shape": list(values.shape),
            "frames": {str(place): _rounded(frames[place]) for place in WHOLE_FRAMES},
            "projected": _rounded(projection(frames)),
        }
        lines.append(f"  {json.dumps(key)}: {json.dumps(entry)}")
    path.write_text(
        "{\n"
        ' "source": "the toolkits\' own code; written by benchmarks/parity/features.py",\n'
        f' "projection": "frames @ vecsv.health.signals.uniform(bands, {PROJECTION_SEED}, -1, 1), per band",\n'
        ' "features": {\n' + ",\n".join(lines) + "\n }\n}\n",
        encoding="utf-8",
    )
    print(f"\nwrote {path}")


def _rounded(values: NDArray[np.floating]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="virtual environment for the toolkits, kept for the next time")
    parser.add_argument("--golden", type=Path, help="where to record the toolkits' figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        scratch = Path(folder)
        public = public_features((arguments.venv or scratch / "venv").resolve(), scratch)
    good = True
    print(f"\n{'toolkit/signal':32} {'shape':>12} {'largest':>9} {'numpy differs':>14} {'torch differs':>14}")
    for key, theirs in public.items():
        ours = our_features(*key.split("/"))
        same_shape = all(values.shape == theirs.shape for values in ours.values())
        differences = [float(np.abs(values - theirs).max()) for values in ours.values()] if same_shape else [np.inf]
        largest = float(np.abs(theirs).max())
        good = good and max(differences) <= LARGEST_DIFFERENCE * largest
        figures = " ".join(f"{difference:14.2e}" for difference in differences)
        print(f"{key:32} {theirs.shape!s:>12} {largest:9.3f} {figures}")
    if arguments.golden:
        write_golden(arguments.golden, public)
    print("\nparity holds" if good else "\nPARITY DOES NOT HOLD")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
