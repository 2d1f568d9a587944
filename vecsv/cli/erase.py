"""`vecsv erase`: remove a person from everything the store holds."""

from __future__ import annotations

from typing import Annotated

import typer

from vecsv.cli.options import JsonOption, StoreOption
from vecsv.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("erase")(erase)


def erase(
    speaker: Annotated[str, typer.Option("--speaker", help="Whom to erase.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
) -> None:
    """Erase a person: shards, index, enrolments, failure ledger, trial lists and thresholds; for good.

    Files are rewritten without the person and a receipt is printed; the copy kept in the store does not name them.
    Recordings themselves and manifests outside the store are not touched.

    Example: `vecsv erase --speaker alice`
    """
    import sys
    from dataclasses import asdict

    from vecsv.api import Store
    from vecsv.cli import show

    target = Store(store)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("erasing cannot be undone", hint="confirm it with --yes")
        typer.confirm(f"Erase {speaker!r} from {target.folder}? This cannot be undone.", abort=True, err=True)
    receipt = target.erase(speaker)
    if json:
        show.as_json({"speaker": speaker, **asdict(receipt)})
        return
    show.facts(
        [
            ("erased", speaker),
            ("embeddings", receipt.embeddings),
            ("enrolments", receipt.enrolments),
            ("failed rows", receipt.failures),
            ("calibration trials", receipt.trials),
            ("files rewritten", receipt.files_rewritten),
            ("receipt", receipt.receipt),
        ]
    )
    for name in receipt.calibrations_dropped:
        show.message(f"note: calibration {name} cannot rest on what is left and was dropped: calibrate again")
