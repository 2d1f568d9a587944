"""How many seconds of audio a second: vecsv and the public package, on the same files, in one run.

    python benchmarks/throughput.py ../shared/speech [--venv FOLDER] [--rounds 3]

Both sides decode, raise the volume, trim silences (or not) and embed every recording of ``train.tsv``; vecsv also
measures quality, hashes the files and writes a store. The two take turns; the ratio is of the medians. The share of the
machine's matrix rate counts the arithmetic of the network alone, against a large matrix product by the same engine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.parity.ge2e import public_python
from tests.models.variants import variant
from vecsv.audio.decode import Clip, read
from vecsv.embedding.parallel import usable_cores
from vecsv.embedding.run import embed_manifest
from vecsv.manifest import ManifestRow, read_manifest
from vecsv.models import ge2e, registry

PUBLIC = r"""
import json, sys, time, types
from pathlib import Path
from scipy.ndimage import binary_dilation
module = types.ModuleType("scipy.ndimage.morphology"); module.binary_dilation = binary_dilation
sys.modules.setdefault("scipy.ndimage.morphology", module)
import librosa
from resemblyzer import VoiceEncoder, preprocess_wav
from resemblyzer.audio import normalize_volume
encoder = VoiceEncoder("cpu", verbose=False)
paths, trims = json.loads(sys.stdin.read())
def prepare(path):
    if trims:
        return preprocess_wav(Path(path))
    waveform, rate = librosa.load(path, sr=None)
    return normalize_volume(librosa.resample(waveform, orig_sr=rate, target_sr=16000), -30, increase_only=True)
encoder.embed_utterance(prepare(paths[0]))
started = time.perf_counter()
for path in paths:
    encoder.embed_utterance(prepare(path))
print(json.dumps(time.perf_counter() - started))
"""
FRAMES, MELS, HIDDEN = 160, 40, 256
FLOPS_PER_WINDOW = FRAMES * 2 * 4 * HIDDEN * ((MELS + HIDDEN) + 2 * (HIDDEN + HIDDEN))


def public_seconds(python: Path, paths: list[str], *, trims: bool) -> float:
    """Seconds the public package takes, its start not counted."""
    done = subprocess.run(
        [str(python), "-c", PUBLIC], input=json.dumps([paths, trims]), capture_output=True, text=True, check=True
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


def our_seconds(model: ge2e.Ge2e, manifest: Path) -> float:
    """Seconds that `vecsv embed` takes, its start not counted."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        embed_manifest(manifest, Path(folder), model)
        return time.perf_counter() - started


def matrix_rate(threads: int, size: int = 2048) -> float:
    """Floating-point operations a second of a large float32 matrix product by ONNX Runtime."""
    import onnxruntime
    from onnx import TensorProto, helper

    shape = [size, size]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "ab"]
    output = helper.make_tensor_value_info("c", TensorProto.FLOAT, shape)
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "product", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    matrices = {name: np.random.default_rng(0).random(shape, dtype=np.float32) for name in "ab"}
    session.run(["c"], matrices)
    started = time.perf_counter()
    for _ in range(10):
        session.run(["c"], matrices)
    return 10 * 2 * size**3 / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path, help="folder with train.tsv")
    parser.add_argument("--venv", type=Path, help="virtual environment for the public package, kept for the next time")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    manifest = arguments.speech / "train.tsv"
    paths = [row.path for row in read_manifest(manifest) if isinstance(row, ManifestRow)]

    with tempfile.TemporaryDirectory(prefix="throughput-") as scratch:
        python = public_python((arguments.venv or Path(scratch) / "venv").resolve())
        folder = registry.locate("ge2e", on_message=print)
        untrimming = replace(ge2e.FRONTEND, trimming=None)
        models = {
            "silences trimmed": ge2e.load(folder),
            "not trimmed": variant(folder, Path(scratch) / "variant", frontend=untrimming),
        }
        cores = usable_cores()
        for kind, model in models.items():
            prepared = [model.prepare(read(Clip(path))) for path in paths]
            audio_s = sum(read(Clip(path)).size for path in paths) / model.sample_rate
            windows = sum(len(one.features) for one in prepared)
            del prepared
            ours, theirs, rates = [], [], []
            for _ in range(arguments.rounds):
                ours.append(our_seconds(model, manifest))
                theirs.append(public_seconds(python, [str(path) for path in paths], trims=kind == "silences trimmed"))
                rates.append(matrix_rate(cores))
            mine, public = statistics.median(ours), statistics.median(theirs)
            arithmetic = windows * FLOPS_PER_WINDOW / mine
            rate = statistics.median(rates)
            print(f"{kind}: {len(paths)} recordings, {audio_s / 60:.0f} minutes, {cores} cores")
            print(f"  vecsv           {audio_s / mine:6.0f} seconds of audio a second")
            print(f"  public package  {audio_s / public:6.0f}")
            print(f"  ratio           {public / mine:6.1f}   (rounds: {', '.join(_ratios(ours, theirs))})")
            print(
                f"  network arithmetic at {arithmetic / 1e9:.0f} GFLOP/s of {rate / 1e9:.0f}: {arithmetic / rate:.0%}"
            )


def _ratios(ours: list[float], theirs: list[float]) -> list[str]:
    return [f"{their / our:.1f}" for our, their in zip(ours, theirs, strict=True)]


if __name__ == "__main__":
    main()
