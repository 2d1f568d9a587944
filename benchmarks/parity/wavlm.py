"""Compare vecsv's WavLM x-vectors with plain transformers, recording by recording.

    python benchmarks/parity/wavlm.py [--golden vecsv/health/golden/wavlm.json]

It writes small models with random weights as Hugging Face folders, one laid out like the published base models and one
like the large ones, with and without normalised waveforms. Speech-like recordings of 0.5 to 30 s go one by one through
``Wav2Vec2FeatureExtractor`` and ``WavLMForXVector``, both as ``from_pretrained`` loads them, and all together through
vecsv's encoder on each engine that is installed. It exits 1 when an embedding is further than 1e-4 off, as a share of
its length. `--golden` records the package's embeddings for the tests.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Wav2Vec2FeatureExtractor, WavLMForXVector

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.fixtures import wavlm
from vecsv.engines.protocol import EngineSettings
from vecsv.health.original_networks import WAVLM_SECONDS
from vecsv.models import wavlm_xvector
from vecsv.models.conversion import as_bundle, write_conversion

FURTHEST = 1e-4
SCALINGS = {"normalised": True, "as it is": False}
ENGINES = ("onnxruntime", "openvino", "torch")

Rows = NDArray[np.float32]


def public_embeddings(folder: Path) -> Rows:
    """Embeddings by the package alone, one recording at a time."""
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    network: Any = WavLMForXVector.from_pretrained(folder)
    network.eval()
    rows = []
    for recording in wavlm.recordings():
        inputs = extractor(recording, sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            rows.append(network(inputs["input_values"]).embeddings[0].numpy())
    return np.array(rows)


def our_embeddings(folder: Path, bundle: Path) -> dict[str, Rows]:
    """Embeddings by vecsv, all recordings together, on each engine."""
    conversion = wavlm_xvector.from_folder(folder)
    described = as_bundle(conversion, name=folder.name, description="random weights", licence="Apache-2.0", source={})
    write_conversion(bundle, conversion, described)
    rows = {}
    for engine in ENGINES:
        if find_spec(engine):
            encoder = wavlm_xvector.load(bundle, EngineSettings(engine=engine))
            rows[encoder.engine] = encoder.raw([encoder.prepare(one) for one in wavlm.recordings()])
    return rows


def write_golden(path: Path, embeddings: dict[str, Rows]) -> None:
    """Record the package's embeddings, one recording a line."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("transformers", "torch"))
    golden: dict[str, Any] = {
        "source": f"{versions}: Wav2Vec2FeatureExtractor and WavLMForXVector; written by benchmarks/parity/wavlm.py",
        "seconds": list(WAVLM_SECONDS),
    }
    head = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in golden.items())
    models = ",\n".join(
        f"  {json.dumps(name)}: [\n"
        + ",\n".join(f"   {json.dumps([float(f'{value:.9g}') for value in row])}" for row in rows)
        + "\n  ]"
        for name, rows in embeddings.items()
    )
    path.write_text(f'{{\n{head} "embeddings": {{\n{models}\n }}\n}}\n', encoding="utf-8")
    print(f"wrote {path}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path, help="where to record the package's embeddings")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    golden: dict[str, Rows] = {}
    worst = 0.0
    with tempfile.TemporaryDirectory(prefix="parity-") as scratch:
        for kind, config in wavlm.CONFIGS.items():
            for scaling, normalise in SCALINGS.items():
                name = f"{kind}, {scaling}"
                folder = Path(scratch) / name.replace(", ", "-").replace(" ", "-")
                wavlm.write_folder(folder, config, wavlm.weights(config), normalise=normalise)
                golden[name] = public_embeddings(folder)
                for engine, rows in our_embeddings(folder, folder / "bundle").items():
                    off = np.linalg.norm(rows - golden[name], axis=1) / np.linalg.norm(golden[name], axis=1)
                    print(f"{name:20} {engine:32} largest distance {off.max():.1e} of the embedding's length")
                    worst = max(worst, float(off.max()))
    if arguments.golden is not None:
        write_golden(arguments.golden, golden)
    return 0 if worst <= FURTHEST else 1


if __name__ == "__main__":
    sys.exit(main())
