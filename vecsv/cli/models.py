"""`vecsv models`: gathers its commands, one file each where they are more than a few lines."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from vecsv.cli.options import JsonOption

# In the order of a model's life; each function stands in vecsv/cli/models_<name>.py.
_COMMANDS = ("pull", "add", "show", "check", "export", "quantize", "remove")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="List, fetch, add, check and describe speaker models.", no_args_is_help=True)
    group.command("list")(list_models)
    group.command("presets")(list_presets)
    for name in _COMMANDS:
        group.command(name)(getattr(import_module(f"vecsv.cli.models_{name}"), name))
    app.add_typer(group, name="models")


def list_models(
    cached: Annotated[bool, typer.Option("--cached", help="Only those in the cache.")] = False,
    json: JsonOption = False,
) -> None:
    """List the models that can be used by name: those vecsv can fetch, and those in the cache.

    Examples: `vecsv models list`, `vecsv models list --cached --json`
    """
    from dataclasses import asdict

    from vecsv.cli import show
    from vecsv.models import registry

    models = [model for model in registry.listing() if model.state != "not cached" or not cached]
    if json:
        show.as_json([{**asdict(model), "installed": model.state == "cached"} for model in models])
        return
    show.table(
        ["name", "family", "dims", "in the cache", "MB", "licence", "EER", "description"],
        [
            (
                model.name,
                model.family,
                model.dim,
                {"cached": "yes", "not cached": "no"}.get(model.state, model.state),
                model.download_mb if model.size_bytes is None else max(1, round(model.size_bytes / 1e6)),
                model.licence,
                None if model.eer is None else f"{model.eer:.1%}",
                model.description,
            )
            for model in models
        ],
        right=(2, 4, 6),
    )


def list_presets(json: JsonOption = False) -> None:
    """List the presets that say what exported ONNX models were trained to see; one goes with `models add --preset`.

    Example: `vecsv models presets`
    """
    from vecsv.cli import show
    from vecsv.models.presets import known_presets

    presets = known_presets()
    if json:
        show.as_json(
            [
                {
                    "name": preset.name,
                    "description": preset.description,
                    "files": preset.files,
                    "frontend": preset.frontend.to_json(),
                    "sources": list(preset.sources),
                }
                for preset in presets
            ]
        )
        return
    show.table(["preset", "for", "what"], [(preset.name, preset.files, preset.description) for preset in presets])
