"""`vecsv enroll`: add a person from a few recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vecsv.cli.options import (
    ChannelOption,
    DeviceOption,
    EngineOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    StoreOption,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("enroll")(enroll)


def enroll(
    recordings: Annotated[
        list[Path], typer.Argument(help="One or more recordings.", show_default=False, readable=False)
    ],
    speaker: Annotated[str, typer.Option("--speaker", help="The person's id.", show_default=False)],
    store: StoreOption = None,
    model: ModelOption = None,
    channel: ChannelOption = None,
    engine: EngineOption = "auto",
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "fp32",
    json: JsonOption = False,
) -> None:
    """Enrol a person; the next search and verification find them at once.

    All recordings are taken, or none when one is unusable. A recording the person is enrolled with already changes
    nothing.

    Example: `vecsv enroll --speaker alice a.wav b.wav`
    """
    from dataclasses import asdict

    from vecsv.api import Store
    from vecsv.cli import show

    target = Store(store, model=model, engine=engine, device=device, precision=precision, on_message=show.message)
    added = target.enroll(speaker, recordings, channel=channel)
    if json:
        show.as_json(asdict(added))
        return
    show.facts(
        [
            ("speaker", added.speaker),
            ("added", added.added),
            ("enrolled before", added.already),
            ("recordings now", added.total),
            ("speech", show.duration(added.speech_s)),
        ]
    )
    show.warnings(added.warnings)
