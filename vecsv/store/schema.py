"""The columns of a store's Parquet files, and the plain rows they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vecsv.arrays import Vectors

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class EmbeddedRow:
    """One embedded stretch of speech, before the store gives it its ``row_id``.

    Attributes
    ----------
    utt_id : str
        The utterance's id; with `segment` the key of the row.
    segment : int
        0 for a whole utterance; counts windows where one utterance is stored as several.
    speaker : str
    session : str or None
    path : str
        Absolute path of the recording when it was embedded.
    channel : int or None
        1-based channel; None for a downmix of all.
    start_s, end_s : float or None
        The cut of the recording, in seconds; None for its start and its end.
    offset_s : float
        Seconds from the start of the cut to that of this window; 0 for a whole utterance.
    duration_s, speech_s : float
        Seconds of audio, and of speech in it.
    snr_db : float or None
        Estimated signal-to-noise ratio; None where it cannot be told.
    clipped : float
        Share of samples at full scale.
    audio_sha256 : str
        SHA-256 of the file's bytes, in hex.
    extra : tuple of (str, str)
        The manifest's other columns.
    embedding : ndarray
        float32, unit length.
    """

    utt_id: str
    segment: int
    speaker: str
    session: str | None
    path: str
    channel: int | None
    start_s: float | None
    end_s: float | None
    offset_s: float
    duration_s: float
    speech_s: float
    snr_db: float | None
    clipped: float
    audio_sha256: str
    extra: tuple[tuple[str, str], ...]
    embedding: Vectors


@dataclass(frozen=True, slots=True)
class FailedRow:
    """One manifest row that gave no embedding, and why.

    Attributes
    ----------
    key : bytes
        16 bytes that name this row of this manifest, so that a second run does not try it again.
    manifest : str
        Absolute path of the manifest.
    line : int
        1-based line in it.
    utt_id, speaker, path : str or None
        None where the row could not be read at all.
    code : str
        A stable word for the kind of failure.
    reason : str
        One line for a person.
    """

    key: bytes
    manifest: str
    line: int
    utt_id: str | None
    speaker: str | None
    path: str | None
    code: str
    reason: str


#: Columns of an embedding shard that are not the vector itself.
DESCRIPTION = (
    "row_id",
    "utt_id",
    "segment",
    "speaker",
    "session",
    "path",
    "channel",
    "start_s",
    "end_s",
    "offset_s",
    "duration_s",
    "speech_s",
    "snr_db",
    "clipped",
    "audio_sha256",
    "extra",
)


def embedding_schema(dim: int, *, model: str, fingerprint: str, format_version: int, engine: str = "") -> pa.Schema:
    """Arrow schema of an embedding shard; model, fingerprint and engine stand in the file's metadata."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("row_id", pa.int64(), nullable=False),
            pa.field("utt_id", pa.string(), nullable=False),
            pa.field("segment", pa.int32(), nullable=False),
            pa.field("speaker", pa.string(), nullable=False),
            pa.field("session", pa.string()),
            pa.field("path", pa.string(), nullable=False),
            pa.field("channel", pa.int32()),
            pa.field("start_s", pa.float64()),
            pa.field("end_s", pa.float64()),
            pa.field("offset_s", pa.float64(), nullable=False),
            pa.field("duration_s", pa.float64(), nullable=False),
            pa.field("speech_s", pa.float64(), nullable=False),
            pa.field("snr_db", pa.float32()),
            pa.field("clipped", pa.float32(), nullable=False),
            pa.field("audio_sha256", pa.string(), nullable=False),
            pa.field("extra", pa.map_(pa.string(), pa.string()), nullable=False),
            pa.field("embedding", pa.list_(pa.float32(), dim), nullable=False),
        ],
        metadata={
            "vecsv.format": str(format_version),
            "vecsv.model": model,
            "vecsv.fingerprint": fingerprint,
            **({"vecsv.engine": engine} if engine else {}),
        },
    )


def with_offsets(table: pa.Table) -> pa.Table:
    """An embedding shard's columns with ``offset_s``: shards from before there were windows have none."""
    import pyarrow as pa

    if "offset_s" in table.column_names:
        return table
    place = table.column_names.index("end_s") + 1 if "end_s" in table.column_names else table.num_columns
    field = pa.field("offset_s", pa.float64(), nullable=False)
    return table.add_column(place, field, pa.array(np.zeros(table.num_rows)))


def failure_schema(*, format_version: int) -> pa.Schema:
    """Arrow schema of a failure ledger."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("key", pa.binary(16), nullable=False),
            pa.field("manifest", pa.string(), nullable=False),
            pa.field("line", pa.int64(), nullable=False),
            pa.field("utt_id", pa.string()),
            pa.field("speaker", pa.string()),
            pa.field("path", pa.string()),
            pa.field("code", pa.string(), nullable=False),
            pa.field("reason", pa.string(), nullable=False),
        ],
        metadata={"vecsv.format": str(format_version)},
    )


def embedding_table(rows: list[EmbeddedRow], first_row_id: int, schema: pa.Schema) -> pa.Table:
    """Give `rows` consecutive row ids from `first_row_id` on and lay them out as a table of `schema`."""
    import pyarrow as pa

    dim = schema.field("embedding").type.list_size
    vectors = (
        np.stack([row.embedding for row in rows]).astype(np.float32, copy=False)
        if rows
        else np.empty((0, dim), np.float32)
    )
    columns: list[pa.Array] = []
    for field in schema:
        if field.name == "row_id":
            columns.append(pa.array(range(first_row_id, first_row_id + len(rows)), field.type))
        elif field.name == "embedding":
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim))
        else:
            columns.append(pa.array([getattr(row, field.name) for row in rows], field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def vectors_of(column: pa.ChunkedArray) -> Vectors:
    """The embedding column as float32 ``(rows, dim)``."""
    dim = column.type.list_size
    if len(column) == 0:
        return np.empty((0, dim), np.float32)
    pieces = [chunk.flatten().to_numpy(zero_copy_only=True) for chunk in column.chunks if len(chunk)]
    return np.concatenate(pieces).reshape(-1, dim)
