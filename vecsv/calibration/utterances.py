"""A store's embeddings as calibration sees them: vectors, and numbers that say which belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import RowIds, Vectors
from vecsv.errors import CalibrationError
from vecsv.store.reader import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

PLACE = ("start_s", "end_s", "offset_s", "duration_s")
"""Columns that say where in its recording a row lies."""


@dataclass(frozen=True, eq=False)
class Utterances:
    """All embeddings of a store, as arrays of the same length, in row-id order.

    Attributes
    ----------
    row_ids : int64 ``(n,)``
    vectors : float32 ``(n, dim)``
    speakers, sessions, recordings : int64 ``(n,)``
        Numbers that are equal where speaker, session and recording are; a session that is not known is -1. Two
        channels of one file are two recordings.
    start_s, end_s : float64 ``(n,)``
        The cut, or the window in it, in seconds; a whole recording goes from 0 to infinity.
    """

    row_ids: RowIds
    vectors: Vectors
    speakers: NDArray[np.int64]
    sessions: NDArray[np.int64]
    recordings: NDArray[np.int64]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]


def read_utterances(snapshot: Snapshot) -> Utterances:
    """Read what calibration needs of every embedding of a store.

    Raises
    ------
    CalibrationError
        When an embedding is not finite, and would give scores that are not numbers; names the first.
    """
    import pyarrow.compute as pc

    table = snapshot.table(["speaker", "session", "audio_sha256", "channel", *PLACE])
    channels = table.column("channel").fill_null(0).cast("string")
    recordings = pc.binary_join_element_wise(table.column("audio_sha256"), channels, "/")
    row_ids, vectors = snapshot.vectors()
    _require_finite(snapshot, row_ids, vectors)
    start_s, end_s = places_of(table, snapshot)
    return Utterances(
        row_ids=row_ids,
        vectors=vectors,
        speakers=codes_of(table.column("speaker")),
        sessions=codes_of(table.column("session")),
        recordings=codes_of(recordings),
        start_s=start_s,
        end_s=end_s,
    )


def places_of(table: pa.Table, snapshot: Snapshot) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each row of a table with the columns `PLACE` lies in its recording: start and end, in seconds."""
    start: NDArray[np.float64] = table.column("start_s").fill_null(0.0).to_numpy()
    if not snapshot.generation.has_window_rows:
        return start, table.column("end_s").fill_null(np.inf).to_numpy()
    start = start + table.column("offset_s").to_numpy()
    end = start + table.column("duration_s").to_numpy()
    # Or windows that touch would overlap by the last digit of a sum.
    return np.round(start, 6), np.round(end, 6)


def _require_finite(snapshot: Snapshot, row_ids: RowIds, vectors: Vectors) -> None:
    broken = ~np.isfinite(vectors).all(axis=1)
    if broken.any():
        first = int(np.argmax(broken))
        name = snapshot.table(["utt_id"]).column("utt_id")[first].as_py()
        raise CalibrationError(
            f"{np.count_nonzero(broken)} embeddings are not finite, the first is that of {name!r}",
            where=f"{snapshot.folder}: row {row_ids[first]}",
            hint="embed those recordings again, in a new store",
        )


def codes_of(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Numbers that are equal where a column's values are; -1 where it has none."""
    indices = column.dictionary_encode().combine_chunks().indices
    codes: NDArray[np.int64] = indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes
