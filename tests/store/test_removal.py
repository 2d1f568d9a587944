from pathlib import Path

from tests.store.rows import embedded, failed, make_store
from vecsv.store.parts import read_part
from vecsv.store.reader import Snapshot
from vecsv.store.removal import without_failures_of, without_speaker


def test_only_the_speakers_rows_go_and_only_their_shards_are_rewritten(tmp_path: Path) -> None:
    generation = make_store(
        tmp_path, [embedded(0, "ann"), embedded(1, "ben")], [embedded(2, "ben")], [embedded(3, "ann")]
    )
    removal = without_speaker(tmp_path, generation, "ann")
    assert removal.row_ids.tolist() == [0, 3]
    assert removal.files_rewritten == 2
    assert removal.shards[1] == generation.shards[1]
    left = Snapshot(tmp_path, generation.successor(shards=removal.shards)).table(["row_id", "utt_id"])
    assert left.to_pylist() == [{"row_id": 1, "utt_id": "utt-1"}, {"row_id": 2, "utt_id": "utt-2"}]


def test_a_rewritten_shard_keeps_its_number_and_the_old_file_is_still_there(tmp_path: Path) -> None:
    generation = make_store(tmp_path, [embedded(0, "ann"), embedded(1, "ben")])
    removal = without_speaker(tmp_path, generation, "ann")
    assert removal.shards[0].file.startswith("embeddings/part-00000-")
    assert read_part(tmp_path, generation.shards[0]).num_rows == 2


def test_ledger_rows_that_mention_the_speaker_in_any_column_go(tmp_path: Path) -> None:
    generation = make_store(
        tmp_path,
        [embedded(0, "ann")],
        failures=[
            failed(1, "ann"),
            failed(2, "ben"),
            failed(3, "ben", utt_id="utt-0", code="claimed"),
            failed(4, "ben", reason="as /audio/ann/0.wav has it"),
            failed(5, None),
        ],
    )
    removal = without_speaker(tmp_path, generation, "ann")
    assert removal.failures_removed == 3
    left = Snapshot(tmp_path, generation.successor(failures=removal.failures)).failures()
    assert left.column("line").to_pylist() == [2, 5]


def test_a_speaker_who_is_not_there_changes_no_file(tmp_path: Path) -> None:
    generation = make_store(tmp_path, [embedded(0, "ann")], failures=[failed(1, "ben")])
    removal = without_speaker(tmp_path, generation, "nobody")
    assert (removal.shards, removal.failures) == (generation.shards, generation.failures)
    assert len(removal.row_ids) == 0


def test_one_manifests_failures_can_be_forgotten(tmp_path: Path) -> None:
    generation = make_store(tmp_path, failures=[failed(1), failed(2, manifest="/lists/dev.tsv")])
    parts = without_failures_of(tmp_path, generation, "/lists/dev.tsv")
    assert Snapshot(tmp_path, generation.successor(failures=parts)).failures().column("line").to_pylist() == [1]
