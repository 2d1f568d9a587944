"""`vecsv failures`: the manifest rows that gave no embedding, and why."""

from __future__ import annotations

import typer

from vecsv.cli.options import JsonOption, StoreOption


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("failures")(failures)


def failures(store: StoreOption = None, json: JsonOption = False) -> None:
    """List the manifest rows that gave no embedding, and why.

    Mend them, then: `vecsv embed --manifest ... --retry-failed`

    Example: `vecsv failures --store calls`
    """
    from vecsv.api import Store
    from vecsv.cli import show

    rows = Store(store).failures()
    if json:
        show.as_json(
            [
                {
                    "manifest": row.manifest,
                    "line": row.line,
                    "utt_id": row.utt_id,
                    "speaker": row.speaker,
                    "path": row.path,
                    "code": row.code,
                    "reason": row.reason,
                }
                for row in rows
            ]
        )
        return
    if not rows:
        show.message("no failures")
        return
    show.table(
        ["manifest", "line", "path", "code", "reason"],
        [(row.manifest, row.line, row.path, row.code, row.reason) for row in rows],
        right=[1],
    )
