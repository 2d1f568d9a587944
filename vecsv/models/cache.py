"""The cache of models: where each is, what is on its way there, and taking one out again."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from vecsv.config import cache_dir
from vecsv.durable import make_folder
from vecsv.errors import ModelError
from vecsv.models.bundle import is_bundle, verify_bundle


def cached_folder(name: str) -> Path:
    """Where a model's bundle is in the cache, once it was pulled or added."""
    return cache_dir() / "models" / name


def cached_names() -> list[str]:
    """Names of the models in the cache, sorted; damaged ones too, as long as they have a ``bundle.json``."""
    models = cache_dir() / "models"
    if not models.is_dir():
        return []
    return sorted(folder.name for folder in models.iterdir() if not folder.name.startswith(".") and is_bundle(folder))


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a bundle whose files are all what they were when it was made."""
    if not is_bundle(folder):
        return False
    try:
        verify_bundle(folder)
    except ModelError:
        return False
    return True


def size_of(folder: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def downloads_folder(repo: str, commit: str) -> Path:
    """Where files of a repository lie until the model is built, and what is there of them after a cut."""
    return cache_dir() / "downloads" / repo.replace("/", "--") / commit


def drop_downloads(folder: Path) -> None:
    """Remove what `downloads_folder` held, and folders above it that are empty now."""
    shutil.rmtree(folder, ignore_errors=True)
    for above in (folder.parent, folder.parent.parent):
        # One that another download needs is not empty.
        with contextlib.suppress(OSError):
            above.rmdir()


@contextlib.contextmanager
def alone(name: str, on_message: Callable[[str], None]) -> Iterator[None]:
    """Let one process at a time put a model into the cache; a second one waits for the first."""
    import filelock

    locks = cache_dir() / "locks"
    try:
        make_folder(locks)
        lock = filelock.FileLock(locks / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            on_message(f"another process is fetching {name}; waiting for it")
            lock.acquire()
    except OSError as error:
        raise ModelError(
            f"the cache cannot be written: {error.strerror}", where=str(locks), hint="set VECSV_CACHE"
        ) from error
    try:
        yield
    finally:
        lock.release()


def remove(name: str) -> int:
    """Take a model out of the cache, damaged or not.

    Parameters
    ----------
    name : str
        The model's name.

    Returns
    -------
    int
        Bytes that became free.

    Raises
    ------
    ModelError
        When it is not in the cache, or cannot be removed.
    """
    from vecsv.models.cards import is_name

    folder = cached_folder(name)
    if not is_name(name) or not folder.is_dir():
        raise ModelError(
            f"{name!r} is not in the cache", hint=f"there are: {', '.join(cached_names()) or 'no models at all'}"
        )
    freed = size_of(folder)
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        # In one step: whoever loads it at this moment finds it whole or not at all.
        folder.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        raise ModelError(f"cannot be removed: {error.strerror}", where=str(folder)) from error
    return freed
