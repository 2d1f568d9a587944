"""What every vector index looks like to the rest of vecsv.

Saving and loading are not here: they belong to engines that are files, and a server has none.
"""

from __future__ import annotations

from typing import Protocol

from vecsv.arrays import RowIds, Scores, Vectors

#: Id in a result where an index had fewer than `k` vectors to give; the score beside it is -inf.
NOTHING = -1


class VectorIndex(Protocol):
    """Finds the vectors closest to a query by inner product; higher is closer.

    On unit vectors the inner product is the cosine. An exact index gives scores within 1e-5 of numpy's.
    """

    @property
    def ntotal(self) -> int:
        """Vectors in the index."""

    def train(self, vectors: Vectors) -> None:
        """Learn what the index needs to know about the data before `add`; exact ones need nothing."""

    def add(self, ids: RowIds, vectors: Vectors) -> None:
        """Add vectors, float32 ``(n, dim)``, under ids of the caller's, int64 ``(n,)``, other than -1."""

    def search(self, vectors: Vectors, k: int, allowed: RowIds | None = None) -> tuple[Scores, RowIds]:
        """Find the `k` best vectors for each query.

        Parameters
        ----------
        vectors : float32 ``(queries, dim)``
        k : int
        allowed : int64, optional
            Only these ids may be returned.

        Returns
        -------
        scores : float32 ``(queries, k)``
            Descending in each row; -inf where there were fewer than `k`.
        ids : int64 ``(queries, k)``
            `NOTHING` where there were fewer than `k`.
        """

    def remove(self, ids: RowIds) -> int:
        """Remove vectors by id; returns how many there were."""
