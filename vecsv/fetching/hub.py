"""Files of the Hugging Face hub, or of a mirror of it (``HF_ENDPOINT``), pinned by commit and SHA-256.

Two requests are all it takes: ``/OWNER/REPO/resolve/COMMIT/FILE`` gives a file, usually by a redirect to another
host, and ``/api/models/OWNER/REPO/revision/REVISION`` says which commit a branch or tag stands for and which files
it has. The variables are the hub's own: ``HF_ENDPOINT``, ``HF_TOKEN`` for gated and private repositories, and
``HF_HUB_OFFLINE``.

`huggingface_hub` is not used: as of its version 2.4 a download that was cut begins anew in the next run, it waits as
long as a server asks, and it would bring a dozen packages for two requests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from vecsv.config import offline
from vecsv.errors import ModelError
from vecsv.fetching.download import Patience, RemoteFile, download
from vecsv.fetching.sources import HubSource, Messages, Progress, UnreachableModelError, is_commit, require_repository
from vecsv.fetching.transport import PassingError, RefusedError, answer

DEFAULT_ENDPOINT: Final = "https://huggingface.co"
MEGABYTE: Final = 1_000_000

_MOST_LISTING_BYTES: Final = 16 * MEGABYTE


@dataclass(frozen=True)
class Listing:
    """What a repository holds at one commit.

    Attributes
    ----------
    repo : str
        ``OWNER/REPO``.
    commit : str
        The commit.
    files : mapping of str to int or None
        Size of each file in bytes, by its path; None where the hub does not say.
    """

    repo: str
    commit: str
    files: Mapping[str, int | None]


def endpoint() -> str:
    """The hub's address: ``HF_ENDPOINT``, else the hub itself.

    Raises
    ------
    ModelError
        When ``HF_ENDPOINT`` is no address.
    """
    chosen = os.environ.get("HF_ENDPOINT", "").strip().rstrip("/") or DEFAULT_ENDPOINT
    try:
        parts = urlsplit(chosen)
    except ValueError as error:
        raise ModelError("HF_ENDPOINT is no address") from error
    if "@" in parts.netloc:
        raise ModelError("HF_ENDPOINT holds a name or password", hint="set HF_TOKEN instead")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ModelError(f"HF_ENDPOINT is {chosen!r}", hint="give an address such as https://huggingface.co")
    return chosen


def hub_offline() -> bool:
    """Whether ``VECSV_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids asking the hub."""
    return offline() or os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}


def require_online(what: str, hint: str) -> None:
    """Refuse to fetch something while that is forbidden."""
    if hub_offline():
        variable = "VECSV_OFFLINE" if offline() else "HF_HUB_OFFLINE"
        raise UnreachableModelError(f"{what} is not in the cache and {variable} forbids fetching it", hint=hint)


def fetch(
    source: HubSource,
    folder: Path,
    *,
    patience: Patience | None = None,
    progress: Progress | None = None,
    on_message: Messages | None = None,
) -> None:
    """Put pinned files into a folder, under their paths in the repository.

    What is there already, whole, is not fetched again; what was cut is continued.

    Raises
    ------
    UnreachableModelError
        When the hub cannot be reached, or has not got them.
    ModelError
        When a file is not the pinned one, or cannot be written.
    """
    limit = round(source.mb * 1.1 * MEGABYTE) + MEGABYTE
    done = 0
    for name, digest in source.files.items():
        so_far = done

        def told(arrived: int, total: int | None, so_far: int = so_far) -> None:
            if progress is not None:
                progress(so_far + arrived, source.mb * MEGABYTE)

        _fetch_file(source.repo, source.revision, name, folder, digest, limit, patience, told, on_message)
        done += (folder / name).stat().st_size


def fetch_unpinned(
    listing: Listing,
    names: list[str],
    folder: Path,
    *,
    patience: Patience | None = None,
    progress: Progress | None = None,
    on_message: Messages | None = None,
) -> HubSource:
    """Put files of a commit into a folder and pin them to what they are now.

    Their SHA-256 is whatever they turn out to have: only for a person who chose to trust the hub this once.

    Returns
    -------
    HubSource
        The commit and the files' SHA-256.
    """
    sizes = {name: listing.files.get(name) for name in names}
    known = sum(size or 0 for size in sizes.values())
    digests: dict[str, str] = {}
    done = 0
    for name, size in sizes.items():
        so_far = done

        def told(arrived: int, total: int | None, so_far: int = so_far) -> None:
            if progress is not None:
                progress(so_far + arrived, max(known, so_far + (total or arrived)))

        limit = size if size is not None else 8000 * MEGABYTE
        digests[name] = _fetch_file(listing.repo, listing.commit, name, folder, None, limit, patience, told, on_message)
        done += (folder / name).stat().st_size
    return HubSource(listing.repo, listing.commit, digests, mb=max(1, round(done / MEGABYTE)))


def _fetch_file(
    repo: str,
    commit: str,
    name: str,
    folder: Path,
    digest: str | None,
    limit: int,
    patience: Patience | None,
    progress: Progress,
    on_message: Messages | None,
) -> str:
    remote = RemoteFile(
        url=f"{endpoint()}/{repo}/resolve/{commit}/{quote(name)}",
        label=f"{name} of {repo}",
        sha256=digest,
        limit_bytes=limit,
        token=_token(),
    )
    try:
        return download(remote, folder / name, patience=patience, progress=progress, on_message=on_message)
    except RefusedError as error:
        raise _explained(remote.label, error, revision=commit) from error


def model_path(source: HubSource, folder: Path) -> Path:
    """What the families read: the file where the model is one, else the folder that holds its files."""
    names = list(source.files)
    return folder / names[0] if len(names) == 1 else folder / Path(names[0]).parent


def list_files(repo: str, revision: str) -> Listing:
    """Ask the hub which commit a revision is and which files it has.

    Raises
    ------
    UnreachableModelError
        When the hub cannot be reached, or knows no such repository or revision.
    """
    require_repository(repo)
    url = f"{endpoint()}/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true"
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "vecsv"}
    content = b""
    try:
        with answer(url, headers=headers, token=_token()) as response:
            while piece := response.read(1 << 16):
                content += piece
                if len(content) > _MOST_LISTING_BYTES:
                    raise RefusedError("the list of its files is too long")
        values = json.loads(content)
        files = {str(entry["rfilename"]): _size(entry) for entry in values["siblings"]}
        commit = str(values["sha"])
    except PassingError as error:
        raise UnreachableModelError(f"{repo} cannot be looked up: {error.reason}", hint="try again") from error
    except RefusedError as error:
        raise _explained(repo, error, revision=revision) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UnreachableModelError(
            f"{endpoint()} does not answer as a hub does", hint="check HF_ENDPOINT, and proxies on the way"
        ) from error
    if not is_commit(commit) or (is_commit(revision) and revision != commit):
        raise ModelError(f"{endpoint()} says that revision {revision} of {repo} is {commit!r}, which cannot be")
    return Listing(repo, commit, files)


def _size(entry: Mapping[str, Any]) -> int | None:
    size = entry.get("size")
    return size if isinstance(size, int) and size >= 0 else None


def _token() -> str | None:
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token.isascii() or not token.isprintable():
        raise ModelError("HF_TOKEN is no token of the hub: it has characters that none has")
    return token or None


def _explained(what: str, error: RefusedError, *, revision: str) -> UnreachableModelError:
    """Say what an answer means on the hub, and what to do."""
    token = "the token in HF_TOKEN may not read it" if _token() else "set HF_TOKEN to a token that may read it"
    hints = {
        401: f"there is no such repository, or it is private or gated: check the name, or {token}",
        403: f"it is gated: accept its conditions on its page on the hub, and {token}",
        404: f"check the repository, the revision {revision} and the file's name; a mirror may lack it",
        None: "check the network, HF_ENDPOINT and the proxy settings",
    }
    hint = hints.get(error.status, "ask whoever runs it")
    return UnreachableModelError(f"{what} cannot be fetched: {error.reason}", hint=hint)
