"""Compare vecsv's ge2e with the public package resemblyzer 0.1.4, recording by recording.

    python benchmarks/parity/ge2e.py ../shared/speech [--venv FOLDER] [--golden tests/models/ge2e_golden.json]

It makes a virtual environment (several GB once; `--venv` keeps it), lets the public package embed every
recording of the folder's ``manifest.tsv`` with its own code, embeds the same files with vecsv, and prints the
smallest cosine of each corpus, with and without trimming of silences, and the equal error rate over all pairs
of librispeech-test-other. It exits 1 when a cosine is below 0.999 or that rate above 0.5%. `--golden` records
the public package's figures for the test that stands beside it, `--health` those that `vecsv models check` compares
with.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.models import synthetic
from tests.models.variants import variant
from vecsv.audio.decode import Clip, read
from vecsv.calibration.counts import error_counts
from vecsv.calibration.metrics import eer
from vecsv.errors import AudioError
from vecsv.health.signals import speech_like
from vecsv.models import ge2e, registry

LEAST_COSINE = 0.999
MOST_EER = 0.005
GOLDEN_CORPUS = "librispeech-test-other"
WHOLE_ROWS = 3
PROJECTIONS = 8
HEALTH_SIGNALS = ((1.3, 1), (3.0, 2), (6.4, 3))

Rows = NDArray[np.float32]


def public_python(folder: Path) -> Path:
    """Python of a virtual environment with the public package in it, made where it is missing."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"making a virtual environment with the public package in {folder}", flush=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([*pip, "torch==2.13.0", "librosa", "webrtcvad-wheels"], check=True)
        # Its own requirement, webrtcvad, is a source package that no longer works; this is the same detector.
        subprocess.run([*pip, "--no-deps", "resemblyzer==0.1.4"], check=True)
        (folder / "ready").touch()
    return python


def public_embeddings(python: Path, paths: list[Path], scratch: Path) -> tuple[Rows, Rows]:
    """Embeddings by the public package: with its own trimming (NaN where nothing was left), and without."""
    listing, out = scratch / "recordings.txt", scratch / "public.npz"
    listing.write_text("\n".join(map(str, paths)), encoding="utf-8")
    subprocess.run([str(python), str(Path(__file__).with_name("ge2e_public.py")), str(listing), str(out)], check=True)
    with np.load(out) as arrays:
        return arrays["trimmed"], arrays["untrimmed"]


def our_embeddings(model: ge2e.Ge2e, paths: list[Path]) -> Rows:
    """Embeddings by vecsv; NaN where it finds no speech."""
    rows = np.full((len(paths), model.dim), np.nan, dtype=np.float32)
    for row, path in enumerate(paths):
        try:
            rows[row] = model.embed([model.prepare(read(Clip(path)))])[0]
        except AudioError as error:
            print(f"  {path.name}: {error}")
    return rows


def all_pairs_eer(rows: Rows, speakers: list[str]) -> float:
    """Equal error rate over all pairs of different recordings."""
    first, second = np.triu_indices(len(rows), k=1)
    scores = np.einsum("ij,ij->i", rows[first], rows[second], dtype=np.float64)
    names = np.array(speakers)
    return eer(error_counts(scores, names[first] == names[second]))


def compare(corpora: NDArray[np.str_], ours: dict[str, Rows], public: dict[str, Rows]) -> bool:
    """Print the smallest cosine of each corpus; whether all are large enough and both sides refuse the same ones."""
    good = True
    for kind, rows in ours.items():
        theirs = public[kind]
        refused, also_refused = np.isnan(rows).any(axis=1), np.isnan(theirs).any(axis=1)
        cosines = np.einsum("ij,ij->i", rows, theirs, dtype=np.float64)
        cosines /= np.linalg.norm(rows.astype(np.float64), axis=1) * np.linalg.norm(theirs.astype(np.float64), axis=1)
        print(f"\nsmallest cosine between ours and the public package's, {kind}:")
        for corpus in sorted(set(corpora)):
            chosen = (corpora == corpus) & ~refused & ~also_refused
            left_out = int((corpora == corpus).sum() - chosen.sum())
            note = f", {left_out} without speech" if left_out else ""
            print(f"  {corpus:24} {cosines[chosen].min():.7f}  ({chosen.sum()} recordings{note})")
        good = good and bool((refused == also_refused).all()) and bool(np.nanmin(cosines) >= LEAST_COSINE)
    return good


