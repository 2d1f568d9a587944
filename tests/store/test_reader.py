from pathlib import Path

import numpy as np
import pytest

from tests.store.rows import DIM, embedded, failed, make_store
from vecsv.errors import StoreError
from vecsv.store.generation import commit, require_latest
from vecsv.store.parts import write_embeddings
from vecsv.store.reader import Snapshot, read_consistently
from vecsv.store.writing import sweep


def test_columns_come_in_row_id_order_over_shards(tmp_path: Path) -> None:
    make_store(tmp_path, [embedded(5), embedded(3)], [embedded(9)])
    table = Snapshot.open(tmp_path).table(["utt_id", "row_id"])
    assert table.column_names == ["utt_id", "row_id"]
    assert table.column("row_id").to_pylist() == [0, 1, 2]
    assert table.column("utt_id").to_pylist() == ["utt-5", "utt-3", "utt-9"]


def test_vectors_can_be_chosen_by_row_id(tmp_path: Path) -> None:
    rows = [embedded(n) for n in range(5)]
    make_store(tmp_path, rows[:3], rows[3:])
    ids, vectors = Snapshot.open(tmp_path).vectors(np.array([4, 1]))
    assert ids.tolist() == [1, 4]
    assert np.array_equal(vectors, np.stack([rows[1].embedding, rows[4].embedding]))


def test_an_empty_store_has_tables_of_no_rows(tmp_path: Path) -> None:
    make_store(tmp_path)
    snapshot = Snapshot.open(tmp_path)
    assert snapshot.table(["speaker", "extra"]).num_rows == 0
    assert snapshot.vectors()[1].shape == (0, DIM)
    assert snapshot.vectors_of_speaker("ann").shape == (0, DIM)
    assert snapshot.failures().num_rows == 0


def test_a_speakers_vectors_are_only_theirs(tmp_path: Path) -> None:
    rows = [embedded(0, "ann"), embedded(1, "ben"), embedded(2, "ann")]
    make_store(tmp_path, rows[:2], rows[2:])
    found = Snapshot.open(tmp_path).vectors_of_speaker("ann")
    assert np.array_equal(found, np.stack([rows[0].embedding, rows[2].embedding]))


def test_failures_of_all_ledgers_are_read(tmp_path: Path) -> None:
    make_store(tmp_path, [embedded(0)], failures=[failed(1), failed(2)])
    assert Snapshot.open(tmp_path).failures().column("line").to_pylist() == [1, 2]


def test_a_reader_whose_files_were_replaced_starts_over_with_the_new_generation(tmp_path: Path) -> None:
    generation = make_store(tmp_path, [embedded(0)])
    calls = []

    def read(snapshot: Snapshot) -> list[str]:
        if not calls:
            part = write_embeddings(tmp_path, generation, [embedded(1)], first_row_id=1, part=1)
            commit(tmp_path, generation.successor(shards=(part,)))
            sweep(tmp_path)
        calls.append(snapshot.generation.number)
        ids: list[str] = snapshot.table(["utt_id"]).column("utt_id").to_pylist()
        return ids

    assert read_consistently(tmp_path, read) == ["utt-1"]
    assert calls == [1, 2]


def test_a_missing_file_of_the_last_generation_is_damage(tmp_path: Path) -> None:
    make_store(tmp_path, [embedded(0)])
    (tmp_path / require_latest(tmp_path).shards[0].file).unlink()
    with pytest.raises(StoreError, match="damaged"):
        read_consistently(tmp_path, lambda snapshot: snapshot.table(["utt_id"]))
