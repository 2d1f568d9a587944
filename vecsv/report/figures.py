"""The figures of a report about pairs: errors against the threshold, DET, scores, and likelihood ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Flags, Scores
from vecsv.calibration.counts import ErrorCounts
from vecsv.calibration.det import det_points
from vecsv.calibration.metrics import precision_recall_f1
from vecsv.calibration.operating_points import PRIOR
from vecsv.report.canvas import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    MARKERS,
    ORANGE,
    PINK,
    RED,
    SKY,
    dress,
    grouped,
    legend_beside,
    new_figure,
    plain_number,
    rows_without_overlap,
    to_png,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = Sequence[tuple[str, float]]

_STEPS = 1500
_BINS = 80
_RELIABILITY_BINS = 14
_DET_BETWEEN = (2e-3, 5e-3)
_DET_TICKS = (1e-5, 1e-4, 1e-3, 2e-3, 5e-3, 1e-2, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.99)


def errors_figure(counts: ErrorCounts, points: Points, in_force: str) -> bytes:
    """FMR, FNMR, DCF, precision, recall and F1 against the threshold, the chosen points marked; PNG.

    Parameters
    ----------
    counts : ErrorCounts
    points : sequence of (str, float)
        Names and thresholds; those at infinity are left out.
    in_force : str
        Name of the one that decides.
    """
    finite = [(name, place) for name, place in points if math.isfinite(place)]
    low, high = _range(counts, [place for _, place in finite])
    grid = np.linspace(low, high, _STEPS)
    index = np.searchsorted(counts.thresholds, grid.astype(counts.thresholds.dtype), side="left")
    fmr, fnmr = counts.fmr[index], counts.fnmr[index]
    hits = PRIOR * (1 - fnmr)
    accepted = hits + (1 - PRIOR) * fmr
    precision = np.divide(hits, accepted, out=np.full_like(hits, np.nan), where=accepted > 0)
    f1 = 2 * hits / (accepted + PRIOR)
    cost = (PRIOR * fnmr + (1 - PRIOR) * fmr) / min(PRIOR, 1 - PRIOR)

    groups = grouped(finite, 0.004 * (high - low))
    labels = [", ".join(names) for names, _ in groups]
    places = [place for _, place in groups]
    widths = [(0.0135 * len(label) + 0.02) * (high - low) for label in labels]
    centres = [min(max(place, low + width / 2), high - width / 2) for place, width in zip(places, widths, strict=True)]
    rows = rows_without_overlap(centres, widths)

    figure = new_figure(9.6, 7.2 + 0.24 * (max(rows, default=0) + 1))
    strip, upper, lower = figure.subplots(
        3, 1, sharex=True, height_ratios=[0.24 * (max(rows, default=0) + 1), 3.9, 2.7]
    )
    upper.semilogy(grid, _positive(fmr), color=RED, linewidth=2, label="FMR, false match rate")
    upper.semilogy(grid, _positive(fnmr), color=BLUE, linewidth=2, label="FNMR, false non-match rate")
    label = f"DCF, normalised,\ntarget prior {PRIOR:g}"
    # The cost of accepting all is far above 1; what matters is below.
    upper.semilogy(grid, _positive(cost), color=INK, linewidth=1.4, linestyle="--", label=label)
    upper.set_ylim(max(0.4 / counts.non_targets, 1e-6), 1.6)
    upper.yaxis.set_major_formatter(plain_number)
    dress(upper, y="error rate, cost (log)")
    legend_beside(upper)
    lower.plot(grid, precision, color=GREEN, linewidth=2, label=f"precision, prior {PRIOR:g}")
    lower.plot(grid, 1 - fnmr, color=BLUE, linewidth=2, label="recall")
    lower.plot(grid, f1, color=PINK, linewidth=2, label=f"F1, prior {PRIOR:g}")
    lower.set_ylim(-0.02, 1.04)
    dress(lower, x="threshold: a pair is accepted when its score is at or above it", y="share")
    legend_beside(lower)
    lower.set_xlim(low, high)
    decides = [in_force in names for names, _ in groups]
    _label_strip(strip, labels, places, centres, rows, decides)
    for place, bold in zip(places, decides, strict=True):
        at = counts.index_of(place)
        for panel in (upper, lower):
            panel.axvline(place, color=INK if bold else FAINT, linewidth=1.4 if bold else 1, linestyle=":")
        for rates, colour in ((counts.fmr, RED), (counts.fnmr, BLUE)):
            if rates[at] > 0:
                upper.plot(place, rates[at], "o", color=colour, markersize=6, markeredgecolor="white", zorder=5)
        share, recall, best = precision_recall_f1(counts, at, PRIOR)
        for value, colour in ((share, GREEN), (recall, BLUE), (best, PINK)):
            if value is not None:
                lower.plot(place, value, "o", color=colour, markersize=6, markeredgecolor="white", zorder=5)
    return to_png(figure)


def _range(counts: ErrorCounts, places: Sequence[float]) -> tuple[float, float]:
    """Scores between which something happens: from where most non-targets are gone to where most targets are."""
    distinct = counts.thresholds[:-1].astype(np.float64)
    first = distinct[int(np.argmax(counts.false_accepts[:-1] <= 0.5 * counts.non_targets))]
    last = distinct[min(int(np.searchsorted(counts.misses, 0.97 * counts.targets)), distinct.size - 1)]
    low, high = min([first, *places]), max([last, *places])
    margin = 0.03 * (high - low) or 0.01
    return float(low - margin), float(high + margin)


def _positive(rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Zeros as gaps: a logarithmic axis has no place for them."""
    return np.where(rates > 0, rates, np.nan)


