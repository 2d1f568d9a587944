"""The figure of a report about searches: FPIR and FNIR against the size of the gallery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vecsv.calibration.open_set import SearchRate
from vecsv.calibration.search_record import GalleryRow, SearchCalibration
from vecsv.report.canvas import BLUE, FAINT, INK, ORANGE, RED, dress, legend_beside, new_figure, plain_number, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Galleries that differ less than this are drawn on a plain axis.
_WIDE = 5


def gallery_figure(search: SearchCalibration) -> bytes:
    """FPIR and FNIR against gallery size, at the search threshold and at others; PNG."""
    figure = new_figure(9.4, 6.4)
    upper, lower = figure.subplots(2, 1, sharex=True)
    rows = _apart(search)
    shown = [value for row in rows for value in (row.fpir.rate, row.pairs_fpir) if value]
    floor = min([*shown, search.fpir_asked]) / 3
    upper.set_yscale("log")
    upper.set_ylim(floor, min(1.3, max([*shown, search.fpir_asked]) * 3))
    label = f"FPIR at {search.threshold:.4f},\nthe search threshold"
    _with_bars(upper, [(row.gallery_size, row.fpir) for row in rows if row.fpir.errors], RED, label)
    none = [row.gallery_size for row in rows if not row.fpir.errors]
    if none:
        # A logarithmic axis has no place for zero.
        label = "no false alarm there"
        upper.plot(none, [floor * 1.25] * len(none), "v", color=RED, markerfacecolor="white", label=label)
    pairs = [(row.gallery_size, row.pairs_fpir) for row in rows if row.pairs_fpir]
    if pairs and search.pairs_threshold is not None:
        label = f"FPIR at {search.pairs_threshold:.4f},\nthe threshold for pairs ({search.pairs_name})"
        upper.plot(*zip(*pairs, strict=True), "s--", color=ORANGE, markersize=5, linewidth=1.4, label=label)
    label = f"asked for: {search.fpir_asked:g}"
    upper.axhline(search.fpir_asked, color=FAINT, linewidth=1, linestyle="--", label=label)
    upper.yaxis.set_major_formatter(plain_number)
    dress(upper, y="FPIR (log)")
    legend_beside(upper)
    mated = [(row.gallery_size, row.fnir) for row in rows if row.fnir is not None]
    if mated:
        _with_bars(lower, mated, BLUE, f"FNIR at {search.threshold:.4f}")
    own = [(row.gallery_size, row.own_fnir) for row in rows if row.own_fnir is not None]
    if own:
        label = f"FNIR at the threshold that\nFPIR {search.fpir_asked:g} takes at each size"
        lower.plot(*zip(*own, strict=True), "s--", color=INK, markersize=5, linewidth=1.4, label=label)
    lower.set_ylim(bottom=0)
    dress(lower, x="speakers in the gallery", y="FNIR")
    if mated or own:
        legend_beside(lower)
    for panel in (upper, lower):
        panel.axvline(search.gallery_size, color=FAINT, linewidth=1, linestyle=":")
    sizes = [row.gallery_size for row in rows]
    if max(sizes) >= _WIDE * min(sizes):
        lower.set_xscale("log")
        lower.minorticks_off()
    lower.set_xticks(sizes, [f"{size:,}" for size in sizes])
    return to_png(figure)


def _apart(search: SearchCalibration) -> list[GalleryRow]:
    """Rows of the table without those that would be drawn over the gallery the threshold was made for."""
    made_for = search.gallery_size
    return [
        row for row in search.table if row.gallery_size == made_for or abs(row.gallery_size - made_for) > made_for / 8
    ]


def _with_bars(axes: Axes, rates: Sequence[tuple[int, SearchRate]], colour: str, label: str) -> None:
    """Rates and their intervals, which need not hold the rate itself."""
    sizes = [size for size, _ in rates]
    axes.plot(sizes, [rate.rate for _, rate in rates], "o-", color=colour, markersize=6, linewidth=1.6, label=label)
    for size, rate in rates:
        axes.plot([size, size], [rate.low, rate.high], "_-", color=colour, markersize=8, linewidth=1.4)
