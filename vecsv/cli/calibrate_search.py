"""`vecsv calibrate --search`: a threshold for searches, from searches of the store for its own people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vecsv.errors import UsageError

if TYPE_CHECKING:
    from vecsv.calibration.open_set import SearchRate
    from vecsv.calibration.search_record import SearchCalibration

_OF_SEARCHES = {"search", "fpir", "gallery_size"}
_OF_BOTH = {"store", "seed", "json"}


def refuse_mixed_options(context: typer.Context, *, search: bool) -> None:
    """Refuse options of pairs with `--search`, and those of searches without it.

    Raises
    ------
    UsageError
        When one was given; names it.
    """
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE" or name in _OF_BOTH:
            continue
        if (name in _OF_SEARCHES) != search:
            option = parameter.opts[0]
            if search:
                raise UsageError(f"{option} is for thresholds of pairs", hint="leave it out, or leave --search out")
            raise UsageError(f"{option} is for search thresholds", hint="add --search")


def calibrate_search(
    folder: Path | None, *, fpir: float, gallery_size: int | None, seed: int, json: bool
) -> SearchCalibration:
    """Make the search threshold and print it."""
    from vecsv.api import Store
    from vecsv.calibration.search_run import SearchSettings
    from vecsv.cli import show

    settings = SearchSettings(fpir=fpir, gallery_size=gallery_size, seed=seed)
    with show.progress("searching") as meter:
        calibration = Store(folder).calibrate_search(settings, progress=meter)
    if json:
        show.as_json(calibration.to_json())
    else:
        _print(calibration)
    return calibration


def _print(calibration: SearchCalibration) -> None:
    from vecsv.cli import show

    fpir, fnir = calibration.fpir, calibration.fnir
    mated = "none: no speaker has two recordings to compare"
    if fnir is not None:
        session = f", {calibration.mates_of_session:,} with a mate of the same session" * bool(
            calibration.mates_of_session
        )
        mated = f"{fnir.searches:,} by {fnir.speakers:,} speakers{session}"
    show.facts(
        [
            ("from", "searches of the store for its own speakers"),
            ("gallery", f"{calibration.gallery_size:,} of {calibration.speakers:,} speakers"),
            ("for strangers", f"{fpir.searches:,} by {fpir.speakers:,} speakers, each left out of the gallery"),
            ("for people in it", mated),
            ("seed", calibration.seed),
            ("threshold", f"{calibration.threshold:.4f}, for an FPIR of {calibration.fpir_asked:g}"),
            ("FPIR", _rate(fpir)),
            ("FNIR", "unknown" if fnir is None else _rate(fnir)),
            ("FMR of a pair", f"{calibration.fmr_bound:.2g}, were the comparisons of a search independent"),
            ("carried by the data", _carried(calibration)),
        ]
    )
    show.line()
    pairs = calibration.pairs_name
    show.table(
        ["gallery", "FPIR", "FNIR", "threshold of its own", "FNIR there", f"FPIR of {pairs or 'a pair threshold'}"],
        [
            (
                f"{row.gallery_size:,}{' *' if row.gallery_size == calibration.gallery_size else ''}",
                f"{row.fpir.rate:.2%}",
                None if row.fnir is None else f"{row.fnir.rate:.2%}",
                f"{row.own_threshold:.4f}",
                None if row.own_fnir is None else f"{row.own_fnir:.2%}",
                None if row.pairs_fpir is None else f"{row.pairs_fpir:.2%}",
            )
            for row in calibration.table
        ],
        right=[1, 2, 3, 4, 5],
    )
    show.line(f"* the gallery that {calibration.threshold:.4f} was placed for")
    show.warnings([] if calibration.note is None else [calibration.note])


def _rate(rate: SearchRate) -> str:
    return f"{rate.rate:.2%} ({rate.errors:,} of {rate.searches:,}; 90% interval {rate.low:.2%} to {rate.high:.2%})"


def _carried(calibration: SearchCalibration) -> str:
    if not calibration.supported:
        return "NO"
    return "yes" if calibration.note is None else "roughly"
