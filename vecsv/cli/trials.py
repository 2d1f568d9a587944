"""`vecsv trials make`: a trial list from a manifest or a store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Write the list of comparisons that `eval` takes.", no_args_is_help=True)
    group.command("make")(make)
    app.add_typer(group, name="trials")


def make(
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Draw from the recordings of this manifest.", show_default=False)
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", help="Draw from the embeddings of this store; names are utterance ids."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write. Default: stdout.", show_default=False)
    ] = None,
    ratio: Annotated[int, typer.Option("--ratio", min=1, help="Non-target trials for each target trial.")] = 99,
    per_speaker: Annotated[
        int, typer.Option("--per-speaker", min=1, help="Target trials one speaker gives at most.")
    ] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the sampling.")] = 0,
    cross_session: Annotated[
        bool, typer.Option("--cross-session", help="Leave out trials of one session, which flatter.")
    ] = False,
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="Take every pair there is.")] = False,
) -> None:
    """Draw trials and write them as VoxCeleb does: `1 a.wav b.wav` for one speaker, `0 a.wav c.wav` for two.

    Never a recording with itself, nor with an overlapping cut. Where a name holds spaces, tabs separate the fields.

    Example: `vecsv trials make --manifest dev.tsv -o trials.tsv`
    """
    import sys

    from vecsv.cli import show
    from vecsv.errors import UsageError
    from vecsv.evaluation.sampling import SampleSettings, draw_from_manifest, draw_from_store
    from vecsv.evaluation.trials import write_trials

    if (manifest is None) == (store is None):
        raise UsageError("give --manifest or --store, one of the two")
    settings = SampleSettings(ratio, per_speaker, seed, cross_session, all_pairs)
    if manifest is not None:
        drawn = draw_from_manifest(
            manifest,
            settings,
            beside=Path.cwd() if out is None else out.parent,
            left_out=lambda row: show.message(f"left out {manifest}, line {row.line}: {row.reason}"),
        )
    else:
        drawn = draw_from_store(Path(str(store)), settings)
    count = write_trials(drawn.listed(), sys.stdout if out is None else out)
    targets = drawn.pairs.targets.taken
    show.message(
        f"{count:,} trials, {targets:,} targets and {count - targets:,} non-targets "
        f"({drawn.pairs.ratio_reached:.4g} a target)" + ("" if out is None else f", in {out}")
    )
