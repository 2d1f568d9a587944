"""Models by name: what is known, what is in the cache, and loading one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vecsv.engines.protocol import EngineSettings
from vecsv.errors import ModelError
from vecsv.fetching.sources import HubSource, WheelSource
from vecsv.models.bundle import Bundle, is_bundle, read_bundle
from vecsv.models.cache import cached_folder, cached_names, remove, size_of
from vecsv.models.cards import ModelCard, find_card, is_name, known_models
from vecsv.models.families import load_bundle, torch_module
from vecsv.models.protocol import Embedder
from vecsv.models.pull import pull

__all__ = [
    "DEFAULT_MODEL",
    "Listed",
    "ModelCard",
    "cached_folder",
    "find_card",
    "installed",
    "known_models",
    "listing",
    "load",
    "locate",
    "pull",
    "remove",
    "torch_module",
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
    settings: EngineSettings | None = None,
    *,
    on_message: Callable[[str], None] | None = None,
) -> Embedder:
    """Load a model; one that is known and not in the cache is pulled first.

    Parameters
    ----------
    name_or_folder : str or Path
        A known model's name, or the folder of a bundle.
    settings : EngineSettings, optional
        Engine, device, precision and threads.
    on_message : callable, optional
        Told, in one line each, what is going on when something has to be fetched.

    Raises
    ------
    ModelError
        When there is no such model, it cannot be fetched, or it is damaged.
    """
    folder = locate(name_or_folder, on_message=on_message)
    return load_bundle(folder, read_bundle(folder).family, settings)


@dataclass(frozen=True)
class Listed:
    """One model for a list: known, in the cache, or both.

    Attributes
    ----------
    name, family, description, licence : str
        As in its card; of models without one, as in the bundle.
    dim : int or None
        Length of an embedding; None where a damaged bundle does not say.
    origin : str
        ``"package index"``, ``"hub"`` or ``"added"``.
    state : str
        ``"cached"``, ``"not cached"`` or ``"damaged"``: ``bundle.json`` cannot be read.
    size_bytes : int or None
        What it takes on disk; None where it is not cached.
    download_mb : int or None
        What fetching it moves; None for models that cannot be fetched.
    eer : float or None
        Equal error rate of its reference calibration, on the data that the calibration names.
    """

    name: str
    family: str
    description: str
    licence: str
    dim: int | None
    origin: str
    state: str
    size_bytes: int | None
    download_mb: int | None
    eer: float | None


def listing() -> list[Listed]:
    """Every model that is known or in the cache, sorted by name."""
    cards = {card.name: card for card in known_models()}
    return [_listed(name, cards.get(name)) for name in sorted({*cards, *cached_names()})]


def _listed(name: str, card: ModelCard | None) -> Listed:
    folder = cached_folder(name)
    bundle: Bundle | None = None
    state = "not cached"
    if is_bundle(folder):
        try:
            bundle, state = read_bundle(folder), "cached"
        except ModelError:
            state = "damaged"
    size = None if state == "not cached" else size_of(folder)
    if card is not None:
        wheel = isinstance(card.source, WheelSource)
        return Listed(
            name=name,
            family=card.family,
            description=card.description,
            licence=card.licence,
            dim=card.dim,
            origin="package index" if wheel else "hub",
            state=state,
            size_bytes=size,
            download_mb=card.source.wheel_mb if isinstance(card.source, WheelSource) else card.source.mb,
            eer=_equal_error_rate(card.reference_calibration),
        )
    source = None if bundle is None else _hub_source(bundle)
    return Listed(
        name=name,
        family="?" if bundle is None else bundle.family,
        description="its bundle.json cannot be read" if bundle is None else bundle.description,
        licence="?" if bundle is None else bundle.licence,
        dim=None if bundle is None else bundle.dim,
        origin="added" if source is None else "hub",
        state=state,
        size_bytes=size,
        download_mb=None if source is None else source.mb,
        eer=None if bundle is None else _equal_error_rate(bundle.reference_calibration),
    )


def _hub_source(bundle: Bundle) -> HubSource | None:
    try:
        return HubSource.from_json(bundle.source)
    except ModelError:
        return None


def _equal_error_rate(reference: Mapping[str, Any] | None) -> float | None:
    """The equal error rate among a calibration's points; None where there is none."""
    points = () if reference is None else reference.get("points", ())
    for point in points if isinstance(points, list) else ():
        if isinstance(point, dict) and point.get("name") == "eer" and isinstance(point.get("value"), float):
            return float(point["value"])
    return None
