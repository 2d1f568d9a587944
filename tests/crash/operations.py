"""Everything that writes to a store, as functions that can be run again and again on copies of one."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.sounds import write
from tests.fixtures.stores import speak, write_speakers
from vecsv.audio.decode import Clip
from vecsv.calibration.run import calibrate
from vecsv.calibration.search_run import SearchSettings, calibrate_search
from vecsv.embedding.run import EmbedSettings, EmbedSummary, embed_manifest
from vecsv.index.build import build_index
from vecsv.query.enroll import enroll
from vecsv.query.erase import erase
from vecsv.store import enrolments
from vecsv.store.sealing import make_key_file

#: Whom `erase` erases: this speaker has embeddings, a failed row, trials, a place in the index and an enrolment.
ERASED = "speaker-001"
#: In the ground: the key that `seal` seals enrolments with, named by the environment in tests of it.
KEY_FILE = "enrolment.key"
SEARCHES = SearchSettings(fpir=0.2)
ENROLLED = "speaker-001", "newcomer", "newcomer"

Acknowledge = Callable[[str], None]
Progress = Callable[[EmbedSummary], None]


def make_ground(ground: Path) -> Path:
    """Make recordings and a store over the first of them, indexed, calibrated and with an enrolment.

    The store is ``ground/store``; operations are meant for copies of it.
    """
    corpus = ground / "corpus"
    manifest = write_speakers(corpus, 4, 5)
    with manifest.open("a", encoding="utf-8") as file:
        file.write(f"{ERASED}/gone.wav\t{ERASED}\nno speaker here\n")
    rows = []
    for number in range(4):
        for take in range(5, 10):
            path = f"speaker-{number:03d}/{take:03d}.wav"
            write(corpus / path, speak(f"speaker-{number:03d}", take))
            rows.append(f"{path}\tspeaker-{number:03d}\n")
    rows[8:8] = ["lost.wav\tspeaker-000\n", rows[3], "one column\n"]
    (corpus / "more.tsv").write_text("".join(rows), encoding="utf-8")
    for take in range(5):
        write(corpus / "enrol" / f"{take}.wav", speak("enrolled", take))
    store = ground / "store"
    _embed(ground, store, "train.tsv")
    build_index(store)
    calibrate(store)
    calibrate_search(store, SEARCHES)
    _enroll(ground, store, ERASED, 3)
    _enroll(ground, store, "speaker-002", 4)
    make_key_file(ground / KEY_FILE)
    return store


def _embed(ground: Path, store: Path, manifest: str, progress: Progress | None = None) -> EmbedSummary:
    settings = EmbedSettings(workers=2, rows_per_shard=8, seconds_per_commit=1e9)
    return embed_manifest(ground / "corpus" / manifest, store, SpectralEmbedder(), settings, progress=progress)


def _enroll(ground: Path, store: Path, speaker: str, take: int) -> None:
    recording = ground / "corpus" / "enrol" / f"{take}.wav"
    enroll(store, SpectralEmbedder(), speaker, [Clip(recording)], [recording.name])


def _embed_more(ground: Path, store: Path, acknowledge: Acknowledge) -> None:
    # 20 good rows and 3 bad ones: several shards, the last one not full.
    _embed(ground, store, "more.tsv", lambda so_far: acknowledge(str(so_far.settled)))


def _embed_first(ground: Path, store: Path, acknowledge: Acknowledge) -> None:
    _embed(ground, store, "train.tsv", lambda so_far: acknowledge(str(so_far.settled)))


def _build_index(_ground: Path, store: Path, acknowledge: Acknowledge) -> None:
    build_index(store)
    acknowledge("index")


def _calibrate(_ground: Path, store: Path, acknowledge: Acknowledge) -> None:
    calibrate(store)
    acknowledge("calibration")


def _calibrate_search(_ground: Path, store: Path, acknowledge: Acknowledge) -> None:
    calibrate_search(store, SEARCHES)
    acknowledge("search calibration")


def _enroll_three(ground: Path, store: Path, acknowledge: Acknowledge) -> None:
    for take, speaker in enumerate(ENROLLED):
        _enroll(ground, store, speaker, take)
        acknowledge(f"{speaker} {take}.wav")


def _erase(_ground: Path, store: Path, acknowledge: Acknowledge) -> None:
    erase(store, ERASED)
    acknowledge(ERASED)


def _seal(_ground: Path, store: Path, acknowledge: Acknowledge) -> None:
    enrolments.seal(store)
    acknowledge("sealed")


Operation = Callable[[Path, Path, Acknowledge], None]

#: Each takes the ground, a store to work on, and a function that is told what was acknowledged.
OPERATIONS: Mapping[str, Operation] = {
    "embed": _embed_more,
    "first-embed": _embed_first,
    "index": _build_index,
    "calibrate": _calibrate,
    "calibrate-search": _calibrate_search,
    "enroll": _enroll_three,
    "first-enroll": _enroll_three,
    "erase": _erase,
    "seal": _seal,
}


def prepare(ground: Path, operation: str, store: Path) -> None:
    """Put into `store` what `operation` starts from: a copy of the ground's store, or nothing for the first of all."""
    if not operation.startswith("first-"):
        shutil.copytree(ground / "store", store)


def run(ground: Path, operation: str, store: Path) -> list[str]:
    """Run an operation to its end; returns what it acknowledged."""
    acknowledged: list[str] = []
    OPERATIONS[operation](ground, store, acknowledged.append)
    return acknowledged
