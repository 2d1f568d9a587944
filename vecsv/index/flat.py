"""The exact index: FAISS's flat inner-product index, with ids."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vecsv.arrays import RowIds, Scores, Vectors
from vecsv.errors import MissingDependencyError, StoreError

FACTORY = "IDMap,Flat"


def import_faiss() -> ModuleType:
    """The faiss module.

    Raises
    ------
    MissingDependencyError
        When neither of its wheels is installed. They overwrite each other, so vecsv depends on neither by itself.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingDependencyError(
            "searching needs FAISS, which is not installed",
            hint="pip install 'vecsv[cpu]', or 'vecsv[gpu]' on a machine with a GPU",
        ) from error
    module: ModuleType = faiss
    return module


class FlatIndex:
    """Exact inner-product search over all vectors.

    Examples
    --------
    >>> index = FlatIndex.empty(2)
    >>> index.add(np.array([7, 9]), np.array([[1, 0], [0, 1]], dtype=np.float32))
    >>> scores, ids = index.search(np.array([[0.6, 0.8]], dtype=np.float32), k=3)
    >>> ids.tolist(), scores.round(3).tolist()
    ([[9, 7, -1]], [[0.800000011920929, 0.6000000238418579, -inf]])
    """

    def __init__(self, index: Any) -> None:
        self._faiss = import_faiss()
        self._index = index

    @classmethod
    def empty(cls, dim: int) -> FlatIndex:
        """An index of no vectors yet."""
        faiss = import_faiss()
        return cls(faiss.index_factory(dim, FACTORY, faiss.METRIC_INNER_PRODUCT))

    @classmethod
    def load(cls, path: Path) -> FlatIndex:
        """Open an index file; its vectors are mapped, not copied, where FAISS can.

        Raises
        ------
        FileNotFoundError
            When it is not there.
        StoreError
            When it is not such an index.
        """
        if not path.is_file():
            raise FileNotFoundError(2, "no such file", str(path))
        faiss = import_faiss()
        try:
            index = faiss.read_index(str(path), getattr(faiss, "IO_FLAG_MMAP_IFC", 0))
        except RuntimeError as error:
            if not path.is_file():
                # A writer took it away between the look and the reading.
                raise FileNotFoundError(2, "no such file", str(path)) from error
            raise StoreError(
                "damaged: FAISS cannot read it", where=str(path), hint="build it again: vecsv index build"
            ) from error
        return cls(index)

    def save(self, path: Path) -> None:
        """Write the index to a file.

        Raises
        ------
        StoreError
            When the disk does not take it.
        """
        try:
            self._faiss.write_index(self._index, str(path))
        except RuntimeError as error:
            raise StoreError(
                "the index cannot be written", where=str(path), hint="is there space on the disk?"
            ) from error

    @property
    def ntotal(self) -> int:
        """Vectors in the index."""
        return int(self._index.ntotal)

    def train(self, vectors: Vectors) -> None:
        """Nothing to learn: the index is exact."""

    def add(self, ids: RowIds, vectors: Vectors) -> None:
        """Add vectors under ids; see `VectorIndex.add`."""
        self._index.add_with_ids(np.ascontiguousarray(vectors, np.float32), np.ascontiguousarray(ids, np.int64))

    def search(self, vectors: Vectors, k: int, allowed: RowIds | None = None) -> tuple[Scores, RowIds]:
        """Search; see `VectorIndex.search`."""
        queries = np.ascontiguousarray(vectors, np.float32)
        parameters = None
        if allowed is not None:
            chosen = self._faiss.IDSelectorBatch(np.ascontiguousarray(allowed, np.int64))
            parameters = self._faiss.SearchParameters(sel=chosen)
        scores, ids = self._index.search(queries, k, params=parameters)
        # FAISS fills the places it has nothing for with the lowest float32.
        return np.where(ids < 0, np.float32(-np.inf), scores), ids

    def remove(self, ids: RowIds) -> int:
        """Remove vectors by id; returns how many there were."""
        return int(self._index.remove_ids(self._faiss.IDSelectorBatch(np.ascontiguousarray(ids, np.int64))))

    def vectors(self) -> Vectors:
        """Every vector as the index holds it, float32 ``(ntotal, dim)``: what an audit looks at."""
        flat = self._faiss.downcast_index(self._index.index)
        return np.asarray(flat.reconstruct_n(0, self.ntotal), dtype=np.float32).reshape(self.ntotal, self._index.d)
