import itertools
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsv.calibration.counts import error_counts
from vecsv.report.canvas import grouped, rows_without_overlap
from vecsv.report.figures import det_figure, errors_figure, reliability, reliability_figure, scores_figure


def size_of(png: bytes) -> tuple[int, int]:
    """Width and height out of a PNG's header."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert png[12:16] == b"IHDR"
    assert png.rstrip()[-8:-4] == b"IEND"
    width, height = struct.unpack(">II", png[16:24])
    return int(width), int(height)


def scored(targets: int, non_targets: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = np.append(rng.normal(0.8, 0.07, targets), rng.normal(0.5, 0.08, non_targets)).astype(np.float32)
    return scores, np.arange(targets + non_targets) < targets


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (300, 5000)])
def test_every_figure_is_a_png_whatever_the_number_of_trials(size: tuple[int, int]) -> None:
    scores, labels = scored(*size)
    counts = error_counts(scores, labels)
    points = [("eer", 0.65), ("fmr-0.01", 0.7), ("min-dcf-0.01", 0.7), ("rejects", np.inf)]
    for png in (
        errors_figure(counts, points, "fmr-0.01"),
        det_figure(counts, points, 0.05),
        scores_figure(scores, labels, ("fmr-0.01", 0.7)),
        scores_figure(scores, labels, ("rejects", np.inf)),
        reliability_figure(20 * (scores.astype(np.float64) - 0.65), labels),
    ):
        width, height = size_of(png)
        assert width > 1000
        assert height > 400


def test_equal_scores_throughout_can_be_drawn() -> None:
    scores, labels = np.full(20, 0.5, np.float32), np.arange(20) < 5
    counts = error_counts(scores, labels)
    assert size_of(errors_figure(counts, [("eer", 0.5)], "eer"))
    assert size_of(det_figure(counts, [("eer", 0.5)], 0.5))
    assert size_of(scores_figure(scores, labels, ("eer", 0.5)))
    assert size_of(reliability_figure(np.zeros(20), labels))


def test_the_same_trials_give_the_same_bytes() -> None:
    counts = error_counts(*scored(50, 500))
    assert det_figure(counts, [("eer", 0.65)], 0.02) == det_figure(counts, [("eer", 0.65)], 0.02)


def test_true_ratios_lie_on_the_diagonal() -> None:
    # Scores of N(1, 1) against N(-1, 1): the log-likelihood ratio of s is 2 s.
    rng = np.random.default_rng(3)
    scores = np.append(rng.normal(1, 1, 40_000), rng.normal(-1, 1, 200_000))
    predicted, observed, spread, empty = reliability(2 * scores, np.arange(240_000) < 40_000)
    middle = np.abs(predicted) < 3
    assert middle.sum() >= 8
    assert not empty[middle].any()
    assert (np.abs(observed - predicted) < 2 * spread)[middle].all()
    assert (spread[middle] < 0.15).all()


def test_ratios_twice_too_large_do_not() -> None:
    rng = np.random.default_rng(4)
    scores = np.append(rng.normal(1, 1, 40_000), rng.normal(-1, 1, 40_000))
    predicted, observed, _, _ = reliability(4 * scores, np.arange(80_000) < 40_000)
    middle = np.abs(predicted) < 6
    np.testing.assert_allclose(observed[middle], predicted[middle] / 2, atol=0.3)


@given(seed=st.integers(0, 1000), targets=st.integers(1, 40), non_targets=st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_reliability_does_not_depend_on_order(seed: int, targets: int, non_targets: int) -> None:
    rng = np.random.default_rng(seed)
    ratios = rng.integers(-5, 6, targets + non_targets).astype(np.float64)
    labels = np.arange(targets + non_targets) < targets
    order = rng.permutation(labels.size)
    for one, other in zip(reliability(ratios, labels), reliability(ratios[order], labels[order]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


@given(places=st.lists(st.floats(0, 1), max_size=12), width=st.floats(0.01, 0.6))
def test_labels_of_one_row_never_touch(places: list[float], width: float) -> None:
    ascending = sorted(places)
    rows = rows_without_overlap(ascending, [width] * len(ascending))
    for row in set(rows):
        inside = [place for place, at in zip(ascending, rows, strict=True) if at == row]
        assert all(later - earlier >= width - 1e-9 for earlier, later in itertools.pairwise(inside))


def test_points_at_one_place_share_a_label() -> None:
    assert grouped([("c", 0.9), ("a", 0.5), ("b", 0.5004)], 0.001) == [(["a", "b"], 0.5), (["c"], 0.9)]
