"""Taking the right to write, and clearing up after writers that died."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from vecsv.durable import TEMPORARY_SUFFIX, make_folder
from vecsv.errors import StoreBusyError, StoreError
from vecsv.store.generation import MANIFESTS, Generation, committed_numbers, latest, manifest_path

EMBEDDINGS = "embeddings"
FAILURES = "failures"
INDEX = "index"
CALIBRATION = "calibration"
RECEIPTS = "receipts"
LOCK = "LOCK"


@contextmanager
def writer(folder: Path, *, create: bool = False) -> Iterator[None]:
    """Hold the store's write lock; leftovers of earlier writers are swept on the way in.

    Parameters
    ----------
    folder : Path
        The store.
    create : bool
        Make the folder when it is missing; otherwise that is an error.

    Raises
    ------
    StoreBusyError
        At once, when another process is writing.
    StoreError
        When there is no store and `create` is false, or the disk fails while the block writes or reads the store.
    """
    if create:
        try:
            make_folder(folder)
        except OSError as error:
            raise StoreError(f"the store's folder cannot be made: {error.strerror}", where=str(folder)) from error
    elif latest(folder) is None:
        raise StoreError("no store here", where=str(folder), hint="make one: vecsv embed --manifest train.tsv")
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise StoreBusyError(
            "another vecsv process is writing to this store",
            where=str(folder),
            hint="wait for it to end, then run again",
        ) from error
    except OSError as error:
        raise StoreError(f"the store cannot be written: {error.strerror}", where=str(folder)) from error
    try:
        sweep(folder)
        yield
    except BrokenPipeError:
        # Whoever reads our output has gone; the store is not to blame.
        raise
    except FileNotFoundError as error:
        raise StoreError(
            "damaged: a file that the store's manifest names is missing",
            where=str(error.filename or folder),
            hint="restore it from a backup, or embed into a new store",
        ) from error
    except OSError as error:
        raise StoreError(
            f"the store cannot be written: {error.strerror or error}",
            where=str(error.filename or folder),
            hint="what was committed is unharmed; mend the disk and run the same command again",
        ) from error
    finally:
        lock.release()


def sweep(folder: Path) -> int:
    """Remove every file that the last committed generation does not name. Call with the write lock held.

    Returns
    -------
    int
        How many files and folders were removed.
    """
    generation = latest(folder)
    removed = 0 if generation is None else drop_superseded(folder, generation)
    for entry in (*_entries(folder), *_entries(folder / MANIFESTS), *_entries(folder / RECEIPTS)):
        if entry.name.endswith(TEMPORARY_SUFFIX):
            entry.unlink(missing_ok=True)
            removed += 1
    kept = set() if generation is None else generation.files()
    for top in (EMBEDDINGS, FAILURES, INDEX):
        removed += _remove_unnamed(folder, folder / top, kept)
    for calibration in _entries(folder / CALIBRATION):
        if calibration.is_dir():
            removed += _remove_unnamed(folder, calibration, kept)
            if not _entries(calibration):
                calibration.rmdir()
    return removed


def drop_superseded(folder: Path, generation: Generation) -> int:
    """Remove the manifests of generations before `generation`; returns how many."""
    superseded = [number for number in committed_numbers(folder) if number < generation.number]
    for number in superseded:
        manifest_path(folder, number).unlink(missing_ok=True)
    return len(superseded)


def _remove_unnamed(folder: Path, parent: Path, kept: set[str]) -> int:
    removed = 0
    for entry in _entries(parent):
        if entry.relative_to(folder).as_posix() in kept:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
        removed += 1
    return removed


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
