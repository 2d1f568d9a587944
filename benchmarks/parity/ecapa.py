"""Compare vecsv's ECAPA-TDNN with SpeechBrain's and WeSpeaker's, recording by recording.

    python benchmarks/parity/ecapa.py [--venv FOLDER] [--golden vecsv/health/golden]

It makes a virtual environment (several GB once; `--venv` keeps it), lets the toolkits' own code embed made-up speech
with made-up weights and BatchNorm statistics, one recording at a time; reads the same checkpoints with vecsv and embeds
the same recordings from the waveform on, all of a case in one batch of unequal lengths, and again one by one as ONNX.
It prints the relative distance (L2) of features, and of embeddings before they are scaled, and exits 1 when one is
above 1e-4. `--golden` records the toolkits' figures for the tests.
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

from tests.fixtures import ecapa
from tests.models.ecapa_checkpoints import CASES, conversion
from vecsv.frontend.compute import front_end
from vecsv.models.conversion import Conversion
from vecsv.models.ecapa_conversion import INPUT
from vecsv.networks.ecapa_spec import EcapaSpec

LARGEST_DISTANCE = 1e-4
PACKAGES = ("torch==2.11.0", "torchaudio==2.11.0", "speechbrain==1.1.2")
# WeSpeaker itself is on no index; this is a build of its repository.
WITHOUT_REQUIREMENTS = ("wespeaker-unofficial==0.0.2",)

Rows = NDArray[np.float32]


def public_python(folder: Path) -> Path:
    """Python of a virtual environment with the toolkits in it, made where it is missing."""
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    if not (folder / "ecapa.ready").exists():
        print(f"making a virtual environment with the toolkits in {folder}", flush=True)
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([*pip, *PACKAGES], check=True)
        subprocess.run([*pip, "--no-deps", *WITHOUT_REQUIREMENTS], check=True)
        (folder / "ecapa.ready").touch()
    return python


def public_results(python: Path, scratch: Path) -> dict[str, NDArray[Any]]:
    """Features, embeddings and lists of tensors by the toolkits, keyed ``TOOLKIT/CASE/SECONDS``."""
    out = scratch / "ecapa.npz"
    subprocess.run([str(python), str(Path(__file__).with_name("ecapa_public.py")), str(out)], check=True)
    with np.load(out) as arrays:
        return dict(arrays)


def batched(converted: Conversion, features: list[Rows]) -> Rows:
    """Embeddings by the PyTorch module, all recordings in one batch; what is behind a recording is noise."""
    import torch

    from vecsv.networks.ecapa_tdnn import EcapaTdnn

    spec = EcapaSpec.from_json(converted.network)
    network = EcapaTdnn.of(spec, {name: torch.tensor(tensor) for name, tensor in converted.tensors.items()})
    lengths = np.array([len(one) for one in features])
    batch = np.full((len(features), lengths.max(), spec.bands), 1e6, dtype=np.float32)
    for row, one in enumerate(features):
        batch[row, : len(one)] = one
    with torch.inference_mode():
        embeddings: Rows = network(torch.from_numpy(batch), torch.from_numpy(lengths)).numpy()
    return embeddings


def one_by_one(converted: Conversion, features: list[Rows]) -> Rows:
    """Embeddings by ONNX Runtime, a recording at a time."""
    import onnxruntime

    session = onnxruntime.InferenceSession(converted.graph, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {INPUT: one[np.newaxis]})[0] for one in features])


def distance(ours: Rows, theirs: Rows) -> float:
    """L2 distance over the length of theirs."""
    return float(np.linalg.norm(ours.astype(np.float64) - theirs) / np.linalg.norm(theirs.astype(np.float64)))


def compare(public: dict[str, NDArray[Any]]) -> bool:
    """Print every distance; whether all are small enough."""
    worst = 0.0
    print(f"\n{'toolkit/case':28} {'seconds':>8} {'features':>10} {'torch, one batch':>17} {'onnx, one by one':>17}")
    for toolkit, case in CASES:
        converted = conversion(toolkit, case)
        lengths = ecapa.lengths_of(case)
        compute = front_end(converted.frontend)
        features = [compute(ecapa.recording(seconds)) for seconds in lengths]
        rows = zip(lengths, features, batched(converted, features), one_by_one(converted, features), strict=True)
        for seconds, seen, by_torch, by_onnx in rows:
            theirs = public[f"{toolkit}/{case}/{seconds}"]
            distances = [
                distance(seen, public[f"{toolkit}/features/{seconds}"]),
                distance(by_torch, theirs),
                distance(by_onnx, theirs),
            ]
            worst = max(worst, *distances)
            print(
                f"{toolkit + '/' + case:28} {seconds:8} {distances[0]:10.1e} {distances[1]:17.1e} {distances[2]:17.1e}"
            )
    return worst <= LARGEST_DISTANCE


def write_golden(folder: Path, public: dict[str, NDArray[Any]]) -> None:
    """Record the toolkits' figures, a file for each: embeddings whole, of features three frames."""
    for toolkit in sorted({toolkit for toolkit, _ in CASES}):
        lines = []
        for key, values in public.items():
            owner, kind, what = key.split("/")
            if owner != toolkit:
                continue
            if what == "tensors":
                entry: object = str(values)
            elif kind == "features":
                places = (0, len(values) // 2, len(values) - 1)
                entry = {"frames": len(values), **{str(place): _rounded(values[place]) for place in places}}
            else:
                entry = _rounded(values)
            lines.append(f" {json.dumps(f'{kind}/{what}')}: {json.dumps(entry)}")
        path = folder / f"ecapa-{toolkit}.json"
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        print(f"wrote {path}")


def _rounded(values: NDArray[np.floating]) -> list[float]:
    return [float(f"{value:.9g}") for value in values]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="virtual environment for the toolkits, kept for the next time")
    parser.add_argument("--golden", type=Path, help="folder where to record the toolkits' figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        scratch = Path(folder)
        public = public_results(public_python((arguments.venv or scratch / "venv").resolve()), scratch)
    good = compare(public)
    if arguments.golden:
        write_golden(arguments.golden, public)
    print("\nparity holds" if good else "\nPARITY DOES NOT HOLD")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
