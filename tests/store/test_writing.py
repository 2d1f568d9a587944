from pathlib import Path

import pytest

from tests.store.rows import embedded, make_store
from vecsv.errors import StoreBusyError, StoreError
from vecsv.store.generation import commit
from vecsv.store.writing import sweep, writer


def test_a_second_writer_is_refused_at_once(tmp_path: Path) -> None:
    make_store(tmp_path, [embedded(0)])
    with (
        writer(tmp_path),
        pytest.raises(StoreBusyError, match="another vecsv process is writing"),
        writer(tmp_path),
    ):
        pass


def test_the_lock_is_free_again_after_a_failure(tmp_path: Path) -> None:
    make_store(tmp_path, [embedded(0)])
    with pytest.raises(RuntimeError), writer(tmp_path):
        raise RuntimeError
    with writer(tmp_path):
        pass


def test_writing_to_no_store_is_refused_unless_it_is_to_be_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store here"), writer(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()
    with writer(tmp_path / "new", create=True):
        assert (tmp_path / "new").is_dir()


def test_a_sweep_removes_what_no_generation_names_and_nothing_else(tmp_path: Path) -> None:
    generation = make_store(tmp_path, [embedded(0)], [embedded(1)])
    commit(tmp_path, generation.successor(shards=generation.shards[1:]))
    stray = [
        tmp_path / "embeddings" / ".part-00007.parquet.123.tmp",
        tmp_path / "manifests" / ".00000003.json.123.tmp",
        tmp_path / "index" / "00000009" / "index.faiss",
        tmp_path / "calibration" / "default" / "00000009" / "thresholds.json",
    ]
    for path in stray:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "README.md").write_text("kept: not ours to remove")
    assert sweep(tmp_path) == 6
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"README.md", "manifests/00000002.json", generation.shards[1].file}
