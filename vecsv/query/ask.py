"""Recordings in, answers out: embeds queries, opens what is to be searched, and searches it once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vecsv.audio.decode import Clip
from vecsv.audio.quality import Quality
from vecsv.calibration.search_record import search_calibration_in_force
from vecsv.embedding.pooling import pool
from vecsv.embedding.recordings import EmbeddedRecording, embed_clips
from vecsv.errors import StoreError, UsageError, VecsvError
from vecsv.index.build import OpenIndex, open_index, rows_not_indexed
from vecsv.models.protocol import Embedder
from vecsv.query.search import Candidates, Hit, Level, search
from vecsv.query.search_threshold import SearchThreshold, threshold_for
from vecsv.query.thresholds import note_on_windows
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
    stretches : tuple of Clip
        What of the recording is meant, where that is not `clip` as a whole: their speech-weighted mean is searched for.
    notes : tuple of str
        What a person should know about it.
    """

    clip: Clip
    name: str
    expected: str | None = None
    stretches: tuple[Clip, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def clips(self) -> tuple[Clip, ...]:
        """What is embedded for it."""
        return self.stretches or (self.clip,)


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
    threshold : SearchThreshold or None
        What the hits were held against; None where none is calibrated.
    """

    query: Query
    hits: tuple[Hit, ...] = ()
    quality: Quality | None = None
    error: VecsvError | None = None
    warnings: tuple[str, ...] = ()
    threshold: SearchThreshold | None = None


@dataclass(frozen=True)
class Searchable:
    """What a search of a store looks through, and what its hits are held against.

    Attributes
    ----------
    candidates : Candidates
    threshold : SearchThreshold or None
    warnings : tuple of str
        What a person should know about any search of it.
    """

    candidates: Candidates
    threshold: SearchThreshold | None
    warnings: tuple[str, ...]

    def answer(
        self,
        queries: Sequence[Query],
        recordings: Sequence[EmbeddedRecording | VecsvError],
        *,
        top_k: int,
        level: Level,
    ) -> list[SearchResult]:
        """Search for what the queries came to, with one call of the index; a query that failed harms no other."""
        vectors = [item.vector for item in recordings if isinstance(item, EmbeddedRecording)]
        found = iter(search(self.candidates, np.stack(vectors), top_k, level) if vectors else [])
        results = []
        for query, item in zip(queries, recordings, strict=True):
            if isinstance(item, VecsvError):
                results.append(SearchResult(query, error=item, warnings=self.warnings, threshold=self.threshold))
                continue
            heard = quality_warnings(Side(query.name, item.vector, item.quality))
            hits = tuple(_judged(hit, self.threshold) for hit in next(found))
            warnings = (*self.warnings, *query.notes, *heard)
            results.append(SearchResult(query, hits, item.quality, None, warnings, self.threshold))
        return results


def ask(
    folder: Path, embedder: Embedder, queries: Sequence[Query], *, top_k: int, level: Level, workers: int
) -> list[SearchResult]:
    """Search a store for many recordings with one call of the index; a query that fails harms no other.

    Raises
    ------
    StoreError
        When there is nothing to search.
    FingerprintMismatchError
        When the store's search threshold is another model's.
    """
    if top_k < 1:
        raise UsageError(f"top-k {top_k}: at least one hit has to be asked for")
    searchable = read_consistently(folder, lambda snapshot: open_searchable(snapshot, embedder.fingerprint))
    return searchable.answer(queries, _embed(embedder, queries, workers=workers), top_k=top_k, level=level)


def _embed(embedder: Embedder, queries: Sequence[Query], *, workers: int) -> list[EmbeddedRecording | VecsvError]:
    """What each query came to; those of several stretches pooled."""
    pieces = iter(embed_clips(embedder, [clip for query in queries for clip in query.clips], workers=workers))
    return [pool([next(pieces) for _ in query.clips]) for query in queries]


def open_searchable(
    snapshot: Snapshot, fingerprint: str, *, opened: Callable[[Snapshot], OpenIndex] = open_index
) -> Searchable:
    """Open what a search looks through.

    Parameters
    ----------
    snapshot : Snapshot
    fingerprint : str
        Of the model whose scores are to be judged.
    opened : callable
        Gives the index of the snapshot: for who keeps it open between searches.

    Raises
    ------
    StoreError
        When there is neither an index nor an enrolment.
    FingerprintMismatchError
        When the search threshold is another model's.
    """
    candidates, warnings = open_candidates(snapshot, opened=opened)
    calibration = search_calibration_in_force(snapshot)
    threshold = threshold_for(calibration, candidates.speakers, fingerprint=fingerprint)
    if threshold is None:
        return Searchable(candidates, None, warnings)
    notes = (*warnings, *threshold.warnings, *note_on_windows(snapshot.generation.windows))
    return Searchable(candidates, threshold, notes)


def _judged(hit: Hit, threshold: SearchThreshold | None) -> Hit:
    return hit if threshold is None else replace(hit, passes=threshold.accepts(hit.score))


def open_candidates(
    snapshot: Snapshot, *, opened: Callable[[Snapshot], OpenIndex] = open_index
) -> tuple[Candidates, tuple[str, ...]]:
    """What a search of the store looks through, and what a person should know about it.

    Raises
    ------
    StoreError
        When there is neither an index nor an enrolment.
    """
    enrolled = enrolments.read(snapshot.folder, snapshot.generation.dim)
    if snapshot.generation.index is None and not enrolled.speakers:
        raise StoreError("no index yet", where=str(snapshot.folder), hint="make it: vecsv index build")
    index = None if snapshot.generation.index is None else opened(snapshot)
    missing = rows_not_indexed(snapshot.generation)
    warning = f"{missing} embeddings are not in the index yet and were not searched: run vecsv index build"
    return Candidates(index, enrolled), (warning,) if missing else ()
