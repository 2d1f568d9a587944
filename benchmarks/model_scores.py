"""How well models tell people apart on each corpus of a folder of real recordings: EER and minDCF over all pairs.

    python benchmarks/model_scores.py SPEECH MODEL [MODEL ...]

SPEECH holds ``manifest.tsv`` with a header; a corpus is the first folder of a path. Pairs are all pairs of recordings
of a corpus, those of one session too. No recording is left out for silence or noise: each is embedded whole, and of
the corpus named by ``--first`` also the first seconds alone.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from vecsv.audio.activity import WINDOW_SECONDS, Activity
from vecsv.audio.decode import Clip, read
from vecsv.calibration.metrics import eer, min_dcf
from vecsv.cli import show
from vecsv.manifest import BadRow, read_manifest
from vecsv.models import registry
from vecsv.models.protocol import Embedder
from vecsv.training.development import P_TARGET, pair_counts


def vectors(model: Embedder, paths: list[Path], seconds: float | None) -> NDArray[np.float32]:
    """Embed recordings, or their first seconds."""
    rows = []
    for path in paths:
        wave = read(Clip(path), sample_rate=model.sample_rate)
        if seconds is not None:
            wave = wave[: round(seconds * model.sample_rate)]
        everything = np.ones(max(1, int(wave.size / model.sample_rate / WINDOW_SECONDS)), dtype=np.bool_)
        rows.append(model.embed([model.prepare(wave, Activity(everything))])[0])
    return np.stack(rows)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Score models on real recordings.")
    parser.add_argument("speech", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--first", default="librispeech-test-other")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--least", type=int, default=4, help="recordings a speaker, or a corpus is passed over")
    given = parser.parse_args()

    corpora: dict[str, list[tuple[Path, str]]] = defaultdict(list)
    for row in read_manifest(given.speech / "manifest.tsv"):
        if not isinstance(row, BadRow):
            corpora[Path(row.written_path).parts[0]].append((row.path, row.speaker))
    rows: list[tuple[object, ...]] = []
    for name, recordings in corpora.items():
        speakers = np.array([speaker for _, speaker in recordings])
        people = np.unique(speakers).size
        if people < 2 or len(recordings) < given.least * people / 2:
            continue
        for seconds in (given.seconds, None) if name == given.first else (None,):
            cells: list[object] = [name, "whole" if seconds is None else f"first {seconds:g} s"]
            for model in given.models:
                embedder = registry.load(model)
                counts = pair_counts(vectors(embedder, [path for path, _ in recordings], seconds), speakers)
                cells.append(f"{eer(counts):.2%} ({min_dcf(counts, P_TARGET).normalised:.2f})")
            rows.append(tuple(cells))
    print("EER (minDCF at a prior of 0.01), all pairs")
    show.table(["corpus", "of each", *given.models], rows, right=range(2, 2 + len(given.models)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
