"""Reading one committed state of a store, whatever writers do meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from vecsv.arrays import RowIds, Vectors
from vecsv.errors import StoreError
from vecsv.store.generation import Generation, latest, require_latest
from vecsv.store.parts import iterate
from vecsv.store.schema import vectors_of

if TYPE_CHECKING:
    import pyarrow as pa

Result = TypeVar("Result")

_ATTEMPTS = 5


@dataclass(frozen=True)
class Snapshot:
    """A store as one generation describes it.

    Attributes
    ----------
    folder : Path
    generation : Generation
    """

    folder: Path
    generation: Generation

    @classmethod
    def open(cls, folder: Path) -> Snapshot:
        """The last committed generation of the store in `folder`.

        Raises
        ------
        StoreError
            When there is none.
        """
        return cls(folder, require_latest(folder))

    def iterate(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The chosen columns, one shard at a time, in row-id order."""
        return iterate(self.folder, self.generation.shards, columns)

    def table(self, columns: Sequence[str]) -> pa.Table:
        """The chosen columns of all rows, in row-id order."""
        import pyarrow as pa

        from vecsv.store.parts import schema_of

        schema = schema_of(self.generation)
        tables = list(self.iterate(columns))
        if not tables:
            return pa.schema([schema.field(name) for name in columns]).empty_table()
        return pa.concat_tables([table.select(list(columns)) for table in tables])

    def vectors(self, row_ids: RowIds | None = None) -> tuple[RowIds, Vectors]:
        """Row ids and embeddings, of all rows or of those asked for; in row-id order.

        Returns
        -------
        row_ids : int64 ``(n,)``
        vectors : float32 ``(n, dim)``
        """
        ids: list[RowIds] = []
        vectors: list[Vectors] = []
        for table in self.iterate(["row_id", "embedding"]):
            part_ids = table.column("row_id").to_numpy()
            part_vectors = vectors_of(table.column("embedding"))
            if row_ids is not None:
                chosen = np.isin(part_ids, row_ids)
                part_ids, part_vectors = part_ids[chosen], part_vectors[chosen]
            ids.append(part_ids)
            vectors.append(part_vectors)
        if not ids:
            return np.empty(0, np.int64), np.empty((0, self.generation.dim), np.float32)
        return np.concatenate(ids), np.concatenate(vectors)

    def vectors_of_speaker(self, speaker: str) -> Vectors:
        """Embeddings of one speaker's utterances; float32 ``(n, dim)``, n may be 0."""
        import pyarrow.compute as pc

        found = [
            vectors_of(table.filter(pc.equal(table.column("speaker"), speaker)).column("embedding"))
            for table in self.iterate(["speaker", "embedding"])
        ]
        return np.concatenate(found) if found else np.empty((0, self.generation.dim), np.float32)

    def failures(self) -> pa.Table:
        """The failure ledger: one row per manifest row that gave no embedding."""
        import pyarrow as pa

        from vecsv.store.generation import FORMAT_VERSION
        from vecsv.store.schema import failure_schema

        tables = list(iterate(self.folder, self.generation.failures))
        return pa.concat_tables(tables) if tables else failure_schema(format_version=FORMAT_VERSION).empty_table()


def read_consistently(folder: Path, read: Callable[[Snapshot], Result]) -> Result:
    """Call `read` with the latest snapshot, and again when a writer replaced files under it.

    A writer removes the files of generations it has superseded. A reader that was about to open one of them starts
    over with the newer generation; a file that the *latest* generation names and that is not there is damage.

    Raises
    ------
    StoreError
        When there is no store, or a file of its last generation is missing.
    """
    for _ in range(_ATTEMPTS):
        snapshot = Snapshot.open(folder)
        try:
            return read(snapshot)
        except FileNotFoundError as error:
            now = latest(folder)
            if now is not None and now.number == snapshot.generation.number:
                raise StoreError(
                    "damaged: a file that the store's manifest names is missing",
                    where=str(error.filename or folder),
                    hint="restore it from a backup, or embed into a new store",
                ) from error
    raise StoreError("the store changes faster than it can be read", where=str(folder), hint="run it again")
