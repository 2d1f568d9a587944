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
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Threads to use. Default: one per core.", show_default=False)
]
