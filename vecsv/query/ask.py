"""Recordings in, answers out: embeds queries, opens what is to be searched, and searches it once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vecsv.audio.decode import Clip
from vecsv.audio.quality import Quality
from vecsv.embedding.recordings import EmbeddedRecording, embed_clips
from vecsv.errors import StoreError, UsageError, VecsvError
from vecsv.index.build import open_index, rows_not_indexed
from vecsv.models.protocol import Embedder
from vecsv.query.search import Candidates, Hit, Level, search
from vecsv.query.verify import Side, quality_warnings
from vecsv.store import enrolments
from vecsv.store.reader import Snapshot, read_consistently


@dataclass(frozen=True)
class Query:
    """A recording to search for.

    Attributes
    ----------
    clip : Clip
    name : str
        What to report it by.
    expected : str or None
        The speaker it is known to be of, where a list of queries says so.
    """

    clip: Clip
    name: str
    expected: str | None = None


@dataclass(frozen=True)
class SearchResult:
    """The answer to one query.

    Attributes
    ----------
    query : Query
    hits : tuple of Hit
        Best first.
    quality : Quality or None
        Of the query's recording.
    error : VecsvError or None
        Why this query has no answer.
    warnings : tuple of str
    """

    query: Query
    hits: tuple[Hit, ...] = ()
    quality: Quality | None = None
    error: VecsvError | None = None
    warnings: tuple[str, ...] = ()


def ask(
    folder: Path, embedder: Embedder, queries: Sequence[Query], *, top_k: int, level: Level, workers: int
) -> list[SearchResult]:
    """Search a store for many recordings with one call of the index; a query that fails harms no other.

    Raises
    ------
    StoreError
        When there is nothing to search.
    """
    if top_k < 1:
        raise UsageError(f"top-k {top_k}: at least one hit has to be asked for")
    candidates, warnings = read_consistently(folder, open_candidates)
    recordings = embed_clips(embedder, [query.clip for query in queries], workers=workers)
    vectors = [item.vector for item in recordings if isinstance(item, EmbeddedRecording)]
    found = iter(search(candidates, np.stack(vectors), top_k, level) if vectors else [])
    results = []
    for query, item in zip(queries, recordings, strict=True):
        if isinstance(item, VecsvError):
            results.append(SearchResult(query, error=item, warnings=warnings))
            continue
        heard = quality_warnings(Side(query.name, item.vector, item.quality))
        results.append(SearchResult(query, tuple(next(found)), item.quality, None, (*warnings, *heard)))
    return results


def open_candidates(snapshot: Snapshot) -> tuple[Candidates, tuple[str, ...]]:
    """What a search of the store looks through, and what a person should know about it.

    Raises
    ------
    StoreError
        When there is neither an index nor an enrolment.
    """
    enrolled = enrolments.read(snapshot.folder, snapshot.generation.dim)
    if snapshot.generation.index is None and not enrolled.speakers:
        raise StoreError("no index yet", where=str(snapshot.folder), hint="make it: vecsv index build")
    index = None if snapshot.generation.index is None else open_index(snapshot)
    missing = rows_not_indexed(snapshot.generation)
    warning = f"{missing} embeddings are not in the index yet and were not searched: run vecsv index build"
    return Candidates(index, enrolled), (warning,) if missing else ()
