"""`vecsv index build | info`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from vecsv.cli.options import JsonOption, StoreOption

if TYPE_CHECKING:
    from vecsv.index.build import IndexInfo


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Build and describe the index that searches use.", no_args_is_help=True)
    group.command("build")(build)
    group.command("info")(info)
    app.add_typer(group, name="index")


def build(store: StoreOption = None, json: JsonOption = False) -> None:
    """Build the search index over all embeddings of a store and put it in force.

    Example: `vecsv index build --store calls`
    """
    from vecsv.api import Store
    from vecsv.cli import show

    with show.progress("indexing") as meter:
        described = Store(store).build_index(progress=meter)
    _print(described, json=json)


def info(store: StoreOption = None, json: JsonOption = False) -> None:
    """Describe the index in force.

    Example: `vecsv index info --store calls`
    """
    from vecsv.api import Store

    _print(Store(store).index_info(), json=json)


def _print(described: IndexInfo, *, json: bool) -> None:
    from dataclasses import asdict

    from vecsv.cli import show

    if json:
        show.as_json(asdict(described))
        return
    show.facts(
        [
            ("vectors", described.rows),
            ("speakers", described.speakers),
            ("not in it yet", described.rows_not_indexed),
            ("kind", f"{described.factory}, {described.metric}, {'exact' if described.exact else 'approximate'}"),
            ("model", f"{described.model}, {described.dim} dimensions, fingerprint {described.fingerprint[:12]}"),
            ("size", f"{described.bytes / 2**20:.1f} MiB, FAISS {described.faiss_version}"),
        ]
    )
