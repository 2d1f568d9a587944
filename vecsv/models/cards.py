"""Which models vecsv knows: one YAML file each in ``configs/``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from vecsv.errors import ModelError
from vecsv.fetching.sources import HubSource, WheelSource

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")


@dataclass(frozen=True)
class ModelCard:
    """One known model.

    Attributes
    ----------
    name : str
        Name it goes by in commands.
    family : str
        Which file of `vecsv.models` runs it.
    description : str
        One line for people.
    licence : str
        SPDX identifier of the weights' licence.
    dim : int
        Length of an embedding.
    source : WheelSource or HubSource
        Where the weights are.
    preset : str or None
        How an exported graph is used: the name of a preset; None for families that need none.
    reference_calibration : mapping or None
        Thresholds measured elsewhere, with the name of the data.
    """

    name: str
    family: str
    description: str
    licence: str
    dim: int
    source: WheelSource | HubSource
    preset: str | None = None
    reference_calibration: Mapping[str, Any] | None = None


def is_name(text: str) -> bool:
    """Whether a text can be a model's name (and so a folder's in the cache).

    Examples
    --------
    >>> is_name("ge2e"), is_name("../ge2e")
    (True, False)
    """
    return _NAME.fullmatch(text) is not None


def configs_dir() -> Path:
    """Folder with the YAML files: inside the installed package, or in the checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def known_models(folder: Path | None = None) -> list[ModelCard]:
    """Read every model's card, sorted by name.

    Parameters
    ----------
    folder : Path, optional
        Where the YAML files are; by default `configs_dir`. Files whose ``kind`` is not ``model`` are left
        alone.

    Raises
    ------
    ModelError
        When a file cannot be read or is no model's card.
    """
    cards = [card for path in sorted((folder or configs_dir()).glob("*.yaml")) if (card := _read_card(path))]
    return sorted(cards, key=lambda card: card.name)


def find_card(name: str) -> ModelCard:
    """Return the card of one known model; a ModelError that lists the known ones otherwise."""
    cards = {card.name: card for card in known_models()}
    if name not in cards:
        raise ModelError(
            f"there is no model {name!r}",
            hint=f"known models: {', '.join(cards)}; or give the folder of a bundle, or add one: `vecsv models add`",
        )
    return cards[name]


def _read_card(path: Path) -> ModelCard | None:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ModelError("cannot be read as YAML", where=str(path)) from error
    if not isinstance(values, dict) or values.pop("kind", None) != "model":
        return None
    source = _source(values.get("source"), path)
    card = ModelCard(**_fitting(ModelCard, {**values, "source": source}, path))
    if card.reference_calibration is not None:
        card = replace(card, reference_calibration=_as_json(card.reference_calibration, path))
    if not is_name(card.name):
        raise ModelError(f"{card.name!r} cannot be a model's name", where=str(path))
    if isinstance(card.dim, bool) or not isinstance(card.dim, int) or card.dim < 1:
        raise ModelError(f"dim is {card.dim!r}, but has to be a whole number of at least 1", where=str(path))
    return card


def _source(values: Any, path: Path) -> WheelSource | HubSource:
    """Read where the weights are: ``repo`` names a repository of the hub, ``package`` one of the package index."""
    if not isinstance(values, dict):
        raise ModelError("has no source", where=str(path))
    try:
        if "repo" not in values:
            return WheelSource(**_fitting(WheelSource, values, path))
        if not isinstance(values.get("files"), dict):
            raise ModelError("files is no mapping of files to their SHA-256")
        return HubSource(**_fitting(HubSource, values, path))
    except ModelError as error:
        raise ModelError(error.what, where=str(path), hint=error.hint) from error


def _as_json(values: Any, path: Path) -> dict[str, Any]:
    """Return a mapping as a bundle will give it back; YAML can say more than JSON, such as dates and infinity."""
    import json

    try:
        found = json.loads(json.dumps(values, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ModelError(f"reference_calibration is no JSON: {error}", where=str(path)) from error
    if not isinstance(found, dict):
        raise ModelError("reference_calibration is no mapping", where=str(path))
    return found


def _fitting(
    target: type[WheelSource | HubSource | ModelCard], values: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    """Check that the values name exactly the fields of a card, with texts where texts belong."""
    declared = {field.name: field for field in fields(target)}
    required = {name for name, field in declared.items() if field.default is MISSING}
    if wrong := sorted((required - values.keys()) | (values.keys() - declared.keys())):
        raise ModelError(f"unknown or missing: {', '.join(map(str, wrong))}", where=str(path))
    for name, value in values.items():
        # The types are texts themselves here: annotations are not evaluated.
        texts = {"str": (str,), "str | None": (str, type(None))}.get(str(declared[name].type))
        if texts is not None and not isinstance(value, texts):
            raise ModelError(f"{name} is {value!r}, which is no text", where=str(path), hint="quote it")
    return dict(values)