def write_golden(
    path: Path, synthetic_rows: Rows, names: list[str], corpus_rows: Rows, corpus_names: list[str]
) -> None:
    """Record the public package's figures: some embeddings whole, of the others a few projections."""
    directions = np.random.default_rng(PROJECTIONS).standard_normal((corpus_rows.shape[1], PROJECTIONS))
    golden = {
        "source": "resemblyzer 0.1.4's own preprocess_wav and embed_utterance; written by benchmarks/parity/ge2e.py",
        "projections": "embedding @ numpy.random.default_rng(8).standard_normal((256, 8))",
        "synthetic": {name: _rounded(row, 6) for name, row in zip(names, synthetic_rows, strict=True)},
        "speech": {
            name: {"projected": _rounded(row @ directions, 5)}
            | ({"embedding": _rounded(row, 4)} if place % (len(corpus_names) // WHOLE_ROWS) == 0 else {})
            for place, (name, row) in enumerate(zip(corpus_names, corpus_rows, strict=True))
        },
    }
    path.write_text(_one_line_each(golden), encoding="utf-8")
    print(f"\nwrote {path}")


def write_health(path: Path, rows: Rows) -> None:
    """Record the public package's embeddings of made signals, for users' machines to compare with."""
    golden = {
        "source": "resemblyzer 0.1.4's own preprocess_wav and embed_utterance; written by benchmarks/parity/ge2e.py",
        "fingerprint": registry.load("ge2e").fingerprint,
        "signals": [list(signal) for signal in HEALTH_SIGNALS],
        "embeddings": {
            f"{seconds} s": _rounded(row, 7) for (seconds, _), row in zip(HEALTH_SIGNALS, rows, strict=True)
        },
    }
    path.write_text(_one_line_each(golden), encoding="utf-8")
    print(f"\nwrote {path}")


def _one_line_each(golden: dict[str, Any]) -> str:
    """JSON with one line for each recording, so that a change of one shows as one line."""
    parts = []
    for key, value in golden.items():
        inner = (
            ",\n".join(f"  {json.dumps(name)}: {json.dumps(row)}" for name, row in value.items())
            if isinstance(value, dict)
            else ""
        )
        parts.append(f" {json.dumps(key)}: " + (f"{{\n{inner}\n }}" if inner else json.dumps(value)))
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _rounded(values: NDArray[np.floating], digits: int) -> list[float]:
    return [round(float(value), digits) for value in values]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speech", type=Path, help="folder with manifest.tsv")
    parser.add_argument("--venv", type=Path, help="virtual environment for the public package, kept for the next time")
    parser.add_argument("--golden", type=Path, help="where to record the public package's figures")
    parser.add_argument("--health", type=Path, help="where to record what `vecsv models check` compares with")
    arguments = parser.parse_args()

    with (arguments.speech / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    corpora = np.array([row["path"].split("/")[0] for row in table])
    recordings = [(arguments.speech / row["path"]).resolve() for row in table]

    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        scratch = Path(folder)
        made = []
        health = {f"health {seconds} s": speech_like(seconds, seed) for seconds, seed in HEALTH_SIGNALS}
        for number, signal in enumerate((synthetic.signals() | health).values()):
            made.append(scratch / f"synthetic-{number}.wav")
            soundfile.write(made[-1], signal, synthetic.RATE, subtype="FLOAT")
        python = public_python((arguments.venv or scratch / "venv").resolve())
        paths = [*recordings, *made]
        public = dict(zip(("trimmed", "untrimmed"), public_embeddings(python, paths, scratch), strict=True))

        bundle_folder = registry.locate("ge2e", on_message=print)
        untrimming = replace(ge2e.FRONTEND, trimming=None)
        started = time.perf_counter()
        ours = {"trimmed": our_embeddings(ge2e.load(bundle_folder), paths)}
        print(f"vecsv: {len(paths)} recordings in {time.perf_counter() - started:.0f} s, one at a time")
        ours["untrimmed"] = our_embeddings(variant(bundle_folder, scratch / "variant", frontend=untrimming), paths)

    good = compare(np.array([*corpora, *["synthetic"] * len(made)]), ours, public)
    chosen = np.flatnonzero(corpora == GOLDEN_CORPUS)
    speakers = [table[place]["speaker"] for place in chosen]
    print(f"\nequal error rate, {GOLDEN_CORPUS}, all pairs of {len(chosen)} recordings:")
    for kind in ours:
        rates = all_pairs_eer(ours[kind][chosen], speakers), all_pairs_eer(public[kind][chosen], speakers)
        print(f"  {kind:9}  ours {rates[0]:.4%}, public {rates[1]:.4%}")
    good = good and all_pairs_eer(ours["trimmed"][chosen], speakers) <= MOST_EER
    if arguments.golden:
        write_golden(
            arguments.golden,
            public["trimmed"][len(recordings) : len(recordings) + len(synthetic.signals())],
            list(synthetic.signals()),
            public["trimmed"][chosen],
            [table[place]["path"] for place in chosen],
        )
    if arguments.health:
        write_health(arguments.health, public["trimmed"][-len(HEALTH_SIGNALS) :])
    print("\nparity holds" if good else "\nPARITY DOES NOT HOLD")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
