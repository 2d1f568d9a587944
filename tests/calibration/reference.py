"""The metrics as their definitions read: every threshold tried, every trial counted, all arithmetic in fractions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from vecsv.calibration.counts import ErrorCounts, error_counts

Vertex = tuple[float, Fraction, Fraction]

# Few distinct values, so that ties are the rule; all of them float32.
scores = st.integers(-6, 6).map(lambda k: k / 8)
trials = st.tuples(st.lists(scores, min_size=1, max_size=12), st.lists(scores, min_size=1, max_size=12))
priors = st.sampled_from([Fraction(1, 1000), Fraction(1, 100), Fraction(1, 3), Fraction(1, 2), Fraction(9, 10)])


def counted(targets: Sequence[float], non_targets: Sequence[float], dtype: type = np.float64) -> ErrorCounts:
    """Counts of a set given as two lists."""
    return error_counts(*joined(targets, non_targets, dtype))


def joined(
    targets: Sequence[float], non_targets: Sequence[float], dtype: type = np.float64
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Scores and labels of a set given as two lists."""
    values = np.array([*targets, *non_targets], dtype=dtype)
    return values, np.arange(values.size) < len(targets)


def roc(targets: Sequence[float], non_targets: Sequence[float]) -> list[Vertex]:
    """Threshold, FMR and FNMR, from accepting all to rejecting all."""
    return [
        (
            threshold,
            Fraction(sum(score >= threshold for score in non_targets), len(non_targets)),
            Fraction(sum(score < threshold for score in targets), len(targets)),
        )
        for threshold in [*sorted({*targets, *non_targets}), math.inf]
    ]


def hull(vertices: Sequence[Vertex]) -> list[Vertex]:
    """Vertices of the lower left convex hull (Andrew's monotone chain)."""
    chain: list[Vertex] = []
    for vertex in vertices:
        while len(chain) >= 2 and _turn(chain[-2], chain[-1], vertex) <= 0:
            chain.pop()
        chain.append(vertex)
    return chain


def _turn(a: Vertex, b: Vertex, c: Vertex) -> Fraction:
    # FMR falls along the curve, so it is mirrored to read from left to right.
    return (a[1] - b[1]) * (c[2] - a[2]) - (b[2] - a[2]) * (a[1] - c[1])


def crossing(vertices: Sequence[Vertex]) -> Fraction:
    """Where the line through the vertices has FMR = FNMR."""
    for (_, fmr_a, fnmr_a), (_, fmr_b, fnmr_b) in pairwise(vertices):
        gap_a, gap_b = fnmr_a - fmr_a, fnmr_b - fmr_b
        if gap_a <= 0 <= gap_b:
            share = gap_a / (gap_a - gap_b)
            return fmr_a + share * (fmr_b - fmr_a)
    raise AssertionError("FNMR - FMR goes from -1 to 1")


def area(targets: Sequence[float], non_targets: Sequence[float]) -> Fraction:
    """P(target > non-target) + P(tie) / 2."""
    wins = sum(2 * (t > n) + (t == n) for t in targets for n in non_targets)
    return Fraction(wins, 2 * len(targets) * len(non_targets))


def lowest_cost(
    vertices: Sequence[Vertex], prior: Fraction, c_miss: Fraction, c_fa: Fraction
) -> tuple[Fraction, float]:
    """Raw cost and the highest threshold that reaches it."""
    costs = [(c_miss * prior * fnmr + c_fa * (1 - prior) * fmr, -threshold) for threshold, fmr, fnmr in vertices]
    cost, negated = min(costs)
    return cost, -negated


def highest_f1(vertices: Sequence[Vertex], prior: Fraction) -> tuple[Fraction, float, Fraction, Fraction]:
    """F1, the highest threshold that reaches it, precision and recall."""
    found = []
    for threshold, fmr, fnmr in vertices:
        accepted = prior * (1 - fnmr) + (1 - prior) * fmr
        if accepted and fnmr < 1:
            precision, recall = prior * (1 - fnmr) / accepted, 1 - fnmr
            found.append((2 * precision * recall / (precision + recall), threshold, precision, recall))
    return max(found)
