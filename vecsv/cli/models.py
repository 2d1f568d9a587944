"""`vecsv models list | pull | show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vecsv.cli.options import JsonOption


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="List, fetch and describe speaker models.", no_args_is_help=True)
    group.command("list")(list_models)
    group.command("pull")(pull)
    group.command("show")(show_model)
    app.add_typer(group, name="models")


def list_models(json: JsonOption = False) -> None:
    """List the models that can be used by name.

    Example: `vecsv models list`
    """
    from vecsv.cli import show
    from vecsv.models import registry

    cards = registry.known_models()
    if json:
        show.as_json(
            [
                {
                    "name": card.name,
                    "family": card.family,
                    "installed": registry.installed(card.name),
                    "licence": card.licence,
                    "description": card.description,
                }
                for card in cards
            ]
        )
        return
    show.table(
        ["name", "in the cache", "licence", "description"],
        [
            (card.name, "yes" if registry.installed(card.name) else "no", card.licence, card.description)
            for card in cards
        ],
    )


def pull(
    name: Annotated[str, typer.Argument(help="A model's name.", show_default=False)] = "ge2e",
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Take it from this wheel on disk instead of fetching it.", show_default=False, readable=False
        ),
    ] = None,
) -> None:
    """Fetch a model into the cache and check it.

    Examples: `vecsv models pull ge2e`, `vecsv models pull ge2e --from Resemblyzer-0.1.4-py3-none-any.whl`
    """
    from vecsv.cli import show
    from vecsv.models import registry

    folder = registry.pull(name, source=source, on_message=show.message)
    show.line(str(folder))


def show_model(
    name: Annotated[
        str, typer.Argument(help="A model's name, or the folder of a bundle.", show_default=False)
    ] = "ge2e",
    json: JsonOption = False,
) -> None:
    """Describe a model in the cache, after checking its files against its checksums.

    Example: `vecsv models show ge2e`
    """
    from vecsv.cli import show
    from vecsv.models import registry
    from vecsv.models.bundle import verify_bundle

    folder = registry.locate(name, on_message=show.message)
    bundle = verify_bundle(folder)
    if json:
        show.as_json(bundle.to_json())
        return
    reference = bundle.reference_calibration
    show.facts(
        [
            ("name", bundle.name),
            ("what", bundle.description),
            ("family", bundle.family),
            ("dimensions", bundle.dim),
            ("sample rate", f"{bundle.sample_rate:,} Hz"),
            ("fingerprint", bundle.fingerprint),
            ("engine", bundle.engine),
            ("licence", bundle.licence),
            ("source", ", ".join(f"{key} {value}" for key, value in bundle.source.items())),
            ("reference calibration", "none" if reference is None else reference["source"]),
            ("folder", folder),
        ]
    )
