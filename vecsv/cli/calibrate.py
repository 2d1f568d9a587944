"""`vecsv calibrate`: thresholds from the store's own pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecsv.cli.options import JsonOption, StoreOption

if TYPE_CHECKING:
    from vecsv.calibration.operating_points import OperatingPoint
    from vecsv.calibration.record import Basis, Calibration


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("calibrate")(calibrate)


def calibrate(
    store: StoreOption = None,
    ratio: Annotated[int, typer.Option("--ratio", min=1, help="Non-target pairs for each target pair.")] = 99,
    per_speaker: Annotated[
        int, typer.Option("--per-speaker", min=1, help="Target pairs one speaker gives at most.")
    ] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the sampling.")] = 0,
    cross_session: Annotated[
        bool, typer.Option("--cross-session", help="Leave out pairs of one session, which flatter.")
    ] = False,
    in_force: Annotated[
        str, typer.Option("--in-force", help="Threshold that decides when none is named.", metavar="NAME")
    ] = "fmr-0.01",
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Take the thresholds over from another store of the same model."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Sample pairs of the store's recordings and place the thresholds.

    Pairs of one speaker against pairs of two, 1:99 by default, never a recording with itself.

    Example: `vecsv calibrate --store calls`
    """
    from vecsv.api import Store
    from vecsv.calibration.run import CalibrateSettings
    from vecsv.cli import show

    target = Store(store)
    if source is not None:
        calibration = target.copy_calibration(source)
    else:
        settings = CalibrateSettings(
            ratio=ratio, per_speaker=per_speaker, seed=seed, cross_session=cross_session, in_force=in_force
        )
        with show.progress("scoring pairs") as meter:
            calibration = target.calibrate(settings, progress=meter)
    if json:
        show.as_json(calibration.to_json())
    else:
        _print(calibration)


def _same_session(basis: Basis) -> str:
    if basis.utterances_without_session == basis.utterances:
        return "unknown: the manifest names no sessions"
    unknown = basis.utterances_without_session
    return f"{basis.same_session_targets:,} target pairs" + (f" ({unknown:,} utterances name none)" if unknown else "")


def _carried(point: OperatingPoint) -> str:
    if not point.supported:
        return "NO"
    return "yes" if point.note is None else "roughly"


def _print(calibration: Calibration) -> None:
    from vecsv.cli import show

    basis = calibration.basis
    show.facts(
        [
            ("from", calibration.source),
            ("speakers", basis.speakers),
            ("target pairs", f"{basis.targets:,} of {basis.targets_available:,}"),
            ("non-target pairs", f"{basis.non_targets:,} of {basis.non_targets_available:,}"),
            ("non-targets a target", f"{basis.ratio_reached:.4g} ({basis.ratio_asked} asked for)"),
            ("of one session", _same_session(basis)),
            ("left out", ", ".join(f"{count:,} {why}" for why, count in basis.left_out.items() if count) or "nothing"),
            ("seed", basis.seed),
        ]
    )
    show.line()
    show.table(
        ["threshold", "at", "FMR", "FNMR", "false accepts", "misses", "carried by the data"],
        [
            (
                f"{point.name}{' *' if point.name == calibration.in_force else ''}",
                f"{point.threshold:.4f}",
                f"{point.fmr:.3%}",
                f"{point.fnmr:.2%}",
                point.false_accepts,
                point.misses,
                _carried(point),
            )
            for point in calibration.points
        ],
        right=[1, 2, 3, 4, 5],
    )
    show.line("* decides when no threshold is named")
    # The others' notes stand in --json: a person wants to know of the one that decides, and of those that cannot.
    show.warnings(
        f"{point.name}: {point.note}"
        for point in calibration.points
        if point.note and (not point.supported or point.name == calibration.in_force)
    )
