"""`vecsv report`: the calibration as one page with figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vecsv.cli.options import JsonOption, StoreOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    store: StoreOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the page and its figures.")] = Path("report"),
    json: JsonOption = False,
) -> None:
    """Write a report of the calibration in force: one HTML file that needs nothing else, and its figures as PNG.

    Errors against the threshold with the chosen points, DET, score histograms, reliability of the likelihood ratios,
    searches against the size of the gallery, and what all of it rests on. Needs matplotlib: `pip install
    'vecsv[report]'`.

    Example: `vecsv report --store calls --out report`
    """
    from vecsv.api import Store
    from vecsv.cli import show

    written = Store(store).report(out)
    if json:
        show.as_json({"page": str(written.page), "figures": [str(path) for path in written.figures]})
        return
    show.facts([("report", written.page), ("figures", ", ".join(path.name for path in written.figures))])
