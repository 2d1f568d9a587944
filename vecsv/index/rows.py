"""Which utterance and speaker a row id stands for, as a memory-mapped Arrow file beside the index."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import RowIds
from vecsv.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("row_id", "utt_id", "segment", "speaker", "path", "offset_s", "duration_s")


def write_rows(path: Path, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    """Write the `COLUMNS` of a store's rows as an Arrow file; `schema` is that of the store's shards."""
    import pyarrow as pa

    columns = pa.schema([schema.field(name) for name in COLUMNS])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, columns) as file:
        for table in tables:
            file.write_table(table.select(list(COLUMNS)))


class Rows:
    """Looks rows up by row id; strings are read from the file only for the rows that are asked for.

    Parameters
    ----------
    path : Path
        What `write_rows` wrote, row ids ascending.

    Raises
    ------
    FileNotFoundError
        When it is not there.
    StoreError
        When it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        try:
            self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"damaged: {error}", where=str(path), hint="build it again: vecsv index build") from error
        self._row_ids: RowIds = self._table.column("row_id").to_numpy()

    @cached_property
    def _speakers(self) -> tuple[NDArray[np.int64], list[str]]:
        encoded = self._table.column("speaker").dictionary_encode().combine_chunks()
        return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()

    def speaker_codes(self, row_ids: RowIds) -> NDArray[np.int64]:
        """A number for each row's speaker, of the shape of `row_ids`; -1 for row id -1."""
        codes, _ = self._speakers
        if not codes.size:
            return np.full(row_ids.shape, -1, np.int64)
        positions = np.searchsorted(self._row_ids, row_ids).clip(0, codes.size - 1)
        return np.where(row_ids < 0, -1, codes[positions])

    def speaker_names(self) -> list[str]:
        """Names of the speakers, at the positions that `speaker_codes` numbers."""
        return self._speakers[1]

    @cached_property
    def _utterances(self) -> NDArray[np.int64]:
        """A number for each row's utterance; an utterance's rows lie side by side."""
        import pyarrow.compute as pc

        utt_ids = self._table.column("utt_id").combine_chunks()
        starts = pc.not_equal(utt_ids[1:], utt_ids[:-1]).to_numpy(zero_copy_only=False)
        return np.concatenate([np.zeros(min(1, len(utt_ids)), np.int64), np.cumsum(starts, dtype=np.int64)])

    def utterance_codes(self, row_ids: RowIds) -> NDArray[np.int64]:
        """A number for each row's utterance, of the shape of `row_ids`; -1 for row id -1."""
        codes = self._utterances
        if not codes.size:
            return np.full(row_ids.shape, -1, np.int64)
        positions = np.searchsorted(self._row_ids, row_ids).clip(0, codes.size - 1)
        return np.where(row_ids < 0, -1, codes[positions])

    def utterance_sizes(self) -> NDArray[np.int64]:
        """Rows of each utterance, largest first."""
        return np.sort(np.bincount(self._utterances))[::-1].astype(np.int64)

    def speaker_sizes(self) -> NDArray[np.int64]:
        """Rows of each speaker, largest first."""
        codes, names = self._speakers
        return np.sort(np.bincount(codes, minlength=len(names)))[::-1].astype(np.int64)

    def describe(self, row_ids: RowIds) -> list[dict[str, object]]:
        """The columns of the rows asked for, in that order, one mapping each."""
        described: list[dict[str, object]] = self._table.take(np.searchsorted(self._row_ids, row_ids)).to_pylist()
        return described
