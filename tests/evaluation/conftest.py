"""Made-up speakers with a manifest that has columns, and a store of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.stores import write_speakers
from vecsv.arrays import Vectors
from vecsv.audio.decode import Clip
from vecsv.embedding.recordings import embed_all
from vecsv.embedding.run import embed_manifest

SPEAKERS, UTTERANCES = 6, 4
Embedded = dict[str, Vectors]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of recordings with `train.tsv`: path, speaker, session, device, noise; read-only.

    The first two recordings of each speaker are by phone, the others by headset; `noise` is known of every third.
    """
    folder = tmp_path_factory.mktemp("corpus")
    write_speakers(folder, SPEAKERS, UTTERANCES)
    lines = ["path\tspeaker\tsession\tdevice\tnoise"]
    for number, line in enumerate((folder / "train.tsv").read_text(encoding="utf-8").splitlines()):
        path, speaker = line.split("\t")
        take = number % UTTERANCES
        device = "phone" if take < UTTERANCES // 2 else "headset"
        lines.append(f"{path}\t{speaker}\t{speaker}-{take // 3}\t{device}\t{'street' if number % 3 == 0 else ''}")
    (folder / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def store(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the corpus; read-only."""
    folder = tmp_path_factory.mktemp("store") / "index"
    embed_manifest(corpus / "train.tsv", folder, SpectralEmbedder())
    return folder


@pytest.fixture(scope="session")
def embedded(corpus: Path) -> Embedded:
    """The embedding of each recording by its path in the manifest, each made on its own."""
    paths = [str(path.relative_to(corpus)) for path in sorted(corpus.rglob("*.wav"))]
    model = SpectralEmbedder()
    return {path: embed_all(model, [Clip(corpus / path)])[0].vector for path in paths}


def speaker_of(path: str) -> str:
    return path.split("/", maxsplit=1)[0]


def all_pairs(embedded: Embedded) -> tuple[list[tuple[bool, str, str]], np.ndarray[tuple[int], np.dtype[np.float32]]]:
    """Every pair of recordings and its score, one at a time."""
    names = sorted(embedded)
    pairs = [(one, other) for at, one in enumerate(names) for other in names[at + 1 :]]
    trials = [(speaker_of(one) == speaker_of(other), one, other) for one, other in pairs]
    wide = {name: vector.astype(np.float64) for name, vector in embedded.items()}
    return trials, np.array([np.dot(wide[one], wide[other]) for one, other in pairs], np.float32)
