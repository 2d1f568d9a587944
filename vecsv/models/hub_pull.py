"""Models of the hub that vecsv has no card of: pinned to what they are the first time, if a person consents."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from vecsv.durable import make_folder, sync_folder
from vecsv.errors import ModelError
from vecsv.fetching import hub
from vecsv.fetching.hub import Listing
from vecsv.fetching.sources import HubSource, Messages, Progress, require_repository
from vecsv.models.add import UNKNOWN_LICENCE
from vecsv.models.bundle import is_bundle, put_in_place, read_bundle
from vecsv.models.cache import alone, cached_folder, downloads_folder, drop_downloads, is_whole
from vecsv.models.cards import is_name, known_models
from vecsv.models.pull import news
from vecsv.models.recognise import recognise

# What repositories of speaker models hold, and which of their files the model is; the first that fits counts.
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_CHECKPOINTS = ("embedding_model.ckpt", "avg_model.pt")


def hub_name(repo: str) -> str:
    """The name that a repository's model gets when none is given.

    Examples
    --------
    >>> hub_name("Wespeaker/wespeaker-voxceleb-resnet34-LM")
    'wespeaker-voxceleb-resnet34-lm'
    """
    return repo.rpartition("/")[2].lower()


def pull_from_hub(
    repo: str,
    *,
    revision: str | None = None,
    files: Sequence[str] = (),
    name: str | None = None,
    preset: str | None = None,
    licence: str | None = None,
    trust_first_use: bool = False,
    on_message: Messages | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Put a model of the hub into the cache.

    Nobody has pinned it, so a person has to trust what the hub gives at that moment. The commit and each file's
    SHA-256 are told and kept in the bundle: from then on the model is pinned to them.

    Parameters
    ----------
    repo : str
        ``OWNER/REPO``.
    revision : str, optional
        A commit, branch or tag; by default the one the model is pinned to already, else ``main``.
    files : sequence of str
        Which of its files the model is; by default told from what the repository holds.
    name : str, optional
        The model's name; `hub_name` by default.
    preset : str, optional
        How an exported graph is used.
    licence : str, optional
        SPDX identifier of the weights' licence; ``"unknown"`` by default.
    trust_first_use : bool
        Whether the person consents.
    on_message, on_progress
        As for `vecsv.models.pull.pull`.

    Returns
    -------
    Path
        The bundle. One that is there already, is whole and is pinned to this revision stays as it is.

    Raises
    ------
    ModelError
        When there is no consent, the name is taken, or the model cannot be fetched or read.
    """
    require_repository(repo)
    name = hub_name(repo) if name is None else name
    folder = cached_folder(name)
    _require_free(name, repo, folder)

    def say(text: str) -> None:
        if on_message is not None:
            on_message(text)

    with alone(name, say):
        pinned = _recorded(folder, repo, revision, files)
        if pinned is not None and is_whole(folder):
            say(f"{name} is in the cache already, pinned to commit {pinned.revision}: {folder}")
            return folder
        if pinned is None and not trust_first_use:
            raise ModelError(
                f"nobody has pinned {repo}{'' if revision is None else f' at {revision}'}: what the hub gives now "
                "would be taken on trust",
                hint="if you trust it, add --trust-first-use: the commit and each file's SHA-256 are shown and kept",
            )
        hub.require_online(name, hint="run it again online, or `vecsv models add` a copy on disk")
        progress = on_progress or news(name, say)
        if pinned is None:
            pinned, scratch = _first_use(repo, revision or "main", files, say, progress)
        else:
            scratch = downloads_folder(repo, pinned.revision)
            say(f"fetching {name} again from {repo}, pinned to commit {pinned.revision}")
            hub.fetch(pinned, scratch, progress=progress, on_message=say)
        _build(name, pinned, scratch, folder, preset, licence, say)
        drop_downloads(scratch)
        say(f"{name} is ready: {folder}")
    return folder


def _first_use(
    repo: str, revision: str, files: Sequence[str], say: Messages, progress: Progress
) -> tuple[HubSource, Path]:
    listing = hub.list_files(repo, revision)
    wanted = choose_files(listing, files)
    scratch = downloads_folder(repo, listing.commit)
    say(f"fetching {', '.join(wanted)} of {repo} at commit {listing.commit}, on trust")
    pinned = hub.fetch_unpinned(listing, wanted, scratch, progress=progress, on_message=say)
    for file, digest in pinned.files.items():
        say(f"pinned {file}: SHA-256 {digest}")
    return pinned, scratch


