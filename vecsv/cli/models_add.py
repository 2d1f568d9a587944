"""`vecsv models add`: a model of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vecsv.cli.options import JsonOption


def add(
    path: Annotated[
        Path,
        typer.Argument(
            help="A vecsv bundle, a SpeechBrain or WeSpeaker folder or its checkpoint, a Hugging Face WavLM x-vector "
            "folder, or an ONNX file.",
            show_default=False,
            readable=False,
        ),
    ],
    name: Annotated[str, typer.Option("--name", help="Name that it will go by.", show_default=False)],
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="What an ONNX file was trained to see: wespeaker, 3d-speaker, nemo-titanet, redimnet, ... or a YAML "
            "file of your own.",
            show_default=False,
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            help="What it is, where its name does not tell: ecapa-tdnn, wavlm-xvector, onnx or ge2e.",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            help="Which dictionary of a checkpoint holds the weights, where it has several.",
            show_default=False,
        ),
    ] = None,
    description: Annotated[
        str | None, typer.Option("--description", help="One line about it.", show_default=False)
    ] = None,
    licence: Annotated[str, typer.Option("--licence", help="SPDX identifier of the weights' licence.")] = "unknown",
    replace: Annotated[bool, typer.Option("--replace", help="Replace a model that was added under this name.")] = False,
    json: JsonOption = False,
) -> None:
    """Add a model of your own to the cache. It is read as data: no code that comes with it is run.

    Examples: `vecsv models add avg_model.pt --name ours`,
    `vecsv models add spkrec-ecapa-voxceleb --name speechbrain --licence Apache-2.0`,
    `vecsv models add voxceleb_resnet34_LM.onnx --preset wespeaker --name resnet34`
    """
    from vecsv.cli import show
    from vecsv.models.add import add as add_model
    from vecsv.models.bundle import read_bundle

    folder = add_model(
        path,
        name=name,
        family=family,
        preset=preset,
        key=key,
        description=description,
        licence=licence,
        replace=replace,
        on_message=show.message,
    )
    if not json:
        show.line(str(folder))
        return
    bundle = read_bundle(folder)
    show.as_json(
        {
            "name": bundle.name,
            "folder": str(folder),
            "family": bundle.family,
            "dim": bundle.dim,
            "fingerprint": bundle.fingerprint,
            "licence": bundle.licence,
            "source": bundle.source,
        }
    )
