"""After an erasure nothing of the person is left, everybody else is as before, and no number is given again."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.sounds import write
from tests.fixtures.stores import (
    Content,
    read_content,
    read_enrolments,
    require_whole,
    speak,
    strangers,
    traces,
    write_speakers,
)
from vecsv.arrays import Vectors
from vecsv.audio.decode import Clip
from vecsv.calibration.operating_points import operating_points
from vecsv.calibration.record import TRIALS_FILE
from vecsv.calibration.run import CalibrateSettings, calibrate, calibration_in_force
from vecsv.cli.app import main
from vecsv.embedding.run import EmbedSettings, embed_manifest
from vecsv.errors import StoreError
from vecsv.index.build import build_index
from vecsv.query.enroll import enroll
from vecsv.query.erase import Receipt, erase
from vecsv.query.people import speakers
from vecsv.store.generation import require_latest
from vecsv.store.reader import Snapshot

ROOT = Path(__file__).parents[2]
ZOE = "Zoë Quäckenbush"
OTHERS = ("ann", "bob", "cyd", "dov", "eve")
SETTINGS = EmbedSettings(workers=2, rows_per_shard=8, seconds_per_commit=1e9)
EMBEDDER = SpectralEmbedder()


def _make_store(folder: Path) -> Path:
    """Six people in a few shards, Zoë among them in every way there is to be in a store."""
    manifest = write_speakers(folder / "corpus", [*OTHERS[:3], ZOE, *OTHERS[3:]], 7)
    lines = manifest.read_text(encoding="utf-8").splitlines()
    lines += [f"zq-missing-0815.wav\t{ZOE}", "lost.wav\tann", lines[22], f"{ZOE}/001.wav\tbob"]
    (folder / "corpus" / ZOE / "001.wav").write_bytes(b"")
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    store = folder / "store"
    embed_manifest(manifest, store, EMBEDDER, SETTINGS)
    build_index(store)
    calibrate(store)
    calibrate(store, CalibrateSettings(name="second", ratio=3, seed=5))
    for speaker, take in ((ZOE, 50), ("ann", 51), (ZOE, 52), ("fay", 53)):
        recording = write(folder / "enrol" / f"enrol-{speaker}-{take}.wav", speak(speaker, take))
        enroll(store, EMBEDDER, speaker, [Clip(recording)], [recording.name])
    return store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The store of `_make_store`."""
    return _make_store(tmp_path)


def _vectors(content: Content) -> list[bytes]:
    """Every vector anywhere in a store: of rows, index and enrolments."""
    indexed = [] if content.indexed is None else list(content.indexed.values())
    return [row["embedding"] for row in content.rows] + indexed + [one[-1] for one in content.enrolments]


def _matrix(vectors: list[bytes]) -> Vectors:
    return np.stack([np.frombuffer(vector, np.float32) for vector in vectors])


def _belongings(content: Content, speaker: str) -> tuple[set[str], list[bytes]]:
    """The words and the vectors that tell of a speaker."""
    rows = [row for row in content.rows if row["speaker"] == speaker]
    enrolled = [one for one in content.enrolments if one[0] == speaker]
    failed = [row for row in content.failures if row["speaker"] == speaker]
    words = {speaker, *(row["utt_id"] for row in rows + failed), *(row["path"] for row in rows + failed)}
    words |= {str(field) for one in enrolled for field in one[1:3]}
    return words, [row["embedding"] for row in rows] + [one[-1] for one in enrolled]


def test_no_vector_and_no_word_of_the_erased_is_left_anywhere(store: Path) -> None:
    before = read_content(store)
    words, vectors = _belongings(before, ZOE)
    assert len(vectors) == 8
    assert len(words) > 10
    # What is looked for can be found: every word of it is in the store now.
    assert {trace.split(": ", 1)[1].rsplit(" in its", 1)[0] for trace in traces(store, sorted(words))} == words
    assert traces(store, [], vectors)

    erase(store, ZOE)

    after = require_whole(store)
    assert traces(store, [*words, "Zoë", "Quäckenbush", "zq-missing-0815"], vectors) == []
    assert float((_matrix(_vectors(after)) @ _matrix(vectors).T).max()) < 0.9999
    assert strangers(store) == []
    assert ZOE not in {speaker.speaker for speaker in speakers(store)}


