"""`vecsv manifest make`: a list of recordings from a folder per speaker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Write the list of recordings and speakers that `embed` takes.", no_args_is_help=True)
    group.command("make")(make)
    app.add_typer(group, name="manifest")


def make(
    folder: Annotated[
        Path, typer.Argument(help="A folder with one folder per speaker.", show_default=False, readable=False)
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write. Default: stdout.", show_default=False)
    ] = None,
) -> None:
    """Write a manifest from a folder per speaker.

    Each folder below DIR is a speaker; every recording in it, at any depth, is one line. Paths are relative to the
    manifest.

    Example: `vecsv manifest make recordings -o train.tsv`
    """
    import sys

    from vecsv.cli import show
    from vecsv.corpus import make_manifest, write_manifest

    rows = make_manifest(
        folder,
        relative_to=Path.cwd() if out is None else out.parent,
        left_out=lambda item: show.message(f"left out {item.path}: {item.reason}"),
    )
    count = write_manifest(rows, sys.stdout if out is None else out)
    show.message(f"{count:,} recordings" + ("" if out is None else f" in {out}"))
