"""Training configurations: YAML files of ``configs/``, or of a user, as specs.

A file holds ``kind: training``, a ``family``, a ``front_end``, a ``network``, and sections with the fields of
`vecsv.training.specs`; what is left out has its default, and what is unknown is refused with its place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar

from vecsv.errors import ModelError, TrainingError
from vecsv.frontend.spec import FrontendSpec, LogMelSpec, WaveformSpec, frontend_from_json
from vecsv.models.cards import configs_dir
from vecsv.training.specs import CommonSpecs

FAMILIES: Final = ("ecapa-tdnn", "wavlm-xvector")

_OWN_KEYS: Final = ("kind", "family", "description", "front_end", "network")


@dataclass(frozen=True)
class TrainingConfig(CommonSpecs):
    """Everything a training follows, besides its data.

    Attributes
    ----------
    family : str
        ``"ecapa-tdnn"`` or ``"wavlm-xvector"``.
    description : str
        One line for people; it goes into the bundle.
    front_end : FrontendSpec
        What the network sees.
    network : mapping
        What the family makes its network of.
    data, augmentation, loss, optimiser, run, development, finish
        See `vecsv.training.specs`.
    """

    family: str = "ecapa-tdnn"
    description: str = ""
    front_end: FrontendSpec = field(default_factory=LogMelSpec)
    network: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise TrainingError(f"family is {self.family!r}, this version trains {', '.join(FAMILIES)}")

    def to_json(self) -> dict[str, Any]:
        """Return the content of the YAML file, every field spelt out."""
        specs = {spec.name: _plain(asdict(getattr(self, spec.name))) for spec in fields(CommonSpecs)}
        return {
            "kind": "training",
            "family": self.family,
            "description": self.description,
            "front_end": self.front_end.to_json(),
            "network": _plain(self.network),
            **specs,
        }


def read_config(path: Path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read a training configuration.

    Parameters
    ----------
    path : Path
        A YAML file; a bare name such as ``train-ecapa-small`` or ``train-ecapa-small.yaml`` is one that comes with
        vecsv, unless there is a file of that name.
    overrides : sequence of str
        ``"data.crop_s=2"``: a dotted key and a value written as YAML, put over what the file says.

    Raises
    ------
    TrainingError
        When it cannot be read, or says something that this version cannot follow; the error names file and key.

    Examples
    --------
    >>> read_config(Path("train-ecapa-small"), ["run.epochs=3", "augmentation.room=null"]).run.epochs
    3
    """
    import yaml

    found = _found(path)
    try:
        values = yaml.safe_load(found.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise TrainingError("is no YAML", where=str(path)) from error
    if not isinstance(values, dict) or values.get("kind") != "training":
        raise TrainingError("is no training configuration: kind is not training", where=str(path))
    for override in overrides:
        _put(values, override)
    return config_from(values, where=str(path))


def config_from(values: Mapping[str, Any], *, where: str) -> TrainingConfig:
    """Make a configuration of a YAML file's or `TrainingConfig.to_json`'s values; see `read_config`."""
    try:
        return _parsed(values)
    except (TrainingError, ModelError) as error:
        place = f"{where}: {error.where}" if error.where else where
        raise TrainingError(error.what, where=place, hint=error.hint) from error


def write_config(path: Path, config: TrainingConfig) -> None:
    """Write a configuration as YAML that `read_config` reads."""
    import yaml

    from vecsv.durable import write_text

    write_text(path, yaml.safe_dump(config.to_json(), sort_keys=False, allow_unicode=True, width=120))


def _found(path: Path) -> Path:
    if path.exists() or path.parent != Path():
        return path
    shipped = configs_dir() / (path.name if path.suffix else f"{path.name}.yaml")
    return shipped if shipped.exists() else path


def _put(values: dict[str, Any], override: str) -> None:
    import yaml

    key, equals, text = override.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise TrainingError(
            f"{override!r} is no setting", where="--set", hint="write it as section.key=value, such as data.crop_s=2"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TrainingError(f"{text!r} is no YAML value", where=f"--set {key}") from error
    section = values
    for name in names[:-1]:
        inner = section.get(name)
        if inner is None:
            inner = section[name] = {}
        if not isinstance(inner, dict):
            raise TrainingError(f"{name} is no section", where=f"--set {key}")
        section = inner
    section[names[-1]] = value


def _parsed(values: Mapping[str, Any]) -> TrainingConfig:
    sections = typing.get_type_hints(CommonSpecs)
    if unknown := sorted(map(str, values.keys() - {*_OWN_KEYS, *sections})):
        raise TrainingError(f"unknown: {', '.join(unknown)}", hint=f"it may hold {', '.join([*_OWN_KEYS, *sections])}")
    family = values.get("family", "ecapa-tdnn")
    given = {name for name in sections if values.get(name) is not None}
    read: dict[str, Any] = {name: _value(sections[name], values[name], name) for name in sorted(given)}
    front_end = values.get("front_end")
    if front_end is None:
        read["front_end"] = LogMelSpec() if family == "ecapa-tdnn" else WaveformSpec(normalise=True)
    elif isinstance(front_end, Mapping):
        read["front_end"] = frontend_from_json(front_end, complete=False)
    else:
        raise TrainingError("is no section", where="front_end")
    network = values.get("network") or {}
    if not isinstance(network, Mapping):
        raise TrainingError("is no section", where="network")
    return TrainingConfig(
        family=str(family), description=str(values.get("description", "")), network=dict(network), **read
    )


_Spec = TypeVar("_Spec")


def spec_from(target: type[_Spec], values: Any, where: str) -> _Spec:
    """Make a spec, any frozen dataclass, of a mapping; what is wrong in it is said with its dotted place.

    Raises
    ------
    TrainingError
        When something is unknown, missing, of another type, or refused by the spec.
    """
    if not isinstance(values, Mapping):
        raise TrainingError(f"is {values!r}, which is no section", where=where)
    declared = {spec.name: spec for spec in fields(typing.cast(Any, target))}
    if unknown := sorted(map(str, values.keys() - declared.keys())):
        raise TrainingError(f"unknown: {', '.join(unknown)}", where=where, hint=f"it may hold {', '.join(declared)}")
    missing = [
        name
        for name, spec in declared.items()
        if name not in values and spec.default is MISSING and spec.default_factory is MISSING
    ]
    if missing:
        raise TrainingError(f"missing: {', '.join(missing)}", where=where)
    kinds = typing.get_type_hints(target)
    read = {name: _value(kind, values[name], f"{where}.{name}") for name, kind in kinds.items() if name in values}
    try:
        return target(**read)
    except TrainingError as error:
        raise TrainingError(error.what, where=error.where or where, hint=error.hint) from error


def _value(kind: Any, value: Any, where: str) -> Any:
    """Check a value against a type and give it that type."""
    if isinstance(kind, types.UnionType):
        if value is None and type(None) in kind.__args__:
            return None
        kind = next(one for one in kind.__args__ if one is not type(None))
    if dataclasses.is_dataclass(kind):
        return spec_from(typing.cast(type[Any], kind), value, where)
    if typing.get_origin(kind) is tuple:
        return _tuple(typing.get_args(kind), value, where)
    if kind is float and not isinstance(value, bool | float):
        # To YAML 1e-3 is a text: without a point it knows no exponent.
        with contextlib.suppress(TypeError, ValueError):
            return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TrainingError(f"is {value!r}, which is no {_WORDS[kind]}", where=where)
    return value


_WORDS: Final = {int: "whole number", float: "number", str: "text", bool: "true or false"}


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TrainingError(f"is {value!r}, which is no list", where=where)
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise TrainingError(f"has {len(value)} values, but needs {len(kinds)}", where=where)
    return tuple(_value(kind, one, where) for kind, one in zip(kinds, value, strict=True))


def _plain(value: Any) -> Any:
    """Tuples as lists: what YAML and JSON give back."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
