"""`vecsv models export`: a model as one ONNX file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vecsv.cli.options import JsonOption


def export(
    name: Annotated[str, typer.Argument(help="A model's name, or the folder of a bundle.", show_default=False)],
    onnx: Annotated[
        Path, typer.Option("--onnx", help="The file to write, such as ecapa.onnx.", show_default=False, writable=False)
    ],
    json: JsonOption = False,
) -> None:
    """Write a model as one ONNX file: waveform in, embedding out, the front end inside the graph.

    The file is compared with the model in PyTorch, over several lengths and batch sizes, before it is written.

    Example: `vecsv models export ecapa-speechbrain --onnx ecapa.onnx`
    """
    from vecsv.cli import show
    from vecsv.health.signals import speech_like
    from vecsv.models import registry
    from vecsv.models.export import export_onnx, facts

    exported = export_onnx(registry.locate(name, on_message=show.message), onnx, speech_like)
    if json:
        show.as_json(facts(exported))
        return
    show.facts(
        [
            ("written", exported.path),
            ("size", f"{exported.megabytes:.1f} MB"),
            ("takes", "wave: float32 (batch, samples)"),
            ("gives", "embeddings: float32 (batch, dim), rows of unit length"),
            ("checked", f"{exported.compared} embeddings against {exported.against}"),
            ("largest cosine distance", f"{exported.cosine_distance:.1e}"),
        ]
    )
