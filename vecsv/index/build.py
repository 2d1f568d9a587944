"""Building the index over a store, and opening the one in force."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from vecsv.durable import make_folder, sync_file, sync_folder
from vecsv.errors import StoreError
from vecsv.index.flat import FACTORY, FlatIndex, import_faiss
from vecsv.index.protocol import VectorIndex
from vecsv.index.rows import COLUMNS, Rows, write_rows
from vecsv.store.generation import Generation, IndexInForce, commit, require_latest
from vecsv.store.parts import schema_of
from vecsv.store.reader import Snapshot
from vecsv.store.schema import vectors_of
from vecsv.store.writing import INDEX, sweep, writer

_INDEX_FILE = "index.faiss"
_ROWS_FILE = "rows.arrow"
_INFO_FILE = "index.json"


@dataclass(frozen=True)
class IndexInfo:
    """What is known of the index in force.

    Attributes
    ----------
    factory : str
        FAISS's description of its kind.
    metric : str
    rows : int
        Vectors in it.
    speakers : int
    store_rows : int
        Embeddings in the store now.
    rows_not_indexed : int
        Embeddings that came after it was built.
    exact : bool
        Whether it finds the true neighbours always.
    faiss_version, model, fingerprint : str
    dim : int
    bytes : int
        On disk.
    """

    factory: str
    metric: str
    rows: int
    speakers: int
    store_rows: int
    rows_not_indexed: int
    exact: bool
    faiss_version: str
    model: str
    fingerprint: str
    dim: int
    bytes: int


@dataclass(frozen=True)
class OpenIndex:
    """The index in force, ready to be searched."""

    vectors: VectorIndex
    rows: Rows


def build_index(folder: Path, *, progress: Callable[[int, int], None] | None = None) -> IndexInfo:
    """Build an exact index over all embeddings of a store and put it in force.

    Parameters
    ----------
    folder : Path
        The store.
    progress : callable, optional
        Called with rows done and rows in all.

    Raises
    ------
    StoreError
        When there is no store, or nothing in it.
    """
    import_faiss()
    with writer(folder):
        generation = require_latest(folder)
        if generation.rows == 0:
            raise StoreError("the store holds no embeddings yet", where=str(folder), hint="vecsv embed --manifest ...")
        generation = with_new_index(folder, generation.successor(), progress=progress)
        commit(folder, generation)
        sweep(folder)
    return index_info(Snapshot(folder, generation))


def with_new_index(
    folder: Path, generation: Generation, *, progress: Callable[[int, int], None] | None = None
) -> Generation:
    """Write an index over the shards of `generation`, which is not committed yet, and return it with that in force."""
    snapshot = Snapshot(folder, generation)
    target = folder / INDEX / f"{generation.number:08d}"
    make_folder(target)
    index = FlatIndex.empty(generation.dim)
    for table in snapshot.iterate(["row_id", "embedding"]):
        index.add(table.column("row_id").to_numpy(), vectors_of(table.column("embedding")))
        if progress is not None:
            progress(index.ntotal, generation.rows)
    index.save(target / _INDEX_FILE)
    write_rows(target / _ROWS_FILE, snapshot.iterate(COLUMNS), schema_of(generation))
    details = {
        "format": 1,
        "factory": FACTORY,
        "metric": "inner product",
        "exact": True,
        "rows": index.ntotal,
        "dim": generation.dim,
        "model": generation.model,
        "fingerprint": generation.fingerprint,
        "faiss_version": import_faiss().__version__,
        "built_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    (target / _INFO_FILE).write_text(json.dumps(details, indent=1) + "\n", encoding="utf-8")
    for name in (_INDEX_FILE, _ROWS_FILE, _INFO_FILE):
        sync_file(target / name)
    sync_folder(target)
    in_force = IndexInForce(
        folder=target.relative_to(folder).as_posix(), rows=index.ntotal, next_row_id=generation.next_row_id
    )
    return replace(generation, index=in_force)


def _in_force(snapshot: Snapshot) -> Path:
    if snapshot.generation.index is None:
        raise StoreError("no index yet", where=str(snapshot.folder), hint="vecsv index build")
    return snapshot.folder / snapshot.generation.index.folder


def open_index(snapshot: Snapshot) -> OpenIndex:
    """The index in force.

    Raises
    ------
    FileNotFoundError
        When a writer has replaced it since the snapshot was taken.
    StoreError
        When none was built, or it is damaged.
    """
    folder = _in_force(snapshot)
    opened = OpenIndex(FlatIndex.load(folder / _INDEX_FILE), Rows(folder / _ROWS_FILE))
    index = snapshot.generation.index
    if index is not None and opened.vectors.ntotal != index.rows:
        raise StoreError(
            f"damaged: {opened.vectors.ntotal} vectors where the store's manifest says {index.rows}",
            where=str(folder / _INDEX_FILE),
            hint="build it again: vecsv index build",
        )
    return opened


def rows_not_indexed(generation: Generation) -> int:
    """Embeddings that came after the index in force was built; none was built: all of them."""
    return generation.rows - (0 if generation.index is None else generation.index.rows)


def index_info(snapshot: Snapshot) -> IndexInfo:
    """Describe the index in force.

    Raises
    ------
    StoreError
        When none was built.
    """
    folder = _in_force(snapshot)
    opened = open_index(snapshot)
    details = json.loads((folder / _INFO_FILE).read_text(encoding="utf-8"))
    generation = snapshot.generation
    return IndexInfo(
        factory=details["factory"],
        metric=details["metric"],
        rows=opened.vectors.ntotal,
        speakers=len(opened.rows.speaker_sizes()),
        store_rows=generation.rows,
        rows_not_indexed=rows_not_indexed(generation),
        exact=details["exact"],
        faiss_version=details["faiss_version"],
        model=generation.model,
        fingerprint=generation.fingerprint,
        dim=generation.dim,
        bytes=sum(file.stat().st_size for file in folder.iterdir()),
    )
