"""`vecsv train`: labelled recordings in, a model that every other command takes by name out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vecsv.cli.options import JsonOption
from vecsv.errors import UsageError

if TYPE_CHECKING:
    from vecsv.training.settings import TrainResult

#: What a person types, the family that it means, and the configuration that it follows unless another is given.
_KINDS = {"ecapa": ("ecapa-tdnn", "train-ecapa-small"), "wavlm": ("wavlm-xvector", "train-wavlm")}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train")(train)


def train(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="ecapa|wavlm",
            help="ecapa: an ECAPA-TDNN, from scratch or from an earlier run. wavlm: a WavLM x-vector, fine-tuned.",
            show_default=False,
        ),
    ],
    manifest: Annotated[
        Path,
        typer.Option(
            "--manifest", help="TSV of path and speaker: what it learns from.", show_default=False, readable=False
        ),
    ],
    dev: Annotated[
        Path | None,
        typer.Option(
            "--dev",
            help="TSV of other speakers: EER and minDCF on all their pairs choose the best epoch. Without it, "
            "data.dev_speakers says how many to take out of --manifest for that.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            help="YAML file, or the name of one that comes with vecsv. Default: train-ecapa-small, train-wavlm.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="Name that the model will go by. Default: the run folder's name.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The run's folder. Default: runs/NAME, with the configuration's name.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    noise: Annotated[
        Path | None,
        typer.Option("--noise", help="Folder of noises, for augmentation.", show_default=False, readable=False),
    ] = None,
    rooms: Annotated[
        Path | None,
        typer.Option(
            "--rooms", help="Folder of room impulse responses, for augmentation.", show_default=False, readable=False
        ),
    ] = None,
    start_from: Annotated[
        str | None,
        typer.Option(
            "--start-from",
            metavar="RUN|MODEL",
            help="What to begin with: the folder of an earlier run, a model's name, the folder of a bundle; for wavlm "
            "also a Hugging Face folder or hub:OWNER/REPO.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, which was stopped; give the same options.")
    ] = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Put a value over the configuration's, such as data.crop_s=2; may be repeated.",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Short for --set run.epochs=N.", show_default=False)
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision", metavar="PRECISION", help="Short for --set run.precision=fp32 or bf16.", show_default=False
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=0,
            help="Processes that read and augment recordings; 0: none beside the training's own. It changes the speed "
            "alone. Default: as many as keep the network busy: on a GPU one a core, up to 8.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="DEVICE", help="cpu or cuda. Default: a GPU if any.", show_default=False),
    ] = None,
    licence: Annotated[
        str, typer.Option("--licence", help="SPDX identifier of the licence that the weights will have.")
    ] = "unknown",
    replace: Annotated[
        bool, typer.Option("--replace", help="Begin anew in a run folder that is in use, and replace a model so named.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Train a speaker model on labelled recordings, and add it to the models that can be used by name.

    Needs `pip install 'vecsv[train]'`. Everything but the data stands in the configuration: see docs/training.md.

    Examples: `vecsv train ecapa --manifest train.tsv --dev dev.tsv --noise noise/ --rooms rir/ --name ours`,
    `vecsv train ecapa --manifest train.tsv --set data.dev_speakers=20 --set augmentation.noise=null
    --set augmentation.room=null --epochs 10`,
    `vecsv train wavlm --start-from wavlm-base-plus-sv --manifest train.tsv --dev dev.tsv --noise noise/ --rooms rir/`

    With the options of the first: `vecsv train ecapa ... --resume` goes on with it when it was stopped,
    `vecsv train ecapa --config finetune-large-margin --start-from runs/ours --name ours-lm ...` is the next stage,
    `accelerate launch --multi_gpu --num_processes 4 -m vecsv train ecapa ...` runs it on four GPUs.
    """
    from vecsv import api
    from vecsv.cli import show

    if kind not in _KINDS:
        raise UsageError(f"there is no training of {kind!r}", hint=f"it is {' or '.join(_KINDS)}")
    family, usual = _KINDS[kind]
    settings = [*(overrides or [])]
    settings += [f"run.{key}={value}" for key, value in (("epochs", epochs), ("precision", precision)) if value]
    with show.progress("training") as meter:
        result = api.train(
            manifest,
            dev=dev,
            config=config or usual,
            overrides=settings,
            family=family,
            name=name,
            out=out,
            noise=noise,
            rooms=rooms,
            start_from=start_from,
            resume=resume,
            workers=workers,
            device=device,
            licence=licence,
            replace=replace,
            progress=meter,
            on_message=show.message,
        )
    # Of several processes one has the result.
    if result is None:
        return
    if json:
        show.as_json(_document(result))
    else:
        _print(result)


def _document(result: TrainResult) -> dict[str, Any]:
    from dataclasses import fields

    plain = {item.name: getattr(result, item.name) for item in fields(result)}
    best = result.best
    return plain | {
        "bundle": str(result.bundle),
        "run": str(result.run),
        "dev_eer": best.dev_eer,
        "dev_min_dcf": best.dev_min_dcf,
        "held_out_accuracy": best.held_out_accuracy,
        "history": [record.to_json() for record in result.history],
    }


def _print(result: TrainResult) -> None:
    from vecsv.cli import show

    best = result.best
    early = "; ended early, for want of better ones" if result.stopped_early else ""
    measured = (
        ("EER on unseen speakers", best.dev_eer, ".2%"),
        ("minDCF p=0.01", best.dev_min_dcf, ".4f"),
        ("held-out accuracy", best.held_out_accuracy, ".2%"),
    )
    show.facts(
        [
            ("model", f"{result.name}, {result.parameters / 1e6:.2f} million parameters"),
            ("learnt from", f"{result.recordings:,} recordings of {result.speakers:,} speakers, {result.hours:.2f} h"),
            ("classes", f"{result.classes:,}"),
            ("left out", f"{result.bad + result.unreadable:,} unreadable, {result.short:,} too short"),
            ("narrow", f"{result.narrow:,} recordings of a lower sampling rate"),
            ("epochs", f"{result.epochs:,}, of which number {result.best_epoch:,} is kept (from 0){early}"),
            *((name, None if value is None else f"{value:{form}}") for name, value, form in measured),
            ("speed", f"{best.crops_per_second:,.0f} crops a second"),
            ("bundle", result.bundle),
            ("run", result.run),
        ]
    )
