"""How figures look, and how they become PNG files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vecsv.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by people with any colour vision (M. Okabe and K. Ito, "Color universal design", 2008).
BLUE, RED, GREEN, ORANGE, PINK, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
INK, FAINT = "#333333", "#8a8a8a"

MARKERS = ("o", "s", "D", "^", "v", "P", "X")
_DOTS_PER_INCH = 144


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, without the global state of pyplot.

    Raises
    ------
    MissingDependencyError
        When matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError(
            "a report draws with matplotlib, which is not installed", hint="pip install 'vecsv[report]'"
        ) from error
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def dress(axes: Axes, *, x: str | None = None, y: str | None = None) -> None:
    """Labels, a light grid, and no more frame than needed."""
    axes.grid(visible=True, which="major", color="#e3e3e3", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FAINT)
    if x is not None:
        axes.set_xlabel(x, color=INK, fontsize=10)
    if y is not None:
        axes.set_ylabel(y, color=INK, fontsize=10)


def legend_beside(axes: Axes) -> None:
    """A legend to the right of the axes, where it hides nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, frameon=False, fontsize=9)


def plain_number(value: float, position: int | None = None) -> str:
    """A tick's label without an exponent; `position` is matplotlib's, and of no use.

    Examples
    --------
    >>> plain_number(1e-5), plain_number(1.0)
    ('0.00001', '1')
    """
    return str(np.format_float_positional(value, trim="-"))


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file; the same bytes for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return buffer.getvalue()


def grouped(points: Sequence[tuple[str, float]], apart: float) -> list[tuple[list[str], float]]:
    """Names that stand at (nearly) the same place, together; ascending by place.

    Examples
    --------
    >>> grouped([("b", 0.5), ("a", 0.5), ("c", 0.9)], 0.01)
    [(['b', 'a'], 0.5), (['c'], 0.9)]
    """
    groups: list[tuple[list[str], float]] = []
    for name, place in sorted(points, key=lambda point: point[1]):
        if groups and place - groups[-1][1] <= apart:
            groups[-1][0].append(name)
        else:
            groups.append(([name], place))
    return groups


def rows_without_overlap(places: Sequence[float], widths: Sequence[float]) -> list[int]:
    """A row for each label, so that no two in a row touch; labels ascend by place and are centred on it.

    Examples
    --------
    >>> rows_without_overlap([0.0, 0.5, 2.0], [1.2, 1.2, 1.2])
    [0, 1, 0]
    """
    ends: list[float] = []
    rows = []
    for place, width in zip(places, widths, strict=True):
        row = next((row for row, end in enumerate(ends) if end <= place - width / 2), len(ends))
        ends[row : row + 1] = [place + width / 2]
        rows.append(row)
    return rows
