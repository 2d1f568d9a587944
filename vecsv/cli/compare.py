"""`vecsv compare`: two evaluations of the same trials, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecsv.cli.options import JsonOption

if TYPE_CHECKING:
    from vecsv.evaluation.compare import Comparison, Difference


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="A folder that `vecsv eval --out` made.")],
    second: Annotated[Path, typer.Argument(metavar="RUN_B", help="Another, of the same trials.")],
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the draws of speakers.")] = 0,
    json: JsonOption = False,
) -> None:
    """Put two evaluations of the same trials side by side, with 90% intervals of what separates them.

    The speakers are drawn again, for both alike: a difference whose interval leaves 0 out is more than the choice of
    speakers.

    Example: `vecsv compare runs/ge2e runs/wavlm`
    """
    from vecsv.cli import show
    from vecsv.evaluation.compare import compare_runs

    found = compare_runs(first, second, seed=seed)
    if json:
        show.as_json(found.to_json())
        return
    _print(found)
    show.warnings(found.warnings)


def _print(found: Comparison) -> None:
    from vecsv.cli import show

    show.facts(
        [
            ("A", f"{found.first} ({found.models[0]}, fingerprint {found.fingerprints[0][:12]})"),
            ("B", f"{found.second} ({found.models[1]}, fingerprint {found.fingerprints[1][:12]})"),
            ("trials", f"{found.targets:,} targets, {found.non_targets:,} non-targets"),
            ("speakers", found.speakers),
        ]
    )
    show.line()
    show.table(
        ["figure", "A", "B", "B - A", "90% interval", "better"],
        [
            (
                one.name,
                _figure(one, one.first),
                _figure(one, one.second),
                _figure(one, one.difference, sign="+"),
                None
                if one.low is None or one.high is None
                else f"{_figure(one, one.low, sign='+')} to {_figure(one, one.high, sign='+')}",
                {"first": "A", "second": "B", "neither": "not told apart", None: None}[one.better],
            )
            for one in found.differences
        ],
        right=[1, 2, 3],
    )


def _figure(difference: Difference, value: float, *, sign: str = "-") -> str:
    """Error rates in percent, the rest as it is."""
    percent = difference.name.startswith(("eer", "fnmr"))
    return format(value, f"{sign}.2%" if percent else f"{sign}.4f")
