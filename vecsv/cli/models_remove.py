"""`vecsv models remove`: take a model out of the cache."""

from __future__ import annotations

from typing import Annotated

import typer

from vecsv.cli.options import JsonOption
from vecsv.errors import UsageError


def remove(
    name: Annotated[str, typer.Argument(help="The name of a model in the cache.", show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: JsonOption = False,
) -> None:
    """Remove a model from the cache. Stores made with it stay, but cannot be searched by voice without it.

    Example: `vecsv models remove wavlm-base-plus-sv --yes`
    """
    import sys

    from vecsv.cli import show
    from vecsv.models import registry

    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"removing {name} is not confirmed", hint="confirm it with --yes")
        typer.confirm(f"Remove {name} from the cache?", abort=True, err=True)
    freed = registry.remove(name)
    if json:
        show.as_json({"removed": name, "freed_bytes": freed})
        return
    show.line(f"removed {name}: {freed / 1e6:,.1f} MB free again")
