"""Networks of the hub that are no speaker models yet, kept as they are for trainings that start from them.

Like models of the hub that vecsv has no card of, they are pinned to what they are the first time, if a person consents.
A repository's files lie in the cache under ``pretrained/OWNER--REPO/COMMIT``, with ``pinned.json``: commit, SHA-256 of
each file, and the revision that was asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vecsv.config import cache_dir
from vecsv.durable import write_text
from vecsv.errors import ModelError
from vecsv.fetching import hub
from vecsv.fetching.sources import HubSource, Messages, Progress, require_repository
from vecsv.models.cache import alone
from vecsv.models.hub_pull import choose_files
from vecsv.models.pull import news

PIN_FILE: Final = "pinned.json"

_BRANCH: Final = "main"


def fetch_pretrained(
    repo: str,
    *,
    revision: str | None = None,
    trust_first_use: bool = False,
    on_message: Messages | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Put a network of the hub into the cache.

    Parameters
    ----------
    repo : str
        ``OWNER/REPO``.
    revision : str, optional
        A commit, branch or tag; ``main`` by default. A branch stays pinned to the commit it was the first time.
    trust_first_use : bool
        Whether the person consents to take what the hub gives, where nothing is pinned yet.
    on_message, on_progress
        As for `vecsv.models.pull.pull`.

    Returns
    -------
    Path
        The folder with its files, each with the SHA-256 that it is pinned to.

    Raises
    ------
    ModelError
        When there is no consent, or it cannot be fetched.
    """
    require_repository(repo)
    revision = revision or _BRANCH
    above = cache_dir() / "pretrained" / repo.replace("/", "--")

    def say(text: str) -> None:
        if on_message is not None:
            on_message(text)

    with alone(above.name, say):
        pinned = _pinned(above, revision)
        progress = on_progress or news(repo, say)
        if pinned is not None:
            folder = above / pinned.revision
            if not all((folder / file).is_file() for file in pinned.files):
                _require_online(repo)
            # What is there is only checked.
            hub.fetch(pinned, folder, progress=progress, on_message=say)
            say(f"{repo} is pinned to commit {pinned.revision}: {folder}")
            return folder
        if not trust_first_use:
            raise ModelError(
                f"nobody has pinned {repo} at {revision}: what the hub gives now would be taken on trust",
                hint="if you trust it, say network.trust_first_use: true; or give a folder on disk",
            )
        _require_online(repo)
        listing = hub.list_files(repo, revision)
        wanted = choose_files(listing)
        folder = above / listing.commit
        say(f"fetching {', '.join(wanted)} of {repo} at commit {listing.commit}, on trust")
        source = hub.fetch_unpinned(listing, wanted, folder, progress=progress, on_message=say)
        for file, digest in source.files.items():
            say(f"pinned {file}: SHA-256 {digest}")
        write_text(folder / PIN_FILE, json.dumps({"asked": revision, **source.to_json()}, indent=2) + "\n")
    return folder


def pin_of(folder: Path) -> HubSource | None:
    """What a folder of `fetch_pretrained` is pinned to; None for another folder."""
    found = _read_pin(folder / PIN_FILE)
    return None if found is None else HubSource.from_json({k: v for k, v in found.items() if k != "asked"})


def _pinned(above: Path, revision: str) -> HubSource | None:
    for path in sorted(above.glob(f"*/{PIN_FILE}")):
        found = _read_pin(path)
        if found is not None and revision in {found.get("asked"), found.get("revision")}:
            return pin_of(path.parent)
    return None


def _read_pin(path: Path) -> Mapping[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError("cannot be read as JSON", where=str(path), hint="remove its folder and fetch again") from error
    return values if isinstance(values, dict) else None


def _require_online(repo: str) -> None:
    hub.require_online(repo, hint="run it again online, or give a folder on disk")
