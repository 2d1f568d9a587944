from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.rows import unit_vectors
from vecsv.errors import StoreError
from vecsv.index.flat import FlatIndex


def brute_force(vectors: np.ndarray, ids: np.ndarray, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores = vectors.astype(np.float64) @ query.astype(np.float64)
    best = np.argsort(-scores, kind="stable")[:k]
    return scores[best], ids[best]


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 300), k=st.integers(1, 20), seed=st.integers(0, 1000))
def test_scores_and_ids_are_those_of_brute_force(rows: int, k: int, seed: int) -> None:
    vectors, ids = unit_vectors(rows, seed, dim=16), np.random.default_rng(seed).permutation(rows * 3)[:rows]
    queries = unit_vectors(4, seed + 1, dim=16)
    index = FlatIndex.empty(16)
    index.add(ids, vectors)
    scores, found = index.search(queries, k)
    for query, query_scores, query_ids in zip(queries, scores, found, strict=True):
        expected_scores, expected_ids = brute_force(vectors, ids, query, k)
        given_back = min(k, rows)
        assert np.allclose(query_scores[:given_back], expected_scores, atol=1e-5)
        assert query_ids[:given_back].tolist() == expected_ids.tolist()
        assert (query_ids[given_back:] == -1).all()
        assert np.isneginf(query_scores[given_back:]).all()


def test_only_allowed_ids_are_returned() -> None:
    vectors = unit_vectors(50, dim=16)
    index = FlatIndex.empty(16)
    index.add(np.arange(50), vectors)
    allowed = np.array([3, 30])
    scores, ids = index.search(vectors[7:8], 5, allowed=allowed)
    assert sorted(ids[0, :2].tolist()) == [3, 30]
    assert ids[0, 2:].tolist() == [-1, -1, -1]
    assert np.allclose(sorted(scores[0, :2]), sorted(vectors[allowed] @ vectors[7]), atol=1e-5)


def test_removed_vectors_are_found_no_more() -> None:
    vectors = unit_vectors(10, dim=16)
    index = FlatIndex.empty(16)
    index.add(np.arange(10), vectors)
    assert index.remove(np.array([4, 99])) == 1
    assert index.ntotal == 9
    assert 4 not in index.search(vectors[4:5], 9)[1]


def test_a_saved_index_answers_as_before(tmp_path: Path) -> None:
    vectors = unit_vectors(20, dim=16)
    index = FlatIndex.empty(16)
    index.add(np.arange(100, 120), vectors)
    index.save(tmp_path / "index.faiss")
    loaded = FlatIndex.load(tmp_path / "index.faiss")
    assert np.array_equal(loaded.search(vectors, 3)[1], index.search(vectors, 3)[1])
    assert np.array_equal(loaded.vectors(), vectors)


def test_a_damaged_index_file_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "index.faiss").write_bytes(b"not an index")
    with pytest.raises(StoreError, match="vecsv index build"):
        FlatIndex.load(tmp_path / "index.faiss")
    with pytest.raises(FileNotFoundError):
        FlatIndex.load(tmp_path / "absent.faiss")
