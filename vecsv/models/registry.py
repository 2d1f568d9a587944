"""Models by name: what is known, what is in the cache, and loading one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vecsv.errors import ModelError
from vecsv.models.bundle import is_bundle, read_bundle
from vecsv.models.cards import ModelCard, find_card, is_name, known_models
from vecsv.models.protocol import Embedder
from vecsv.models.pull import cached_folder, pull

__all__ = [
    "DEFAULT_MODEL",
    "ModelCard",
    "cached_folder",
    "find_card",
    "installed",
    "known_models",
    "load",
    "locate",
    "pull",
]

DEFAULT_MODEL = "ge2e"
"""The model that commands use when none is named."""


def installed(name: str) -> bool:
    """Whether a model is in the cache.

    Examples
    --------
    >>> installed("no-such-model")
    False
    """
    return is_name(name) and is_bundle(cached_folder(name))


def locate(name_or_folder: str | Path, *, on_message: Callable[[str], None] | None = None) -> Path:
    """Find a model's bundle, pulling a known model that is not in the cache.

    Parameters
    ----------
    name_or_folder : str or Path
        A known model's name, or the folder of a bundle. A name wins over a folder called the same; write
        ``./NAME`` for that.
    on_message : callable, optional
        Told, in one line each, what is going on when something has to be fetched.

    Raises
    ------
    ModelError
        When there is no such model, or it cannot be fetched.
    """
    name = str(name_or_folder)
    if isinstance(name_or_folder, str) and installed(name):
        return cached_folder(name)
    if isinstance(name_or_folder, str) and is_name(name) and any(card.name == name for card in known_models()):
        return pull(name, on_message=on_message)
    folder = Path(name_or_folder)
    # An empty name would be the working directory.
    if name and is_bundle(folder):
        return folder
    if name and folder.is_dir():
        raise ModelError("the folder holds no model (no bundle.json)", where=name)
    return cached_folder(find_card(name).name)


def load(
    name_or_folder: str | Path = DEFAULT_MODEL,
    *,
    threads: int = 1,
    on_message: Callable[[str], None] | None = None,
) -> Embedder:
    """Load a model; one that is known and not in the cache is pulled first.

    Parameters
    ----------
    name_or_folder : str or Path
        A known model's name, or the folder of a bundle.
    threads : int
        Threads that one call of its `embed` may use.
    on_message : callable, optional
        Told, in one line each, what is going on when something has to be fetched.

    Raises
    ------
    ModelError
        When there is no such model, it cannot be fetched, or it is damaged.
    """
    folder = locate(name_or_folder, on_message=on_message)
    family = read_bundle(folder).family
    if family == "ge2e":
        from vecsv.models import ge2e

        return ge2e.load(folder, threads=threads)
    raise ModelError(f"is of the family {family}, which this version of vecsv does not know", where=str(folder))
