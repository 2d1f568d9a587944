"""Error rates as functions of how much each speaker counts: what the speaker bootstrap draws again and again.

With a weight for every speaker, a target trial counts its speaker's weight and a non-target trial the product of its
two speakers' weights. Kept for that are, at a grid of thresholds, the accepted trials of every speaker and of every
pair of speakers that has any: a few megabytes, whatever the number of trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vecsv.calibration.corners import corner_counts
from vecsv.calibration.counts import Floats
from vecsv.calibration.metrics import eer

Codes = NDArray[np.int64]
Weights = NDArray[np.float32]
Rates = NDArray[np.float64]

# Sets with no more distinct scores than this are not thinned.
_FEW = 600
# Non-target trials are looked at one by one up to so many; of more, those that cannot matter are only counted.
_BEARABLE = 300_000


class PairTotals(Protocol):
    """How many non-target trials each pair of speakers has."""

    def weighted(self, weights: Weights) -> Rates:
        """Sum over all trials of the product of the two weights, for each column of the weights."""
        ...

    def of(self, pairs: Codes) -> Codes:
        """Trials of some pairs of speakers, given as ``low * speakers + high``."""
        ...

    def by_speaker(self) -> Rates:
        """Trials that each speaker has a side in."""
        ...

    def squares(self) -> float:
        """Sum of the squares over all pairs."""
        ...

    def pairs(self) -> int:
        """Pairs of speakers with any trial."""
        ...


@dataclass(frozen=True, eq=False)
class ListedTotals:
    """Totals of a list of trials."""

    codes: Codes
    counts: Codes
    speakers: int

    @classmethod
    def count(cls, pairs: Codes, speakers: int) -> ListedTotals:
        """Count the trials of each pair, given for each trial as ``low * speakers + high``."""
        codes, counts = np.unique(pairs, return_counts=True)
        return cls(codes, counts.astype(np.int64), speakers)

    def weighted(self, weights: Weights) -> Rates:
        """As `PairTotals`."""
        matrix = _sparse(self.counts, self.codes // self.speakers, self.codes % self.speakers, (self.speakers,) * 2)
        sums: Rates = np.einsum("sr,sr->r", matrix @ weights, weights, dtype=np.float64)
        return sums

    def of(self, pairs: Codes) -> Codes:
        """As `PairTotals`."""
        return self.counts[np.searchsorted(self.codes, pairs)]

    def by_speaker(self) -> Rates:
        """As `PairTotals`."""
        sides = np.concatenate([self.codes // self.speakers, self.codes % self.speakers])
        trials: Rates = np.bincount(sides, np.tile(self.counts, 2), self.speakers).astype(np.float64)
        return trials

    def squares(self) -> float:
        """As `PairTotals`."""
        return float((self.counts.astype(np.float64) ** 2).sum())

    def pairs(self) -> int:
        """As `PairTotals`."""
        return int(self.codes.size)


@dataclass(frozen=True, eq=False)
class AllTotals:
    """Totals where every utterance is paired with every other."""

    utterances: Codes

    def weighted(self, weights: Weights) -> Rates:
        """As `PairTotals`."""
        each = self.utterances[:, None] * weights.astype(np.float64)
        sums: Rates = (each.sum(0) ** 2 - (each**2).sum(0)) / 2
        return sums

    def of(self, pairs: Codes) -> Codes:
        """As `PairTotals`."""
        return self.utterances[pairs // self.utterances.size] * self.utterances[pairs % self.utterances.size]

    def by_speaker(self) -> Rates:
        """As `PairTotals`."""
        trials: Rates = (self.utterances * (self.utterances.sum() - self.utterances)).astype(np.float64)
        return trials

    def squares(self) -> float:
        """As `PairTotals`."""
        squared = self.utterances.astype(np.float64) ** 2
        return float((squared.sum() ** 2 - (squared**2).sum()) / 2)

    def pairs(self) -> int:
        """As `PairTotals`."""
        held = int(np.count_nonzero(self.utterances))
        return held * (held - 1) // 2


@dataclass(frozen=True, eq=False)
class Spread:
    """Sums of squared residuals over the squared number of trials, at each threshold of a grid.

    The residual of a speaker is the sum, over the trials with a side of theirs, of what these differ from the overall
    rate; that of a pair of speakers likewise.

    Attributes
    ----------
    fmr_speakers, fmr_left_out, fmr_pairs : ndarray of float64, shape (thresholds,)
        Over speakers, over speakers as in a jackknife (each residual against the rate without them), over pairs.
    fnmr_speakers, fnmr_left_out : ndarray of float64, shape (thresholds,)
        Over speakers, and as in a jackknife.
    fmr_freedom, fnmr_freedom : ndarray of float64, shape (thresholds,)
        Degrees of freedom of those variances (Satterthwaite's): about as many as speakers where these are alike, and
        few where a few make most of the errors.
    """

    fmr_speakers: Rates
    fmr_left_out: Rates
    fmr_freedom: Rates
    fmr_pairs: Rates
    fnmr_speakers: Rates
    fnmr_left_out: Rates
    fnmr_freedom: Rates


@dataclass(frozen=True, eq=False)
class SpeakerPairs:
    """Accepted trials of every speaker and pair of speakers, at a grid of thresholds.

    Attributes
    ----------
    grid : ndarray, ascending, shape (thresholds,)
        The thresholds.
    targets : ndarray of int64, shape (speakers,)
        Target trials of each speaker.
    missed : ndarray of float64, shape (speakers, thresholds)
        Those of them below each threshold.
    totals : PairTotals
        Non-target trials of each pair of speakers.
    cells, pairs, counts : ndarray of int64, shape (entries,)
        How many non-target trials of a pair of speakers (``low * speakers + high``) lie from one threshold up to the
        next; sorted by cell, then by pair.
    """

    grid: Floats
    targets: Codes
    missed: Rates
    totals: PairTotals
    cells: Codes
    pairs: Codes
    counts: Codes

    @property
    def speakers(self) -> int:
        """Number of speakers."""
        return int(self.targets.size)

    def rates(self, weights: Weights) -> tuple[Rates, Rates]:
        """FMR and FNMR at each threshold, a column for each column of weights.

        Parameters
        ----------
        weights : ndarray of float32, shape (speakers, replicates)
            Above 0.
        """
        accepted = np.zeros((self.grid.size, weights.shape[1]))
        if self.cells.size:
            matrix, cells, starts, sides = self._matrix()
            step = max(1, 4_000_000 // sides.size)
            for start in range(0, weights.shape[1], step):
                part = np.ascontiguousarray(weights[:, start : start + step])
                products = matrix @ part
                products *= part[sides]
                accepted[cells, start : start + step] = np.add.reduceat(products, starts, axis=0, dtype=np.float64)
        accepted = np.cumsum(accepted[::-1], axis=0)[::-1]
        fmr = accepted / self.totals.weighted(weights)
        heavy = weights.astype(np.float64)
        fnmr = (self.missed.T @ heavy) / (self.targets @ heavy)
        return np.clip(fmr, 0, 1), np.clip(fnmr, 0, 1)

    def _matrix(self) -> tuple[Any, Codes, Codes, Codes]:
        """Entries as a sparse matrix with a row for each cell and lower speaker; cells, their first rows, speakers."""
        from scipy.sparse import csr_array

        rows = self.cells * self.speakers + self.pairs // self.speakers
        begin = _run_starts(rows)
        columns = (self.pairs % self.speakers).astype(np.int32)
        bounds = np.append(begin, rows.size)
        shape = (begin.size, self.speakers)
        matrix = csr_array((self.counts.astype(np.float32), columns, bounds), shape=shape)
        cells = self.cells[begin]
        starts = _run_starts(cells)
        return matrix, cells[starts], starts, rows[begin] % self.speakers

    def spread(self) -> Spread:
        """What the variances of the two rates at each threshold are made of."""
        speakers, by_speaker, trials_squared = self.speakers, self.totals.by_speaker(), self.totals.squares()
        total = float(by_speaker.sum() / 2)
        known, place = np.unique(self.pairs, return_inverse=True)
        trials = self.totals.of(known).astype(np.float64)
        accepted, node = np.zeros(known.size), np.zeros(speakers)
        squares = cross = 0.0
        ends = np.searchsorted(self.cells, np.arange(self.grid.size + 1))
        moments, pair = np.empty((self.grid.size, 3)), np.empty(self.grid.size)
        for cell in reversed(range(self.grid.size)):
            part = slice(ends[cell], ends[cell + 1])
            where, more = place[part], self.counts[part].astype(np.float64)
            squares += float((2 * accepted[where] * more + more**2).sum())
            cross += float((more * trials[where]).sum())
            accepted[where] += more
            node += np.bincount(self.pairs[part] // speakers, more, speakers)
            node += np.bincount(self.pairs[part] % speakers, more, speakers)
            rate = node.sum() / 2 / total
            residual = node - rate * by_speaker
            moments[cell] = _moments(residual, by_speaker / (2 * total))
            pair[cell] = max(squares - 2 * rate * cross + rate**2 * trials_squared, 0.0)
        target_total = float(self.targets.sum())
        own = self.missed - self.missed.sum(0) / target_total * self.targets[:, None].astype(np.float64)
        misses = np.array([_moments(column, self.targets / target_total) for column in own.T])
        return Spread(
            fmr_speakers=moments[:, 0] / total**2,
            fmr_left_out=moments[:, 1] / total**2,
            fmr_freedom=moments[:, 2],
            fmr_pairs=pair / total**2,
            fnmr_speakers=misses[:, 0] / target_total**2,
            fnmr_left_out=misses[:, 1] / target_total**2,
            fnmr_freedom=misses[:, 2],
        )


def _moments(residuals: Rates, shares: Rates) -> tuple[float, float, float]:
    """Sum of squared residuals, the same as if each speaker had been left out of the rate, and degrees of freedom."""
    squares = float((residuals**2).sum())
    left_out = float(((residuals / np.maximum(1 - shares, 0.5)) ** 2).sum())
    most = float(max(residuals.size - 1, 1))
    if squares == 0:
        return squares, left_out, most
    kurtosis = residuals.size * float((residuals**4).sum()) / squares**2
    # A variance from n values varies by (kurtosis - 1) / n, one with f degrees of freedom by 2 / f.
    freedom = 2 * residuals.size / max(kurtosis - 1, 1e-9)
    return squares, left_out, min(max(freedom, 2.0), most)


def choose_grid(targets: Floats, non_targets: Floats, thresholds: Sequence[float], size: int = 400) -> Floats:
    """Thresholds between which EER and minimum cost may lie, dense where that is likely.

    Parameters
    ----------
    targets, non_targets : ndarray, ascending, of one dtype
        Scores of the two kinds.
    thresholds : sequence of float
        Others to include.
    size : int
        About how many to choose, where there are more than can be kept.

    Returns
    -------
    ndarray
        Ascending, without repetition; from the lowest score only where there are few trials.
    """
    with np.errstate(over="ignore"):
        asked = np.array(thresholds, dtype=targets.dtype)
    asked = asked[np.isfinite(asked)]
    counts = corner_counts(targets, non_targets)
    corners = counts.thresholds[:-1]
    if corners.size <= _FEW:
        return np.unique(np.concatenate([corners, asked]))
    rate = max(eer(counts), 1 / non_targets.size)
    lowest = 1.0 if non_targets.size <= _BEARABLE else min(1.0, max(4 * rate, 0.02))
    places: list[Floats] = [
        non_targets[_positions(np.geomspace(1 / non_targets.size, lowest, size // 2), non_targets.size, top=True)],
        non_targets[_positions(np.geomspace(rate / 4, min(1.0, rate * 4), size // 4), non_targets.size, top=True)],
        targets[_positions(np.linspace(0, 1, size // 4), targets.size)],
        targets[_positions(np.geomspace(rate / 4, min(1.0, rate * 4), size // 4), targets.size)],
        asked,
    ]
    grid: Floats = np.unique(np.concatenate(places))
    floor = min([non_targets[_positions(np.array([lowest]), non_targets.size, top=True)[0]], *asked])
    kept: Floats = grid[grid >= floor]
    return kept


def _positions(rates: Rates, size: int, *, top: bool = False) -> Codes:
    ranks = np.clip(np.round(rates * size).astype(np.int64), 1 if top else 0, size if top else size - 1)
    return size - ranks if top else ranks


def cells_of(grid: Floats, scores: Floats) -> Codes:
    """The last threshold of the grid that accepts each score, or -1."""
    return np.searchsorted(grid, scores, side="right") - 1


def entry_keys(cells: Codes, pairs: Codes, speakers: int) -> Codes:
    """One number for a cell and a pair of speakers, for `gather`; those of cell -1 are left out."""
    accepted = cells >= 0
    keys: Codes = cells[accepted] * speakers**2 + pairs[accepted]
    return keys


def gather(keys: Codes, speakers: int) -> tuple[Codes, Codes, Codes]:
    """Cells, pairs and counts of the trials with these keys, which it sorts in place."""
    keys.sort()
    begin = _run_starts(keys)
    counts = np.diff(begin, append=keys.size)
    cells, pairs = np.divmod(keys[begin], speakers**2)
    return cells, pairs, counts


def _run_starts(values: Codes) -> Codes:
    """Where each run of equal values begins."""
    if values.size == 0:
        return np.empty(0, np.int64)
    return np.append(0, np.flatnonzero(values[1:] != values[:-1]) + 1)


def from_trials(
    first: Codes, second: Codes, scores: Floats, labels: NDArray[np.bool_], speakers: int, grid: Floats
) -> SpeakerPairs:
    """Reduce a list of trials, whose speakers are numbered from 0."""
    own = first[labels]
    targets = np.bincount(own, minlength=speakers)
    missed = missed_targets(grid, own, scores[labels], speakers)
    other = ~labels
    one, two = first[other], second[other]
    codes = np.minimum(one, two) * speakers + np.maximum(one, two)
    cells = cells_of(grid, scores[other])
    entries = gather(entry_keys(cells, codes, speakers), speakers)
    return SpeakerPairs(grid, targets, missed, ListedTotals.count(codes, speakers), *entries)


def missed_targets(grid: Floats, speakers_of: Codes, scores: Floats, speakers: int) -> Rates:
    """Target trials of each speaker below each threshold."""
    cells = cells_of(grid, scores) + 1
    flat = np.bincount(speakers_of * (grid.size + 1) + cells, minlength=speakers * (grid.size + 1))
    return np.cumsum(flat.reshape(speakers, grid.size + 1)[:, :-1], axis=1).astype(np.float64)


def _sparse(values: Codes, rows: Codes, columns: Codes, shape: tuple[int, int]) -> Any:
    from scipy.sparse import csr_array

    return csr_array((values.astype(np.float32), (rows, columns)), shape=shape)
