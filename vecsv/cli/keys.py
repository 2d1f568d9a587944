"""`vecsv keys`: keys for callers of the service, and the key that enrolments are sealed with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vecsv.cli.options import JsonOption, StoreOption

if TYPE_CHECKING:
    from vecsv.serve.keys import Key

FileOption = Annotated[Path, typer.Option("--file", help="The file of keys.", readable=False)]
_FILE = Path("keys.json")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Make, list and remove the service's keys; make the key that seals enrolments.", no_args_is_help=True
    )
    group.command("add")(add)
    group.command("list")(list_keys)
    group.command("remove")(remove)
    group.command("enrolment-key")(enrolment_key)
    group.command("seal-enrolments")(seal_enrolments)
    app.add_typer(group, name="keys")


def add(
    name: Annotated[str, typer.Argument(help="Who will hold it, for the audit log.", show_default=False)],
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="read, enrol or admin; several times for several.", show_default=False),
    ] = None,
    file: FileOption = _FILE,
    days: Annotated[
        float | None, typer.Option("--days", help="Expires after so many days. Default: never.", show_default=False)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Make a key for the service and print it, this once: the file keeps only a hash of it.

    Example: `vecsv keys add reception --scope read --scope enrol`
    """
    from vecsv.cli import show
    from vecsv.serve.keys import add_key

    entry, key = add_key(file, name, scope or [], days=days)
    if json:
        show.as_json({"key": key, **_described(entry)})
        return
    show.line(key)
    show.message(f"this is the key of {entry.name}; keep it, it is not shown again")


def list_keys(file: FileOption = _FILE, json: JsonOption = False) -> None:
    """List the keys of a file: whose they are and what they are good for.

    Example: `vecsv keys list`
    """
    from vecsv.cli import show
    from vecsv.serve.keys import read_keys

    found = [_described(entry) for entry in read_keys(file)]
    if json:
        show.as_json(found)
        return
    show.table(
        ["name", "id", "scopes", "created", "expires"],
        [(one["name"], one["id"], " ".join(one["scopes"]), one["created"], one["expires"] or "never") for one in found],
    )


def remove(
    name: Annotated[str, typer.Argument(help="The key's name or id.", show_default=False)],
    file: FileOption = _FILE,
    json: JsonOption = False,
) -> None:
    """Remove a key: a running service refuses it from the next request on.

    Example: `vecsv keys remove reception`
    """
    from vecsv.cli import show
    from vecsv.serve.keys import remove_key

    gone = remove_key(file, name)
    if json:
        show.as_json({"removed": gone.name, "id": gone.id})
        return
    show.line(f"removed {gone.name}: the key {gone.id} is refused from now on")


def enrolment_key(
    file: Annotated[Path, typer.Argument(help="The file to make.", show_default=False, readable=False)],
) -> None:
    """Make a key that enrolments are sealed with. Whoever loses it loses the enrolments: keep a copy elsewhere.

    Example: `vecsv keys enrolment-key enrolment.key`
    """
    from vecsv.cli import show
    from vecsv.store.sealing import make_key_file

    make_key_file(file)
    show.line(f"made {file}")
    show.message(f"set VECSV_ENROLMENT_KEY_FILE={file.resolve()} wherever vecsv runs, and keep a copy elsewhere")


def seal_enrolments(store: StoreOption = None, json: JsonOption = False) -> None:
    """Seal the enrolments of a store that was begun without a key, with the key that VECSV_ENROLMENT_KEY_FILE names.

    Backups made before, and what a disk keeps of files that were replaced, are as they were.

    Example: `vecsv keys seal-enrolments --store calls`
    """
    from vecsv import config
    from vecsv.cli import show
    from vecsv.store import enrolments
    from vecsv.store.generation import require_latest

    folder = store or config.default_store()
    require_latest(folder)
    sealed = enrolments.seal(folder)
    if json:
        show.as_json({"store": str(folder), "sealed": sealed})
        return
    show.line(f"sealed {sealed} enrolments in {folder}" if sealed else f"{folder} has no plain enrolments")


def _described(entry: Key) -> dict[str, Any]:
    return {
        "id": entry.id,
        "name": entry.name,
        "scopes": sorted(entry.scopes),
        "created": entry.created,
        "expires": entry.expires,
    }
