from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.errors import FingerprintMismatchError, StoreBusyError, StoreError
from vecsv.store.generation import (
    Generation,
    IndexInForce,
    Part,
    commit,
    latest,
    manifest_path,
    open_or_create,
    require_latest,
)

parts = st.builds(Part, file=st.text(), rows=st.integers(0), sha256=st.text())
generations = st.builds(
    Generation,
    number=st.integers(1),
    model=st.text(),
    fingerprint=st.text(),
    dim=st.integers(1),
    next_row_id=st.integers(0),
    next_part=st.integers(0),
    shards=st.lists(parts).map(tuple),
    failures=st.lists(parts).map(tuple),
    index=st.none() | st.builds(IndexInForce, folder=st.text(), rows=st.integers(0), next_row_id=st.integers(0)),
    calibrations=st.dictionaries(st.text(), st.text()),
)


def first(**changes: object) -> Generation:
    return Generation(1, model="m", fingerprint="f" * 64, dim=4, **changes)  # type: ignore[arg-type]


@given(generations)
def test_json_round_trip_gives_the_same_generation(generation: Generation) -> None:
    assert Generation.from_json(generation.to_json(), where="here") == generation


def test_readers_see_the_highest_number(tmp_path: Path) -> None:
    commit(tmp_path, first())
    commit(tmp_path, first().successor(next_row_id=7))
    assert require_latest(tmp_path).next_row_id == 7


def test_two_writers_cannot_commit_the_same_generation(tmp_path: Path) -> None:
    commit(tmp_path, first())
    with pytest.raises(StoreBusyError, match="meanwhile"):
        commit(tmp_path, first(next_row_id=9))
    assert require_latest(tmp_path).next_row_id == 0


def test_no_store_is_none_or_an_error_that_says_how_to_make_one(tmp_path: Path) -> None:
    assert latest(tmp_path / "absent") is None
    with pytest.raises(StoreError, match="vecsv embed"):
        require_latest(tmp_path)


def test_a_file_in_place_of_the_store_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert latest(tmp_path / "file") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', "not json"])
def test_a_damaged_manifest_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    path = manifest_path(tmp_path, 1)
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(StoreError, match=r"00000001\.json: not a store manifest"):
        latest(tmp_path)


def test_a_later_format_is_refused_by_its_number(tmp_path: Path) -> None:
    path = manifest_path(tmp_path, 1)
    path.parent.mkdir()
    path.write_text(first().to_json().replace('"format": 1', '"format": 2'))
    with pytest.raises(StoreError, match="format 2, this vecsv reads format 1"):
        latest(tmp_path)


def test_another_models_embeddings_are_refused_naming_both(tmp_path: Path) -> None:
    open_or_create(tmp_path, model="m", fingerprint="a" * 64, dim=4)
    with pytest.raises(FingerprintMismatchError, match=r"aaaaaaaaaaaa.*bbbbbbbbbbbb.*embed the recordings again"):
        open_or_create(tmp_path, model="n", fingerprint="b" * 64, dim=4)


def test_opening_an_existing_store_changes_nothing(tmp_path: Path) -> None:
    made = open_or_create(tmp_path, model="m", fingerprint="a" * 64, dim=4)
    assert open_or_create(tmp_path, model="m", fingerprint="a" * 64, dim=4) == made
    assert len(list((tmp_path / "manifests").iterdir())) == 1
