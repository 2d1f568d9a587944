"""A picture of a run: how loss, accuracy and verification went from epoch to epoch."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vecsv.report.canvas import BLUE, FAINT, GREEN, INK, RED, dress, new_figure
from vecsv.training.history import EpochRecord, best_epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def curve_svg(history: Sequence[EpochRecord]) -> bytes:
    """Loss, accuracies, dev EER and minDCF by epoch, the best epoch marked; SVG, the same bytes for the same history.

    Parameters
    ----------
    history : sequence
        Epochs, ascending; at least one.

    Raises
    ------
    MissingDependencyError
        When matplotlib is not installed.
    """
    best = best_epoch(history)
    figure = new_figure(9.6, 6.4)
    from matplotlib import rc_context
    from matplotlib.ticker import MaxNLocator

    panels = figure.subplots(2, 2, sharex=True)
    for axes, (y, lines) in zip(panels.flat, _PANELS, strict=True):
        dress(axes, y=y)
        for line in lines:
            _draw(axes, history, line, best)
        _finish(axes, best)
    # A single epoch needs room on both sides.
    panels[0, 0].set_xlim(history[0].epoch - 0.5, history[-1].epoch + 0.5)
    panels[0, 1].set_ylim(bottom=0)
    panels[1, 0].set_ylim(-2, 102)
    panels[1, 1].set_ylim(0, 1.02)
    for axes in panels[1]:
        axes.set_xlabel("epoch", color=INK, fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.align_ylabels()
    if best is not None:
        figure.suptitle(f"best epoch: {best}", color=INK, fontsize=11)
    buffer = io.BytesIO()
    # The names of an SVG's parts are drawn at random unless there is a salt.
    with rc_context({"svg.hashsalt": "vecsv"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


@dataclass(frozen=True)
class _Line:
    """One curve: which field of an epoch, in what unit, and what the legend calls it."""

    field: str
    label: str
    colour: str
    factor: float = 1.0


_PANELS: Final = (
    ("loss, mean of the epoch", (_Line("loss", "loss", BLUE),)),
    ("dev EER, %", (_Line("dev_eer", "EER", RED, 100.0),)),
    (
        "speaker named, % of crops",
        (
            _Line("accuracy", "training, augmented", BLUE, 100.0),
            _Line("held_out_accuracy", "held out", GREEN, 100.0),
        ),
    ),
    ("dev minDCF, target prior 0.01", (_Line("dev_min_dcf", "minDCF", RED),)),
)


def _draw(axes: Axes, history: Sequence[EpochRecord], line: _Line, best: int | None) -> None:
    points = [
        (one.epoch, line.factor * value)
        for one in history
        if (value := getattr(one, line.field)) is not None and math.isfinite(value)
    ]
    if not points:
        return
    at_best = [value for epoch, value in points if epoch == best]
    label = f"{line.label}: {at_best[0]:.3g} in epoch {best}" if at_best else line.label
    epochs, values = [epoch for epoch, _ in points], [value for _, value in points]
    axes.plot(epochs, values, color=line.colour, linewidth=1.8, marker="o", markersize=3, label=label)
    if best is not None and at_best:
        axes.plot([best], at_best, "o", color=line.colour, markersize=8, markeredgecolor="white", zorder=5)


def _finish(axes: Axes, best: int | None) -> None:
    if best is not None:
        axes.axvline(best, color=FAINT, linewidth=1, linestyle=":", zorder=0)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9)
        return
    axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", color=FAINT, fontsize=10)
    axes.tick_params(labelleft=False)
