"""Immutable Parquet files: embedding shards and failure ledgers, written whole and read in pieces."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vecsv.durable import write_bytes
from vecsv.errors import StoreError
from vecsv.store.generation import FORMAT_VERSION, Generation, Part
from vecsv.store.schema import EmbeddedRow, FailedRow, embedding_schema, embedding_table, failure_schema, with_offsets
from vecsv.store.writing import EMBEDDINGS, FAILURES

if TYPE_CHECKING:
    import pyarrow as pa


def write_embeddings(
    folder: Path,
    generation: Generation,
    rows: list[EmbeddedRow],
    *,
    first_row_id: int,
    part: int,
    engine: str = "",
) -> Part:
    """Write one embedding shard; it belongs to the store once a generation names it.

    Parameters
    ----------
    folder : Path
        The store.
    generation : Generation
        Gives the model, its fingerprint and the dimension.
    rows : list of EmbeddedRow
        At least one.
    first_row_id : int
        Row ids are given from here on, in order.
    part : int
        The shard's number.
    engine : str
        What computed the embeddings; stands in the file's metadata.
    """
    table = embedding_table(rows, first_row_id, schema_of(generation, engine=engine))
    return write_embedding_table(folder, table, part=part)


def schema_of(generation: Generation, *, engine: str = "") -> pa.Schema:
    """Arrow schema of this store's embedding shards."""
    return embedding_schema(
        generation.dim,
        model=generation.model,
        fingerprint=generation.fingerprint,
        format_version=FORMAT_VERSION,
        engine=engine,
    )


def write_embedding_table(folder: Path, table: pa.Table, *, part: int) -> Part:
    """Write an embedding shard that is already a table, under a name that carries its content's hash."""
    parent = folder / EMBEDDINGS
    # Vectors are noise to a compressor; text columns shrink tenfold.
    compression = {name: "zstd" for name in table.column_names if name != "embedding"} | {
        "embedding.list.element": "none"
    }
    return _write_named_by_content(parent, table, part, compression, folder)


def write_failures(folder: Path, rows: Sequence[FailedRow], *, part: int) -> Part:
    """Write one failure ledger; it belongs to the store once a generation names it."""
    import pyarrow as pa

    schema = failure_schema(format_version=FORMAT_VERSION)
    columns = [pa.array([getattr(row, field.name) for row in rows], field.type) for field in schema]
    return write_failure_table(folder, pa.Table.from_arrays(columns, schema=schema), part=part)


def write_failure_table(folder: Path, table: pa.Table, *, part: int) -> Part:
    """Write a failure ledger that is already a table."""
    return _write_named_by_content(folder / FAILURES, table, part, "zstd", folder)


def _write_named_by_content(
    parent: Path, table: pa.Table, part: int, compression: str | dict[str, str], folder: Path
) -> Part:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # A shard is a few MiB: made in memory, its hash is known before it has a name, and one rename puts it in place.
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression=compression, use_dictionary=["speaker", "session", "manifest", "code"])
    content = sink.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    path = parent / f"part-{part:05d}-{digest[:8]}.parquet"
    write_bytes(path, memoryview(content))
    return Part(file=path.relative_to(folder).as_posix(), rows=table.num_rows, sha256=digest)


def read_part(folder: Path, part: Part, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one Parquet file of the store.

    Raises
    ------
    FileNotFoundError
        When a writer removed it meanwhile: the caller's generation is no longer the last one.
    StoreError
        When it cannot be read as what it should be.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / part.file
    try:
        table = pq.ParquetFile(path).read(columns=None if columns is None else list(columns))
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise StoreError(
            f"damaged: {error}",
            where=str(path),
            hint="restore the file from a backup, or embed into a new store",
        ) from error
    if table.num_rows != part.rows:
        raise StoreError(
            f"damaged: {table.num_rows} rows where the store's manifest says {part.rows}",
            where=str(path),
            hint="restore the file from a backup, or embed into a new store",
        )
    is_shard = Path(part.file).parts[0] == EMBEDDINGS
    return with_offsets(table) if is_shard and (columns is None or "offset_s" in columns) else table


def iterate(folder: Path, parts: Sequence[Part], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Read parts one after the other: memory holds one at a time."""
    for part in parts:
        yield read_part(folder, part, columns)


def failed_rows(ledger: pa.Table) -> list[FailedRow]:
    """The rows of a failure ledger."""
    return [FailedRow(**row) for row in ledger.to_pylist()]
