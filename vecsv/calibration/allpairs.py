"""All pairs of a set of embeddings, scored in blocks: exactly up to tens of thousands, in histograms beyond."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vecsv.arrays import Scores, Vectors
from vecsv.calibration.bootstrap import LEVEL, REPLICATES, SpeakerIntervals, bootstrap_pairs
from vecsv.calibration.corners import corner_counts
from vecsv.calibration.counts import Floats, Number
from vecsv.calibration.evaluate import Metrics, evaluate_kinds
from vecsv.calibration.histograms import BINS, HIGHEST, ScoreHistograms, highest
from vecsv.calibration.metrics import min_dcf
from vecsv.calibration.speaker_pairs import (
    AllTotals,
    Codes,
    SpeakerPairs,
    cells_of,
    choose_grid,
    entry_keys,
    gather,
    missed_targets,
)
from vecsv.embedding.parallel import map_in_order, usable_cores
from vecsv.errors import CalibrationError

_ROWS = 1024
_COLUMNS = 4096
# Bins of [-1, 1] whose edges are whole numbers when scores are multiplied by it.
_SCALE = BINS // 2


def evaluate_all_pairs(
    vectors: Vectors,
    speakers: ArrayLike,
    *,
    thresholds: Sequence[float] = (),
    prior: Number = 0.01,
    replicates: int = REPLICATES,
    seed: int = 0,
    level: float = LEVEL,
) -> tuple[Metrics, SpeakerIntervals]:
    """Every metric of all pairs, exactly, with speaker-bootstrap intervals: 10,000 utterances in a few seconds.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dim)
        Of unit length.
    speakers : array_like, shape (n,)
        Whose each is; any values that sort.
    thresholds, prior, replicates, seed, level
        As in `vecsv.calibration.bootstrap.speaker_bootstrap`.

    Raises
    ------
    CalibrationError
        As `exact`; and when there are fewer than three speakers.

    Examples
    --------
    >>> speakers = np.repeat(np.arange(8), 4)
    >>> vectors = np.random.default_rng(0).normal(np.eye(8)[speakers], 0.3).astype(np.float32)
    >>> vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    >>> metrics, intervals = evaluate_all_pairs(vectors, speakers)
    >>> metrics.targets, metrics.non_targets, intervals.eer.low < metrics.eer < intervals.eer.high
    (48, 448, True)
    """
    targets, non_targets = exact(vectors, speakers)
    metrics = evaluate_kinds(targets, non_targets, prior=prior)
    grid = choose_grid(targets, non_targets, thresholds)
    measured_cost = min_dcf(corner_counts(targets, non_targets), prior).normalised
    del targets, non_targets
    intervals = bootstrap_pairs(
        reduce_pairs(vectors, speakers, grid),
        metrics.eer,
        measured_cost,
        thresholds=thresholds,
        prior=prior,
        replicates=replicates,
        seed=seed,
        level=level,
    )
    return metrics, intervals


def exact(vectors: Vectors, speakers: ArrayLike) -> tuple[Scores, Scores]:
    """Score all pairs: the targets' scores and the non-targets', 4 bytes each.

    Parameters are those of `evaluate_all_pairs`.

    Raises
    ------
    CalibrationError
        If an embedding is not finite, or there are no targets or no non-targets.

    Examples
    --------
    >>> vectors = np.float32([[1, 0], [0.8, 0.6], [0, 1]])
    >>> targets, non_targets = exact(vectors, ["a", "a", "b"])
    >>> targets.round(2).tolist(), non_targets.round(2).tolist()
    ([0.800000011920929], [0.0, 0.6000000238418579])
    """
    utterances = _Utterances.of(vectors, speakers)
    targets = np.concatenate([scores for _, scores in utterances.targets()])
    total = len(utterances.speakers)
    non_targets = np.empty(total * (total - 1) // 2 - targets.size, np.float32)
    filled = 0
    for rows, columns in utterances.blocks():
        scores = utterances.vectors[rows] @ utterances.vectors[columns].T
        for row, begin in enumerate(utterances.begin(rows, columns)):
            part = scores[row, begin:]
            non_targets[filled : filled + part.size] = part
            filled += part.size
    return targets, non_targets


def histogram(
    vectors: Vectors,
    speakers: ArrayLike,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ScoreHistograms:
    """Count the scores of all pairs in histograms over [-1, 1]: 100,000 utterances have five thousand million pairs.

    Parameters
    ----------
    vectors, speakers
        As in `evaluate_all_pairs`.
    workers : int, optional
        Threads; by default one for each core. Memory is a few blocks for each.
    progress : callable, optional
        Called with blocks done and blocks in all.

    Raises
    ------
    CalibrationError
        As `exact`.

    Examples
    --------
    >>> vectors = np.float32([[1, 0], [0.8, 0.6], [0, 1]])
    >>> histogram(vectors, ["a", "a", "b"]).error_counts().thresholds.round(3).tolist()
    [0.0, 0.6000000238418579, 0.800000011920929, inf]
    """
    utterances = _Utterances.of(vectors, speakers)
    targets, non_targets = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    for _, scores in utterances.targets():
        targets += _binned(scores * np.float32(_SCALE))
    # A power of two changes no digit of a score, and saves a pass over five thousand million of them.
    scaled: Vectors = utterances.vectors * np.float32(_SCALE)
    best = np.empty(0, np.float32)
    lowest_kept = np.float32(-np.inf)

    def count(block: tuple[slice, slice]) -> tuple[Codes, Scores]:
        rows, columns = block
        scores: Scores = scaled[rows] @ utterances.vectors[columns].T
        begin = utterances.begin(rows, columns)
        for row in np.flatnonzero(begin):
            scores[row, : begin[row]] = -_SCALE
        top = highest(scores[scores > lowest_kept], HIGHEST)
        counted = _binned(scores)
        counted[0] -= begin.sum()
        return counted, top

    blocks = list(utterances.blocks(_COLUMNS))
    for done, (counted, top) in enumerate(map_in_order(count, blocks, workers or usable_cores()), 1):
        non_targets += counted
        if top.size:
            best = highest(np.concatenate([best, top]), HIGHEST)
            if best.size == HIGHEST:
                lowest_kept = best[-1]
        if progress is not None:
            progress(done, len(blocks))
    kept: Scores = best[: int(non_targets.sum())] / np.float32(_SCALE)
    return ScoreHistograms(-1.0, 1.0, targets, non_targets, kept)


def reduce_pairs(vectors: Vectors, speakers: ArrayLike, grid: Floats) -> SpeakerPairs:
    """Reduce all pairs to what the speaker bootstrap needs, at a grid of thresholds, without keeping their scores."""
    utterances = _Utterances.of(vectors, speakers)
    count = utterances.counts.size
    missed = np.zeros((count, grid.size))
    for speaker, scores in utterances.targets():
        missed[speaker] += missed_targets(grid, np.zeros(scores.size, np.int64), scores, 1)[0]
    keys = []
    for rows, columns in utterances.blocks():
        scores = utterances.vectors[rows] @ utterances.vectors[columns].T
        for row, begin in enumerate(utterances.begin(rows, columns)):
            scores[row, :begin] = -np.inf
        one, two = np.nonzero(scores >= grid[0])
        pairs = utterances.speakers[rows][one] * count + utterances.speakers[columns][two]
        keys.append(entry_keys(cells_of(grid, scores[one, two]), pairs, count))
    entries = gather(np.concatenate(keys), count)
    targets = utterances.counts * (utterances.counts - 1) // 2
    return SpeakerPairs(grid, targets, missed, AllTotals(utterances.counts), *entries)


def _binned(scaled: NDArray[np.float32]) -> Codes:
    """Count scores, multiplied by half the number of bins, in bins of [-1, 1]; overwrites them."""
    np.floor(scaled, out=scaled)
    scaled += np.float32(_SCALE)
    np.clip(scaled, 0, BINS - 1, out=scaled)
    return np.bincount(scaled.astype(np.intp).ravel(), minlength=BINS)


@dataclass(frozen=True, eq=False)
class _Utterances:
    """Embeddings with the utterances of one speaker beside each other."""

    vectors: Vectors
    speakers: Codes
    ends: Codes

    @classmethod
    def of(cls, vectors: Vectors, speakers: ArrayLike) -> _Utterances:
        names, codes = np.unique(np.asarray(speakers), return_inverse=True)
        if vectors.ndim != 2 or codes.shape != vectors.shape[:1]:
            raise CalibrationError(f"speakers {codes.shape} do not go with vectors {vectors.shape}")
        unusable = np.flatnonzero(~np.isfinite(vectors.sum(axis=1)))
        if unusable.size:
            raise CalibrationError(
                f"{unusable.size} embeddings are not finite", where=f"utterance {unusable[0]}", hint="embed it again"
            )
        counts = np.bincount(codes, minlength=names.size)
        targets, pairs = int((counts * (counts - 1)).sum()) // 2, codes.size * (codes.size - 1) // 2
        if targets == 0 or targets == pairs:
            raise CalibrationError(
                f"{targets} targets and {pairs - targets} non-targets: both kinds of pair are needed",
                hint="give at least two speakers, one of them with at least two recordings",
            )
        order = np.argsort(codes, kind="stable")
        return cls(np.ascontiguousarray(vectors[order], np.float32), codes[order], np.cumsum(counts))

    @property
    def counts(self) -> Codes:
        """Utterances of each speaker."""
        return np.diff(self.ends, prepend=0)

    def targets(self) -> Iterator[tuple[int, Scores]]:
        """Each speaker and scores of pairs of theirs, some thousand rows at a time."""
        for speaker, (start, end) in enumerate(zip(self.ends - self.counts, self.ends, strict=True)):
            own = self.vectors[start:end]
            for row in range(0, len(own), _ROWS):
                scores = own[row : row + _ROWS] @ own[row:].T
                yield speaker, scores[np.triu_indices(len(scores), 1, scores.shape[1])]

    def blocks(self, width: int | None = None) -> Iterator[tuple[slice, slice]]:
        """Rows and columns that together hold every pair of two speakers, the later utterance in the columns."""
        total = len(self.speakers)
        for start in range(0, total, _ROWS):
            rows = slice(start, min(start + _ROWS, total))
            first = int(self.ends[self.speakers[start]])
            for column in range(first, total, width or total):
                yield rows, slice(column, min(column + (width or total), total))

    def begin(self, rows: slice, columns: slice) -> Codes:
        """For each row, how many columns at its left are no later speaker's."""
        begin: Codes = np.clip(self.ends[self.speakers[rows]] - columns.start, 0, columns.stop - columns.start)
        return begin
