"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StoreOption = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help="The store's folder. Default: $VECSV_STORE, else ./index.",
        show_default=False,
        # Here and elsewhere: our own errors say more than the parser's.
        readable=False,
    ),
]
StoresOption = Annotated[
    list[str] | None,
    typer.Option(
        "--store",
        metavar="[NAME=]PATH",
        help="The store's folder. Default: $VECSV_STORE, else ./index. Several, as NAME=PATH each: all are asked, each "
        "with its own model and thresholds.",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A model's name, or the folder of a bundle. Default: the store's model, else ge2e.",
        show_default=False,
    ),
]
ChannelOption = Annotated[
    int | None,
    typer.Option("--channel", min=1, help="Take this channel, from 1. Default: mix all down.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON with stable keys instead of a table.")]
EngineOption = Annotated[
    str,
    typer.Option("--engine", metavar="ENGINE", help="onnxruntime, openvino, torch, or auto: the fastest that is here."),
]
DeviceOption = Annotated[
    str, typer.Option("--device", metavar="DEVICE", help="cpu, cuda, cuda:1, or auto: a GPU where there is one.")
]
DevicesOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="cpu, cuda, cuda:1, or auto: a GPU where there is one. Several, as in cuda:0,cuda:1, work side by side.",
    ),
]
PrecisionOption = Annotated[
    str, typer.Option("--precision", metavar="PRECISION", help="What the network computes in: fp32, bf16 or fp16.")
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads to use. Default: one per core.", show_default=False)
]
