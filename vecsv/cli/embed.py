"""`vecsv embed`: a manifest in, a store out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecsv.cli.options import ChannelOption, JsonOption, ModelOption, StoreOption, ThreadsOption

if TYPE_CHECKING:
    from vecsv.embedding.run import EmbedSummary


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("embed")(embed)


def embed(
    manifest: Annotated[
        Path, typer.Option("--manifest", help="TSV of path and speaker.", show_default=False, readable=False)
    ],
    store: StoreOption = None,
    model: ModelOption = None,
    channel: ChannelOption = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try rows again that an earlier run failed on.")
    ] = False,
    threads: ThreadsOption = None,
    json: JsonOption = False,
) -> None:
    """Embed the recordings of a manifest into a store.

    Rows that are in the store already are passed over, so a run that was stopped is taken up by giving the same
    command again. Rows that give no embedding are listed by `vecsv failures`; the exit code is then 1.

    Example: `vecsv embed --manifest train.tsv --store calls`
    """
    from dataclasses import asdict

    from vecsv.api import Store
    from vecsv.cli import show
    from vecsv.embedding.run import EmbedSettings

    target = Store(store, model=model, on_message=show.message)
    settings = EmbedSettings(workers=threads or 0, channel=channel, retry_failed=retry_failed)
    with show.progress("embedding") as meter:
        summary = target.embed(
            manifest,
            settings=settings,
            progress=lambda so_far: meter(so_far.settled, so_far.rows, f"{so_far.times_real_time:.0f}x real time"),
        )
    if json:
        document = asdict(summary) | {
            "store": str(target.folder),
            "times_real_time": summary.times_real_time,
            "failures": [
                {"manifest": row.manifest, "line": row.line, "path": row.path, "code": row.code, "reason": row.reason}
                for row in summary.failures
            ],
        }
        show.as_json(document)
    else:
        _print(summary, target.folder)
    if summary.failed or summary.failed_before:
        raise typer.Exit(1)


def _print(summary: EmbedSummary, folder: Path) -> None:
    from vecsv.cli import show

    for row in summary.failures:
        show.message(f"{row.manifest}, line {row.line}: {row.path or ''}{': ' if row.path else ''}{row.reason}")
    if summary.failed > len(summary.failures):
        show.message(f"... and {summary.failed - len(summary.failures)} more")
    show.facts(
        [
            ("embedded", summary.embedded),
            ("failed", summary.failed),
            ("embedded before", summary.embedded_before),
            ("failed before", summary.failed_before),
            ("audio", f"{summary.audio_s / 3600:.2f} h"),
            ("took", f"{show.duration(summary.wall_s)}, {summary.times_real_time:.0f} times real time"),
            ("store", folder),
        ]
    )
    if summary.failed or summary.failed_before:
        show.message(f"failed rows are listed by: vecsv failures --store {folder}")
