"""Pairs of utterances as a numbered population, so that any number of them can be drawn without listing them all.

Utterances are put in an order in which those of one speaker stand together. A population then gives each position
``i`` a run of partners further on, ``j`` in ``[begin[i], end[i])``; numbering the pairs by ``i`` and then by ``j``
makes the k-th pair a matter of one binary search in the cumulative sums. Pairs that must not be drawn are taken out of
the numbering, never drawn and thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Positions: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Blocks:
    """Where each position's block of equal keys begins and ends, in an array that is sorted by key.

    Attributes
    ----------
    begin, end : ndarray of int64, shape (n,)
        Half-open bounds of the block that each position lies in.
    bounds : ndarray of int64, shape (blocks + 1,)
        Where the blocks begin, and n.
    """

    begin: Positions
    end: Positions
    bounds: Positions

    @classmethod
    def of(cls, *keys: Positions) -> Blocks:
        """Find the runs in which all the keys stay the same.

        Examples
        --------
        >>> Blocks.of(np.array([4, 4, 7])).end.tolist()
        [2, 2, 3]
        """
        size = keys[0].size
        changes = np.zeros(size, dtype=np.bool_)
        for key in keys:
            changes[1:] |= key[1:] != key[:-1]
        bounds = np.concatenate([[0], np.flatnonzero(changes), [size]]).astype(np.int64)
        lengths = np.diff(bounds)
        return cls(np.repeat(bounds[:-1], lengths), np.repeat(bounds[1:], lengths), bounds)


class Groups:
    """Groups whose members may lie anywhere, to be left out of a run of partners.

    Parameters
    ----------
    codes : ndarray of int64, shape (n,)
        The group of each position.
    """

    def __init__(self, codes: Positions) -> None:
        size = codes.size
        self._stride = size + 1
        self._rank = np.unique(codes, return_inverse=True)[1].astype(np.int64)
        members = np.argsort(self._rank, kind="stable")
        blocks = Blocks.of(self._rank[members])
        self._first = np.empty(size, dtype=np.int64)
        self._first[members] = blocks.begin
        self._last = np.empty(size, dtype=np.int64)
        self._last[members] = blocks.end
        # One ascending array for all groups, so that a search within a group is a search in the whole.
        self._member_keys = self._rank[members] * self._stride + members
        # How many positions that are not members come before each member: ascending within a group, too.
        self._gap_keys = self._member_keys - (np.arange(size) - blocks.begin)

    def before(self, position: Positions, bound: Positions) -> Positions:
        """How many members of the group of `position` lie before `bound`."""
        key = self._rank[position] * self._stride + bound
        found: Positions = np.searchsorted(self._member_keys, key, side="left") - self._first[position]
        return found

    def at_or_after(self, position: Positions, bound: Positions) -> Positions:
        """How many members of the group of `position` lie at or after `bound`."""
        return self._last[position] - self._first[position] - self.before(position, bound)

    def skip(self, position: Positions, begin: Positions, rank: Positions) -> Positions:
        """Find the `rank`-th place at or after `begin` that is no member of the group of `position`."""
        skipped = self.before(position, begin)
        key = self._rank[position] * self._stride + begin + rank - skipped
        found = np.searchsorted(self._gap_keys, key, side="right") - self._first[position]
        place: Positions = begin + rank + found - skipped
        return place


@dataclass(frozen=True, eq=False)
class Population:
    """A numbered set of pairs of positions ``i < j``.

    Attributes
    ----------
    begin, end : ndarray of int64, shape (n,)
        The run of partners of each position, ``i < begin[i] <= end[i]``. With `groups` it must reach to the last
        position, ``end[i] == n``.
    groups : Groups or None
        Partners in the same group as ``i`` are left out.
    excluded : ndarray of int64
        Ascending numbers, before exclusion, of further pairs to leave out; see `without`.
    """

    begin: Positions
    end: Positions
    groups: Groups | None
    excluded: Positions

    @classmethod
    def between(cls, begin: Positions, end: Positions, groups: Groups | None = None) -> Population:
        """All pairs that the runs of partners give."""
        return cls(begin, end, groups, np.empty(0, dtype=np.int64))

    def without(self, i: Positions, j: Positions) -> Population:
        """Leave out these pairs, each of which is in the population."""
        number = self._starts[i] + (j - self.begin[i])
        if self.groups is not None:
            number -= self.groups.before(i, j) - self.groups.before(i, self.begin[i])
        return Population(self.begin, self.end, self.groups, np.unique(number))

    @cached_property
    def _ends(self) -> Positions:
        partners = self.end - self.begin
        if self.groups is not None:
            partners = partners - self.groups.at_or_after(np.arange(self.begin.size), self.begin)
        return np.cumsum(partners)

    @cached_property
    def _starts(self) -> Positions:
        return np.concatenate([[0], self._ends[:-1]])

    def sizes(self, bounds: Positions) -> Positions:
        """How many pairs have their first member in each stretch of positions that `bounds` delimit.

        Parameters
        ----------
        bounds : ndarray of int64, shape (stretches + 1,)
            Ascending, from 0 to n.
        """
        reached = np.concatenate([[0], self._ends])[bounds]
        return np.diff(reached - np.searchsorted(self.excluded, reached, side="left"))

    def __len__(self) -> int:
        return (int(self._ends[-1]) if self._ends.size else 0) - self.excluded.size

    def pairs(self, numbers: Positions) -> tuple[Positions, Positions]:
        """Both members of the pairs of these numbers, each in ``[0, len(self))``."""
        # excluded[k] - k pairs that stay come before the k-th excluded one.
        kept_before = self.excluded - np.arange(self.excluded.size)
        numbers = numbers + np.searchsorted(kept_before, numbers, side="right")
        i = np.searchsorted(self._ends, numbers, side="right")
        rank = numbers - self._starts[i]
        if self.groups is None:
            return i, self.begin[i] + rank
        return i, self.groups.skip(i, self.begin[i], rank)


def draw_distinct(random: np.random.Generator, sizes: Positions, wanted: Positions) -> Positions:
    """Draw from several strata at once, uniformly and without replacement.

    Memory is proportional to what is drawn, not to the population (`numpy.random.Generator.choice` allocates all
    of it once more than a twentieth is wanted).

    Parameters
    ----------
    random : Generator
        Where the draws come from.
    sizes : ndarray of int64, shape (strata,)
        Members of each stratum; they are numbered through, stratum after stratum.
    wanted : ndarray of int64, shape (strata,)
        How many to draw from each, at most its size.

    Returns
    -------
    ndarray of int64
        Ascending numbers in ``[0, sizes.sum())``.

    Examples
    --------
    >>> random = np.random.default_rng(1)
    >>> drawn = draw_distinct(random, np.array([3, 10**12]), np.array([3, 2]))
    >>> drawn[:3].tolist(), len(set(drawn.tolist()))
    ([0, 1, 2], 5)
    """
    ends = np.cumsum(sizes)
    starts = ends - sizes
    # Where more than half is wanted it is quicker to draw what to leave out, and listing the stratum costs at most
    # twice the result.
    inverted = wanted > sizes // 2
    to_draw = np.where(inverted, sizes - wanted, wanted)
    drawn = np.empty(0, dtype=np.int64)
    missing = to_draw
    while missing.any():
        # Draws are added until there are enough different ones, and never more than are missing, so every subset
        # is as likely as any other.
        low, high = np.repeat(starts, missing), np.repeat(ends, missing)
        drawn = np.concatenate([drawn, random.integers(low, high)])
        # Not numpy.unique: since NumPy 2.3 it hashes integers first, which for millions takes far longer.
        drawn.sort()
        drawn = drawn[np.append(True, drawn[1:] != drawn[:-1])]
        missing = to_draw - np.diff(np.searchsorted(drawn, np.append(starts, ends[-1])))
    if not inverted.any():
        return drawn
    listed = ranges(starts[inverted], sizes[inverted])
    # In the strata that are listed, what was drawn goes; in the others it stays.
    return np.setxor1d(listed, drawn, assume_unique=True)


def ranges(starts: Positions, lengths: Positions) -> Positions:
    """Concatenate ``starts[k], starts[k] + 1, ...``, ``lengths[k]`` of each.

    Examples
    --------
    >>> ranges(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)
