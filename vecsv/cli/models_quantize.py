"""`vecsv models quantize`: a model in int8, and what that costs on the user's own trials."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecsv.cli.options import JsonOption

if TYPE_CHECKING:
    from vecsv.evaluation.compare import Difference
    from vecsv.evaluation.quantisation import QuantizedModel


def quantize(
    name: Annotated[str, typer.Argument(help="A model's name, or the folder of a bundle.", show_default=False)],
    manifest: Annotated[
        Path,
        typer.Option(
            "--manifest",
            help="Recordings of your own: they give the activations' ranges, and are what the cost is measured on.",
            show_default=False,
            readable=False,
        ),
    ],
    trials: Annotated[
        Path | None,
        typer.Option(
            "--trials", help="Trials to measure the cost on. Default: pairs drawn from the manifest.", readable=False
        ),
    ] = None,
    out: Annotated[str | None, typer.Option("--out", help="What the int8 model is called. Default: NAME-int8.")] = None,
    method: Annotated[
        str, typer.Option("--method", help="static, dynamic, or auto: static for networks of convolutions.")
    ] = "auto",
    ranges: Annotated[
        str, typer.Option("--ranges", help="Of activations, for static: minmax, or percentile, which cuts outliers.")
    ] = "minmax",
    recordings: Annotated[
        int, typer.Option("--recordings", min=1, help="How many recordings the ranges are taken from.")
    ] = 64,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the pairs, and of the draws of speakers.")] = 0,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a model of that name.")] = False,
    json: JsonOption = False,
) -> None:
    """Make an int8 model out of a model, and measure the accuracy it costs on your own recordings.

    The new model has a fingerprint of its own: its embeddings are not the parent's, and go into a store of their own.

    Example: `vecsv models quantize ge2e --manifest dev.tsv --trials trials.txt`
    """
    from vecsv.cli import show
    from vecsv.evaluation.quantisation import QuantizeRequest, quantize_model
    from vecsv.models.quantize import QuantizeSettings

    request = QuantizeRequest(
        model=name,
        manifest=manifest,
        trials=trials,
        name=out,
        settings=QuantizeSettings(method, ranges),
        recordings=recordings,
        seed=seed,
        replace=replace,
    )
    with show.progress("embedding twice") as meter:
        made = quantize_model(request, progress=meter, on_message=show.message)
    if json:
        show.as_json(
            {
                "name": made.bundle.name,
                "folder": str(made.folder),
                "fingerprint": made.bundle.fingerprint,
                "parent": made.parent.name,
                "parent_fingerprint": made.parent.fingerprint,
                "method": made.method,
                "cost": made.cost.to_json(),
            }
        )
        return
    _print(made)
    show.warnings(made.cost.warnings)


def _print(made: QuantizedModel) -> None:
    from vecsv.cli import show

    cost = made.cost
    show.facts(
        [
            ("model", f"{made.bundle.name} (int8, {made.method}; fingerprint {made.bundle.fingerprint[:12]})"),
            ("made of", f"{made.parent.name} (fingerprint {made.parent.fingerprint[:12]})"),
            ("measured on", f"{cost.source}: {cost.targets:,} targets, {cost.non_targets:,} non-targets"),
            ("recordings", f"{cost.recordings:,} of {cost.speakers:,} speakers"),
            ("engines", " before, ".join(dict.fromkeys((cost.engine_before, f"{cost.engine_after} after")))),
            ("folder", made.folder),
        ]
    )
    show.line()
    rows = [
        *(_accuracy(one) for one in cost.differences),
        ("cosine to the parent, mean", None, f"{cost.cosine_mean:.5f}", None, None),
        ("cosine to the parent, smallest", None, f"{cost.cosine_min:.5f}", None, None),
        (
            "size of the graph (MB)",
            f"{cost.bytes_before / 1e6:.2f}",
            f"{cost.bytes_after / 1e6:.2f}",
            f"{cost.size_ratio:.1f} times smaller",
            None,
        ),
        (
            "speed of the network (times real time)",
            f"{cost.real_time_before:,.0f}",
            f"{cost.real_time_after:,.0f}",
            f"{cost.speed_ratio:.2f} times",
            None,
        ),
    ]
    show.table(["figure", made.parent.name, made.bundle.name, "difference", "90% interval"], rows, right=(1, 2, 3))


def _accuracy(one: Difference) -> tuple[str | None, ...]:
    form = ".2%" if one.name == "eer" else ".4f"
    interval = None if one.low is None or one.high is None else f"{one.low:+{form}} to {one.high:+{form}}"
    return one.name, f"{one.first:{form}}", f"{one.second:{form}}", f"{one.difference:+{form}}", interval
