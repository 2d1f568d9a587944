"""`vecsv embed`: a manifest, or an RTTM file, in, a store out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecsv.cli.options import (
    ChannelOption,
    DevicesOption,
    EngineOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    StoreOption,
    ThreadsOption,
)
from vecsv.errors import UsageError

if TYPE_CHECKING:
    from vecsv.audio.windows import WindowRule
    from vecsv.embedding.run import EmbedSummary


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("embed")(embed)


def embed(
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="TSV of path and speaker.", show_default=False, readable=False)
    ] = None,
    rttm: Annotated[
        Path | None,
        typer.Option(
            "--rttm",
            help="Embed each turn of this RTTM file; --manifest or --audio says which recordings its file ids are.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(
            "--audio",
            help="With --rttm: look for files named as the file ids, anywhere below this folder.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    rttm_speakers: Annotated[
        str,
        typer.Option(
            "--rttm-speakers",
            metavar="local|global",
            help="local: each file has speakers of its own, FILE/NAME. global: equal names are one person.",
        ),
    ] = "local",
    window: Annotated[
        float | None,
        typer.Option("--window", help="Embed in windows of so many seconds.", metavar="SECONDS", show_default=False),
    ] = None,
    hop: Annotated[
        float | None,
        typer.Option(
            "--hop",
            help="Seconds from window to window. Default: half a window.",
            metavar="SECONDS",
            show_default=False,
        ),
    ] = None,
    windows: Annotated[
        str | None,
        typer.Option(
            "--windows",
            metavar="pooled|rows",
            help="pooled: one row an utterance, the mean of its windows. rows: a row for each window. Default: pooled.",
            show_default=False,
        ),
    ] = None,
    store: StoreOption = None,
    model: ModelOption = None,
    channel: ChannelOption = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try rows again that an earlier run failed on.")
    ] = False,
    threads: ThreadsOption = None,
    engine: EngineOption = "auto",
    device: DevicesOption = "cpu",
    precision: PrecisionOption = "fp32",
    json: JsonOption = False,
) -> None:
    """Embed the recordings of a manifest into a store.

    Rows that are in the store already are passed over, so a run that was stopped is taken up by giving the same
    command again. Rows that give no embedding are listed by `vecsv failures`; the exit code is then 1.

    A window starts every --hop seconds; the last may be shorter, and is there when the utterance covers half of it and
    has something in it that the window before has not. The store remembers its windows: leave the options out to go on
    with them, and queries of a pooled store are cut and pooled the same way.

    Examples: `vecsv embed --manifest train.tsv --store calls`, `vecsv embed --rttm calls.rttm --audio recordings/`
    """
    from dataclasses import asdict

    from vecsv.api import Store
    from vecsv.cli import show
    from vecsv.embedding.run import EmbedSettings

    target = Store(store, model=model, engine=engine, device=device, precision=precision, on_message=show.message)
    settings = EmbedSettings(
        workers=threads or 0, channel=channel, retry_failed=retry_failed, windows=_rule(window, hop, windows)
    )
    with show.progress("embedding") as meter:
        summary = target.embed(
            manifest,
            rttm=rttm,
            audio=audio,
            rttm_speakers=rttm_speakers,
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


def _rule(window: float | None, hop: float | None, windows: str | None) -> WindowRule | None:
    from vecsv.audio.windows import Kept, WindowRule

    if window is None:
        if hop is not None or windows is not None:
            raise UsageError("--hop and --windows go with --window")
        return None
    kept = windows or Kept.POOLED.value
    if kept not in set(Kept):
        raise UsageError(f"--windows {kept}", hint="it is pooled or rows")
    return WindowRule(window, window / 2 if hop is None else hop, Kept(kept))


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
            ("engine", summary.engine),
            ("store", folder),
        ]
    )
    if summary.failed or summary.failed_before:
        show.message(f"failed rows are listed by: vecsv failures --store {folder}")