def _label_strip(
    strip: Axes,
    labels: Sequence[str],
    places: Sequence[float],
    centres: Sequence[float],
    rows: Sequence[int],
    decides: Sequence[bool],
) -> None:
    """Names of the points above the panels, each on a row of its own where they would touch."""
    strip.set_ylim(0, max(rows, default=0) + 1)
    strip.axis("off")
    for label, place, centre, row, bold in zip(labels, places, centres, rows, decides, strict=True):
        strip.plot([place, place], [0, row + 0.15], color=FAINT, linewidth=1, linestyle=":", clip_on=False)
        strip.text(
            centre,
            row + 0.5,
            label,
            ha="center",
            va="center",
            fontsize=9,
            color=INK,
            fontweight="bold" if bold else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )


def det_figure(counts: ErrorCounts, points: Points, eer: float) -> bytes:
    """FNMR against FMR on probit axes, the chosen points and the places of 30 errors marked; PNG."""
    from scipy.special import ndtri

    curve = det_points(counts)
    x, y = ndtri(curve.fmr), ndtri(curve.fnmr)
    figure = new_figure(9.0, 6.4)
    axes = figure.subplots()
    axes.plot(x, y, color=BLUE, linewidth=2, label="the pairs reported on")
    limits = _det_limits(curve.fmr, counts.non_targets), _det_limits(curve.fnmr, counts.targets)
    shared = np.array([min(low for low, _ in limits), max(high for _, high in limits)])
    axes.plot(ndtri(shared), ndtri(shared), color=FAINT, linewidth=1, linestyle="--", label="FMR = FNMR")
    if 0 < eer < 1:
        axes.plot(ndtri(eer), ndtri(eer), "*", color=INK, markersize=13, label=f"EER {eer:.2%}", zorder=6)
    for (name, place), marker, colour in zip(
        points, MARKERS, (RED, GREEN, ORANGE, PINK, SKY, INK, FAINT), strict=False
    ):
        at = counts.index_of(place)
        fmr = _inside(counts.fmr[at], counts.non_targets)
        fnmr = _inside(counts.fnmr[at], counts.targets)
        axes.plot(
            ndtri(fmr), ndtri(fnmr), marker, color=colour, markersize=8, markeredgecolor="white", label=name, zorder=5
        )
    if curve.fmr_at_30_errors is not None:
        axes.axvline(ndtri(curve.fmr_at_30_errors), color=RED, linewidth=1.2, linestyle=":", label="30 false accepts")
    if curve.fnmr_at_30_errors is not None:
        axes.axhline(ndtri(curve.fnmr_at_30_errors), color=GREEN, linewidth=1.2, linestyle=":", label="30 misses")
    for axis, (low, high) in zip((axes.xaxis, axes.yaxis), limits, strict=True):
        # Where rates far below a percent are drawn, there is no room for those between.
        ticks = [tick for tick in _DET_TICKS if low <= tick <= high and (low > 2e-4 or tick not in _DET_BETWEEN)]
        axis.set_ticks(ndtri(ticks), [f"{tick * 100:g}%" for tick in ticks])
    axes.set_xlim(*ndtri(limits[0]))
    axes.set_ylim(*ndtri(limits[1]))
    dress(axes, x="FMR, false match rate (probit)", y="FNMR, false non-match rate (probit)")
    legend_beside(axes)
    return to_png(figure)


def _det_limits(rates: NDArray[np.float64], trials: int) -> tuple[float, float]:
    low = max(0.5 / trials * 0.8, 5e-6)
    return low, max(0.5, min(0.95, float(rates.max())) if trials < 100 else 0.6)


def _inside(rate: float, trials: int) -> float:
    return min(max(float(rate), 0.5 / trials), 1 - 0.5 / trials)