def test_everybody_else_stays_as_they_were(store: Path) -> None:
    before = read_content(store)
    _, vectors = _belongings(before, ZOE)
    receipt = erase(store, ZOE)
    after = read_content(store)
    assert after.rows == tuple(row for row in before.rows if row["speaker"] != ZOE)
    assert after.enrolments == tuple(one for one in before.enrolments if one[0] != ZOE)
    assert before.indexed is not None
    assert after.indexed == {row_id: one for row_id, one in before.indexed.items() if one not in vectors}
    # Of the ledger only what does not name Zoë or a recording of hers is left.
    assert [(row["utt_id"], row["speaker"]) for row in after.failures] == [("lost.wav", "ann")]
    assert receipt.embeddings == 6
    assert receipt.enrolments == 2
    assert receipt.failures == len(before.failures) - 1


def test_calibrations_rest_on_the_trials_that_are_left(store: Path) -> None:
    before = Snapshot.open(store)
    erased = {row["row_id"] for row in read_content(store).rows if row["speaker"] == ZOE}
    trials_before = {
        name: pq.ParquetFile(store / place / TRIALS_FILE).read().to_pylist()
        for name, place in before.generation.calibrations.items()
    }
    assert set(trials_before) == {"default", "second"}
    receipt = erase(store, ZOE)
    after = Snapshot.open(store)
    gone = 0
    for name, trials in trials_before.items():
        kept = [one for one in trials if not erased & {one["first_row_id"], one["second_row_id"]}]
        gone += len(trials) - len(kept)
        place = after.generation.calibrations[name]
        assert pq.ParquetFile(store / place / TRIALS_FILE).read().to_pylist() == kept
        calibration = calibration_in_force(after, name)
        assert calibration is not None
        scores = np.array([one["score"] for one in kept], np.float32)
        labels = np.array([one["target"] for one in kept])
        assert calibration.points == operating_points(scores, labels)
        assert (calibration.basis.targets, calibration.basis.non_targets) == (labels.sum(), (~labels).sum())
        assert (calibration.basis.speakers, calibration.basis.utterances) == (5, 35)
    assert receipt.trials == gone > 0
    assert receipt.calibrations_dropped == ()


def test_row_ids_and_shard_numbers_of_the_erased_are_never_given_again(store: Path, tmp_path: Path) -> None:
    before = require_latest(store)
    erase(store, read_content(store).rows[-1]["speaker"])
    manifest = write_speakers(tmp_path / "more", ["gil", "hal"], 3)
    embed_manifest(manifest, store, EMBEDDER, SETTINGS)
    after = read_content(store)
    assert [row["row_id"] for row in after.rows][-6:] == list(range(before.next_row_id, before.next_row_id + 6))
    assert require_latest(store).next_part == before.next_part + 1
    require_whole(store)


def test_the_receipt_is_kept_and_does_not_name_the_erased(store: Path) -> None:
    receipt = erase(store, ZOE)
    (path,) = (store / "receipts").iterdir()
    assert path.name == f"{receipt.receipt}.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    dropped = tuple(document.pop("calibrations_dropped"))
    assert Receipt(**document, calibrations_dropped=dropped) == receipt
    assert receipt.generation == require_latest(store).number