def _require_free(name: str, repo: str, folder: Path) -> None:
    """Refuse a name that cannot be one, or that another model has."""
    if not is_name(name):
        raise ModelError(f"{name!r} cannot be a model's name", hint="give another with --name")
    if any(card.name == name for card in known_models()):
        raise ModelError(
            f"vecsv has a pinned model called {name}",
            hint=f"run `vecsv models pull {name}`, or give yours another name with --name",
        )
    if is_bundle(folder) and _source(folder, repo) is None:
        raise ModelError(
            f"there is another model called {name} in the cache",
            hint=f"remove it with `vecsv models remove {name}`, or give this one another name with --name",
        )


def _source(folder: Path, repo: str) -> HubSource | None:
    """What a bundle says it was pinned to, if it came from this repository."""
    try:
        source = HubSource.from_json(read_bundle(folder).source)
    except ModelError:
        return None
    return source if source is not None and source.repo == repo else None


def _recorded(folder: Path, repo: str, revision: str | None, files: Sequence[str]) -> HubSource | None:
    """The pin of an earlier pull, unless another revision or other files are asked for now."""
    source = _source(folder, repo)
    if source is None or revision not in {None, source.revision} or (files and set(files) != set(source.files)):
        return None
    return source


def choose_files(listing: Listing, files: Sequence[str] = ()) -> list[str]:
    """Choose which files of a repository the model is.

    Parameters
    ----------
    listing : Listing
        What there is.
    files : sequence of str
        A person's choice; empty leaves it to what is known of repositories of speaker models.

    Returns
    -------
    list of str
        Paths in the repository.

    Raises
    ------
    ModelError
        When a chosen file is not there, or nothing or too much looks like a model.

    Examples
    --------
    >>> choose_files(Listing("a/b", "0" * 40, {"README.md": 9, "embedding_model.ckpt": 9, "classifier.ckpt": 9}))
    ['embedding_model.ckpt']
    """
    there = listing.files
    if missing := [file for file in files if file not in there]:
        raise ModelError(f"{listing.repo} has no {missing[0]}", hint=f"it has: {', '.join(sorted(there))}")
    if files:
        return list(dict.fromkeys(files))
    weights = next((file for file in _WEIGHTS if file in there), None)
    if "config.json" in there and weights is not None:
        return [file for file in ("config.json", "preprocessor_config.json") if file in there] + [weights]
    checkpoint = next((file for file in _CHECKPOINTS if file in there), None)
    if checkpoint is not None:
        return [checkpoint]
    graphs = sorted(file for file in there if file.endswith(".onnx"))
    if len(graphs) == 1:
        return graphs
    found = f"it has {len(graphs)} ONNX graphs: {', '.join(graphs)}" if graphs else f"it has {', '.join(sorted(there))}"
    raise ModelError(f"which file of {listing.repo} is the model?", hint=f"name it with --file; {found}")


def _build(
    name: str, source: HubSource, scratch: Path, folder: Path, preset: str | None, licence: str | None, say: Messages
) -> None:
    from vecsv.models import families
    from vecsv.models.conversion import as_bundle, write_conversion
    from vecsv.models.selftest import self_test

    found = recognise(hub.model_path(source, scratch))
    conversion = families.convert(found.family, found.path, preset=preset)
    for note in conversion.notes:
        say(f"note: {note}")
    bundle = as_bundle(
        conversion,
        name=name,
        description=f"{source.repo} of the Hugging Face hub",
        licence=licence or _earlier_licence(folder),
        source=source.to_json(),
    )
    fresh = scratch / "bundle"
    try:
        write_conversion(fresh, conversion, bundle, replace=True)
        self_test(fresh, where=source.repo)
        make_folder(folder.parent)
        put_in_place(fresh, folder, replace=True)
        sync_folder(folder.parent)
    except OSError as error:
        raise ModelError(f"cannot be written: {error.strerror}", where=str(folder), hint="set VECSV_CACHE") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _earlier_licence(folder: Path) -> str:
    """What a person said of it before, when a damaged model is made again."""
    try:
        return read_bundle(folder).licence
    except ModelError:
        return UNKNOWN_LICENCE