def scores_figure(scores: Scores, labels: Flags, threshold: tuple[str, float]) -> bytes:
    """Histograms of target and non-target scores, each of area 1, and the threshold in force; PNG."""
    figure = new_figure(9.0, 3.9)
    axes = figure.subplots()
    edges = np.linspace(float(scores.min()), float(scores.max()) + 1e-6, _BINS + 1).tolist()
    for kind, name, colour in ((~labels, "non-targets: two speakers", RED), (labels, "targets: one speaker", BLUE)):
        values = scores[kind]
        axes.hist(values, edges, density=True, color=colour, alpha=0.25)
        axes.hist(
            values,
            edges,
            density=True,
            color=colour,
            histtype="step",
            linewidth=1.6,
            label=f"{name}\n({values.size:,})",
        )
    name, place = threshold
    if math.isfinite(place):
        axes.axvline(place, color=INK, linewidth=1.4, linestyle="--", label=f"in force: {name}\n({place:.4f})")
    axes.set_xlim(edges[0], edges[-1])
    dress(axes, x="score", y="density")
    legend_beside(axes)
    return to_png(figure)


def reliability_figure(ratios: NDArray[np.float64], labels: Flags) -> bytes:
    """What log-likelihood ratios say against what the trials show, in bins; PNG."""
    predicted, observed, spread, empty = reliability(ratios, labels)
    figure = new_figure(9.0, 5.4)
    axes = figure.subplots()
    reach = max(2.0, float(np.abs(np.concatenate([predicted, observed])).max()) * 1.12)
    axes.plot([-reach, reach], [-reach, reach], color=FAINT, linestyle="--", linewidth=1, label="as they should be")
    axes.axhline(0, color="#d0d0d0", linewidth=0.8, zorder=0)
    axes.axvline(0, color="#d0d0d0", linewidth=0.8, zorder=0)
    full = ~empty
    label = "trials, in bins (bars: 90%,\nas if pairs were independent)"
    axes.errorbar(
        predicted[full], observed[full], yerr=spread[full], fmt="o", color=BLUE, markersize=6, capsize=3, label=label
    )
    for marker, side, label in (
        ("v", observed < 0, "bins without a target:\nhere or lower"),
        ("^", observed > 0, "bins without a non-target:\nhere or higher"),
    ):
        if (empty & side).any():
            axes.plot(
                predicted[empty & side],
                observed[empty & side],
                marker,
                color=BLUE,
                markerfacecolor="white",
                label=label,
            )
    shown = np.where(full, spread, 0.5)
    axes.set_xlim(predicted.min() - 0.06 * np.ptp(predicted) - 0.5, predicted.max() + 0.06 * np.ptp(predicted) + 0.5)
    axes.set_ylim((observed - shown).min() - 1, (observed + shown).max() + 1)
    dress(axes, x="log-likelihood ratio as computed (natural)", y="as observed")
    legend_beside(axes)
    return to_png(figure)


def reliability(
    ratios: NDArray[np.float64], labels: Flags, bins: int = _RELIABILITY_BINS
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], Flags]:
    """Hold log-likelihood ratios against the share of targets and non-targets in bins.

    The bins hold equal shares of trials, both kinds weighing the same in all.

    Returns
    -------
    predicted : ndarray of float64, shape (bins,)
        What the ratios in each bin say of it: the log odds of their mean probability of a target.
    observed : ndarray of float64, same shape
        ``log((t / T) / (n / N))`` of the targets and non-targets in it; half a trial is put in for none.
    spread : ndarray of float64, same shape
        Half of a 90% interval, as if the trials were independent.
    empty : ndarray of bool, same shape
        Bins that lack one of the kinds.

    Examples
    --------
    >>> predicted, observed, _, _ = reliability(np.array([-1.0, -1, -1, 1, 1, 1]), np.arange(6) % 3 == 0, bins=2)
    >>> predicted.round(2).tolist(), observed.round(2).tolist()
    ([-1.0, 1.0], [0.0, 0.0])
    """
    targets = int(np.count_nonzero(labels))
    weights = np.where(labels, 0.5 / targets, 0.5 / (labels.size - targets))
    # What lies below a ratio, counted: equal ratios share a bin, and the order of the trials is of no consequence.
    below = [np.searchsorted(np.sort(ratios[kind]), ratios) / np.count_nonzero(kind) for kind in (labels, ~labels)]
    bin_of = np.minimum(((below[0] + below[1]) / 2 * bins).astype(np.int64), bins - 1)
    used, place = np.unique(bin_of, return_inverse=True)
    # The mean probability of a target, as a ratio again; in logarithms, since it may be as good as 0 or 1.
    logs = np.full((2, used.size), -np.inf)
    for row, sign in enumerate((-1.0, 1.0)):
        np.logaddexp.at(logs[row], place, np.log(weights) - np.logaddexp(0.0, sign * ratios))
    predicted = logs[0] - logs[1]
    kinds = [np.bincount(place[kind], minlength=used.size) for kind in (labels, ~labels)]
    empty = (kinds[0] == 0) | (kinds[1] == 0)
    inside = [np.maximum(kind, 0.5) for kind in kinds]
    observed = np.log(inside[0] / targets) - np.log(inside[1] / (labels.size - targets))
    return predicted, observed, 1.645 * np.sqrt(1 / inside[0] + 1 / inside[1]), empty
