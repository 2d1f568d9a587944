"""`vecsv speakers`: who is in the store."""

from __future__ import annotations

import typer

from vecsv.cli.options import JsonOption, StoreOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("speakers")(speakers)


def speakers(store: StoreOption = None, json: JsonOption = False) -> None:
    """List everybody in a store, embedded or enrolled.

    Example: `vecsv speakers --store calls`
    """
    from dataclasses import asdict

    from vecsv.api import Store
    from vecsv.cli import show

    found = Store(store).speakers()
    if json:
        show.as_json([asdict(speaker) for speaker in found])
        return
    show.table(
        ["speaker", "utterances", "enrolments", "speech"],
        [(one.speaker, one.utterances, one.enrolments, show.duration(one.speech_s)) for one in found],
        right=[1, 2, 3],
    )
