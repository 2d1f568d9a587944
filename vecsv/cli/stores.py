"""The stores that `verify` and `search` were given: one, or several side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vecsv.errors import UsageError

if TYPE_CHECKING:
    from vecsv.api import Store
    from vecsv.stores import Stores


def open_stores(
    given: Sequence[str] | None, *, model: str | None, engine: str, device: str, precision: str
) -> Store | Stores:
    """Open what the values of ``--store`` name.

    Raises
    ------
    UsageError
        When several are not named, or a model is to serve them all.
    """
    from vecsv.api import Store
    from vecsv.cli import show
    from vecsv.stores import Stores, parse_stores

    def opened(folder: Path | None) -> Store:
        return Store(folder, model=model, engine=engine, device=device, precision=precision, on_message=show.message)

    folders = parse_stores(given or [])
    if not isinstance(folders, dict):
        return opened(folders)
    if model is not None:
        raise UsageError("--model goes with one store", hint="each of several has a model of its own")
    return Stores({name: opened(folder) for name, folder in folders.items()})