def _files(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_erasing_somebody_unknown_is_an_error_that_changes_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _files(store)
    monkeypatch.setattr(sys, "argv", ["vecsv", "erase", "--yes", "--speaker", "Zoë", "--store", str(store)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.err == f"vecsv: {store}: no speaker is called 'Zoë' (vecsv speakers lists them)\n"
    assert said.out == ""
    assert _files(store) == before


def test_erasing_everybody_leaves_an_empty_store_that_can_be_filled_again(store: Path, tmp_path: Path) -> None:
    next_row_id = require_latest(store).next_row_id
    dropped: list[str] = []
    for speaker in [one.speaker for one in speakers(store)]:
        dropped += erase(store, speaker).calibrations_dropped
    assert sorted(dropped) == ["default", "second"]
    empty = require_whole(store)
    assert (empty.rows, empty.failures, empty.indexed, empty.calibrations, empty.enrolments) == ((), (), None, {}, ())
    assert strangers(store) == []
    with pytest.raises(StoreError, match="holds no embeddings"):
        build_index(store)

    embed_manifest(write_speakers(tmp_path / "anew", ["ann", ZOE], 3), store, EMBEDDER, SETTINGS)
    build_index(store)
    calibrate(store)
    filled = require_whole(store)
    assert [row["row_id"] for row in filled.rows] == list(range(next_row_id, next_row_id + 6))


def test_somebody_who_is_only_enrolled_or_only_in_the_ledger_can_be_erased(store: Path) -> None:
    before = read_content(store)
    receipt = erase(store, "fay")
    assert (receipt.embeddings, receipt.enrolments) == (0, 1)
    assert [one[0] for one in read_enrolments(store)] == [one[0] for one in before.enrolments if one[0] != "fay"]
    assert traces(store, ["fay"]) == []
    assert read_content(store).rows == before.rows


def test_a_failed_row_of_somebody_else_stays_although_its_reason_has_the_erased_name_in_it(tmp_path: Path) -> None:
    manifest = write_speakers(tmp_path / "corpus", ["no", "ann"], 2)
    with manifest.open("a", encoding="utf-8") as file:
        file.write("lost.wav\tann\n")
    store = tmp_path / "store"
    embed_manifest(manifest, store, EMBEDDER, SETTINGS)
    before = read_content(store).failures
    assert [row["reason"] for row in before] == ["no such file"]
    assert erase(store, "no").failures == 0
    assert read_content(store).failures == before


def test_a_bad_row_whose_reason_cites_the_erased_goes_with_them(tmp_path: Path) -> None:
    manifest = tmp_path / "corpus" / "train.tsv"
    write_speakers(tmp_path / "corpus", [ZOE, "ann"], 1)
    rows = [f"{ZOE}/000.wav\t{ZOE}\t1", f"ann/000.wav\tann\t{ZOE}", "ann/000.wav\tann\tleft"]
    manifest.write_text("path\tspeaker\tchannel\n" + "\n".join(rows) + "\n", encoding="utf-8")
    store = tmp_path / "store"
    embed_manifest(manifest, store, EMBEDDER, SETTINGS)
    assert len(read_content(store).failures) == 2
    assert erase(store, ZOE).failures == 1
    assert traces(store, [ZOE]) == []
    assert len(read_content(store).failures) == 1


def test_a_real_models_store_holds_nothing_of_the_erased_either(
    voices: Path, ge2e_folder: Path, tmp_path: Path
) -> None:
    chosen = [row for row in (voices / "train.tsv").read_text(encoding="utf-8").splitlines() if row[-1] in "0123"]
    rows = [row for row in chosen if row.split("/")[1][:3] in {"000", "001", "002"}]
    manifest = tmp_path / "train.tsv"
    manifest.write_text("".join(f"{voices}/{row}\n" for row in rows), encoding="utf-8")
    erased = rows[3].split("\t")[1]
    store = tmp_path / "store"

    def vecsv(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "vecsv", *arguments, "--store", str(store)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    vecsv("embed", "--manifest", str(manifest), "--model", str(ge2e_folder))
    vecsv("index", "build")
    vecsv("calibrate")
    vecsv("enroll", "--model", str(ge2e_folder), "--speaker", erased, str(voices / erased / "003.wav"))
    before = read_content(store)
    words, vectors = _belongings(before, erased)
    assert len(vectors) == 4
    receipt = json.loads(vecsv("erase", "--yes", "--json", "--speaker", erased))
    assert (receipt["speaker"], receipt["embeddings"], receipt["enrolments"]) == (erased, 3, 1)
    after = require_whole(store)
    assert traces(store, sorted(words), vectors) == []
    assert float((_matrix(_vectors(after)) @ _matrix(vectors).T).max()) < 0.9999
    assert after.rows == tuple(row for row in before.rows if row["speaker"] != erased)
