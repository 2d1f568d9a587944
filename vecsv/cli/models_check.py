"""`vecsv models check`: is it the model it says it is, and is it fit for use?"""

from __future__ import annotations

from typing import Annotated

import typer

from vecsv.cli.options import JsonOption


def check(
    name: Annotated[
        str, typer.Argument(help="A model's name, or the folder of a bundle.", show_default=False)
    ] = "ge2e",
    json: JsonOption = False,
) -> None:
    """Check a model: files, parity with the original implementation, batches, lengths, gain, silence, engines, speed.

    Every figure is measured here and now. The exit code is 1 when something failed.

    Example: `vecsv models check ge2e`
    """
    from vecsv.cli import show
    from vecsv.health.run import check as check_model
    from vecsv.models import registry

    folder = registry.locate(name, on_message=show.message)
    with show.progress("checking") as meter:
        health = check_model(folder, progress=meter)
    if json:
        show.as_json(health.to_json())
    else:
        show.table(["check", "result", "measured"], [(one.check, one.outcome, one.measured) for one in health.findings])
        show.line(f"{health.model} on {health.engine}: {'all passed' if health.passed else 'NOT fit for use'}")
    if not health.passed:
        raise typer.Exit(1)
