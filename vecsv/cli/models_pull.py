"""`vecsv models pull`: fetch a model into the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vecsv.cli.options import JsonOption
from vecsv.errors import UsageError

_HUB = "hub:"


def pull(
    name: Annotated[
        str, typer.Argument(help="A model's name, or hub:OWNER/REPO for any of the hub.", show_default=False)
    ] = "ge2e",
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Take it from this file, or the folder with its files, instead of fetching it.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option("--revision", help="With hub: a commit, branch or tag. Default: main.", show_default=False),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option("--file", help="With hub: which file is the model; may be repeated.", show_default=False),
    ] = None,
    rename: Annotated[
        str | None,
        typer.Option("--name", help="With hub: what to call it. Default: the repository's name.", show_default=False),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option("--preset", help="With hub: how an ONNX graph is used.", show_default=False),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--licence", help="With hub: the SPDX identifier of its licence.", show_default=False),
    ] = None,
    trust_first_use: Annotated[
        bool,
        typer.Option(
            "--trust-first-use", help="With hub: take what the hub gives now, show its SHA-256 and pin it from then on."
        ),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Fetch a model into the cache and check it; a download that was cut is continued.

    Mirrors of the hub: `HF_ENDPOINT`. Gated repositories: `HF_TOKEN`. Without a network: `VECSV_OFFLINE=1` or
    `HF_HUB_OFFLINE=1`, and `--from`.

    Examples: `vecsv models pull ecapa-speechbrain`, `vecsv models pull ge2e --from Resemblyzer-0.1.4-py3-none-any.whl`,
    `vecsv models pull hub:OWNER/REPO --revision main --trust-first-use`
    """
    from vecsv.cli import show
    from vecsv.models import registry

    only_hub = {
        "--revision": revision,
        "--file": file,
        "--name": rename,
        "--preset": preset,
        "--licence": licence,
        "--trust-first-use": trust_first_use or None,
    }
    given = [option for option, value in only_hub.items() if value is not None]
    if not name.startswith(_HUB) and given:
        raise UsageError(
            f"{given[0]} goes with hub:OWNER/REPO only", hint=f"{name} comes from where its card says, pinned"
        )
    if name.startswith(_HUB) and source is not None:
        raise UsageError("--from goes with the name of a known model", hint="add other files with `vecsv models add`")
    with show.progress("fetching") as meter:

        def progress(done: int, total: int | None) -> None:
            megabytes = max(1, round((total or done) / 1e6))
            meter(min(round(done / 1e6), megabytes), megabytes, "MB")

        if name.startswith(_HUB):
            from vecsv.models.hub_pull import pull_from_hub

            folder = pull_from_hub(
                name.removeprefix(_HUB),
                revision=revision,
                files=tuple(file or ()),
                name=rename,
                preset=preset,
                licence=licence,
                trust_first_use=trust_first_use,
                on_message=show.message,
                on_progress=progress,
            )
        else:
            folder = registry.pull(name, source=source, on_message=show.message, on_progress=progress)
    if not json:
        show.line(str(folder))
        return
    from vecsv.models.bundle import read_bundle

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
