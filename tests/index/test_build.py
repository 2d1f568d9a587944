import sys
from pathlib import Path

import numpy as np
import pytest

from tests.store.rows import embedded, make_store
from vecsv.errors import MissingDependencyError, StoreError
from vecsv.index.build import build_index, index_info, open_index
from vecsv.store.generation import commit, require_latest
from vecsv.store.parts import write_embeddings
from vecsv.store.reader import Snapshot, read_consistently


def test_the_index_finds_every_row_of_every_shard_and_knows_its_speaker(tmp_path: Path) -> None:
    rows = [embedded(n, speaker=f"s{n % 3}") for n in range(7)]
    make_store(tmp_path, rows[:4], rows[4:])
    info = build_index(tmp_path)
    assert (info.rows, info.speakers, info.rows_not_indexed, info.exact) == (7, 3, 0, True)
    opened = open_index(Snapshot.open(tmp_path))
    scores, ids = opened.vectors.search(np.stack([row.embedding for row in rows]), 1)
    assert ids[:, 0].tolist() == list(range(7))
    assert np.allclose(scores, 1, atol=1e-5)
    described = opened.rows.describe(ids[:, 0])
    assert [row["utt_id"] for row in described] == [row.utt_id for row in rows]
    names = opened.rows.speaker_names()
    assert [names[code] for code in opened.rows.speaker_codes(ids[:, 0])] == [row.speaker for row in rows]
    assert opened.rows.speaker_sizes().tolist() == [3, 2, 2]


def test_no_row_has_no_speaker(tmp_path: Path) -> None:
    make_store(tmp_path, [embedded(0)])
    build_index(tmp_path)
    assert open_index(Snapshot.open(tmp_path)).rows.speaker_codes(np.array([[0, -1]])).tolist() == [[0, -1]]


def test_rows_embedded_later_are_counted_as_not_indexed(tmp_path: Path) -> None:
    make_store(tmp_path, [embedded(0)])
    build_index(tmp_path)
    now = require_latest(tmp_path)
    part = write_embeddings(tmp_path, now, [embedded(1), embedded(2)], first_row_id=1, part=5)
    commit(tmp_path, now.successor(shards=(*now.shards, part), next_row_id=3))
    assert index_info(Snapshot.open(tmp_path)).rows_not_indexed == 2
    assert build_index(tmp_path).rows == 3


def test_building_again_leaves_one_index_on_disk(tmp_path: Path) -> None:
    make_store(tmp_path, [embedded(0)])
    build_index(tmp_path)
    build_index(tmp_path)
    assert len(list((tmp_path / "index").iterdir())) == 1


def test_an_empty_store_cannot_be_indexed(tmp_path: Path) -> None:
    make_store(tmp_path)
    with pytest.raises(StoreError, match="no embeddings yet"):
        build_index(tmp_path)


def test_without_an_index_the_error_says_how_to_make_one(tmp_path: Path) -> None:
    make_store(tmp_path, [embedded(0)])
    with pytest.raises(StoreError, match="vecsv index build"):
        read_consistently(tmp_path, index_info)


def test_an_index_of_the_wrong_size_is_damage(tmp_path: Path) -> None:
    make_store(tmp_path / "a", [embedded(0)])
    make_store(tmp_path / "b", [embedded(0), embedded(1)])
    build_index(tmp_path / "a")
    build_index(tmp_path / "b")
    wrong = (tmp_path / "b" / "index" / "00000002" / "index.faiss").read_bytes()
    (tmp_path / "a" / "index" / "00000002" / "index.faiss").write_bytes(wrong)
    with pytest.raises(StoreError, match="2 vectors where the store's manifest says 1"):
        open_index(Snapshot.open(tmp_path / "a"))


def test_without_faiss_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_store(tmp_path, [embedded(0)])
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingDependencyError, match=r"vecsv\[cpu\]"):
        build_index(tmp_path)
