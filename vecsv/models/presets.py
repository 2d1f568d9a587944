"""Presets: what the models of one toolkit were trained to see, and how their exported graphs are called.

A preset is a small YAML file: those of known toolkits in ``configs/preset-*.yaml``, a user's own wherever it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from vecsv.engines.protocol import LAYOUTS
from vecsv.errors import ModelError
from vecsv.frontend.spec import FrontendSpec, WaveformSpec, frontend_from_json
from vecsv.models.cards import configs_dir, is_name

SAMPLE_RATE: Final = 16000
"""Voice activity is told at this rate; no model of another is taken."""

_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class InterfaceHints:
    """What a preset says of a graph; what it leaves open is told by the graph itself.

    Attributes
    ----------
    input, output, lengths : str or None
        Names, as in `vecsv.engines.protocol.GraphInterface`.
    layout : str or None
        One of `vecsv.engines.protocol.LAYOUTS`.
    frame_multiple : int
        Frames are filled up to a multiple of this, where the graph takes lengths.
    """

    input: str | None = None
    output: str | None = None
    layout: str | None = None
    lengths: str | None = None
    frame_multiple: int = 1


@dataclass(frozen=True)
class Preset:
    """How to use one toolkit's exported models.

    Attributes
    ----------
    name : str
    description : str
        One line for people.
    files : str
        Which files it is for.
    frontend : FrontendSpec
        What the models were trained to see.
    interface : InterfaceHints
    min_frames : int or None
        Fewest frames (samples, where the wave is taken) the models are for; None finds out what the graph accepts.
    metadata : mapping of str to str
        A file whose metadata say all of this is one of them; empty where files cannot be told by their metadata.
    sources : tuple of str
        Where these facts are from.
    """

    name: str
    description: str
    files: str
    frontend: FrontendSpec
    interface: InterfaceHints = InterfaceHints()
    min_frames: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()


def known_presets(folder: Path | None = None) -> list[Preset]:
    """Read the presets that come with vecsv, sorted by name; a ModelError names a file that is wrong."""
    presets = [read_preset(path) for path in (folder or configs_dir()).glob("preset-*.yaml")]
    return sorted(presets, key=lambda preset: preset.name)


def find_preset(name_or_path: str | Path) -> Preset:
    """Find a preset by name, or read a user's own file.

    Raises
    ------
    ModelError
        When there is neither such a preset nor such a file, or the file is no preset.

    Examples
    --------
    >>> find_preset("wespeaker").frontend.window
    'hamming'
    """
    presets = {preset.name: preset for preset in known_presets()}
    if isinstance(name_or_path, str) and name_or_path in presets:
        return presets[name_or_path]
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return read_preset(path)
    raise ModelError(
        f"there is no preset {str(name_or_path)!r}",
        hint=f"presets: {', '.join(presets)}; or give a YAML file of your own",
    )


def preset_for(metadata: Mapping[str, str]) -> Preset | None:
    """The preset that a file's metadata name, or None when they name no toolkit.

    Raises
    ------
    ModelError
        When they name a toolkit and contradict what its models were trained to see.
    """
    framework = metadata.get("framework")
    if framework is None:
        return None
    complaints: dict[str, str] = {}
    for preset in known_presets():
        if preset.metadata.get("framework") != framework:
            continue
        wrong = [
            f"{key} is {metadata.get(key)!r} and not {value!r}"
            for key, value in preset.metadata.items()
            if metadata.get(key) != value
        ]
        if not wrong:
            return preset
        complaints[preset.name] = wrong[0]
    if complaints:
        name, complaint = next(iter(complaints.items()))
        raise ModelError(
            f"its metadata name {framework}, but {complaint}",
            hint=f"name the front end it was trained with: --preset {name}, or a file of your own",
        )
    return None


def read_preset(path: Path) -> Preset:
    """Read a preset's file.

    Raises
    ------
    ModelError
        Naming the file, and the field that is wrong.
    """
    import yaml

    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError("is too large to be a preset", where=str(path))
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ModelError("cannot be read as YAML", where=str(path)) from error
    try:
        return _preset(values)
    except ModelError as error:
        what = f"{error.where}: {error.what}" if error.where else error.what
        raise ModelError(what, where=str(path), hint=error.hint) from error


def _preset(values: Any) -> Preset:
    if not isinstance(values, dict) or values.get("kind") != "preset":
        raise ModelError("kind is not preset")
    given = {name: value for name, value in values.items() if name != "kind"}
    _require_fields(Preset, given, "")
    for name in ("name", "description", "files"):
        _require_text(name, given[name])
    if not is_name(given["name"]):
        raise ModelError(f"name: {given['name']!r} cannot be a preset's name")
    metadata, sources = given.get("metadata", {}), given.get("sources", [])
    if not isinstance(metadata, dict):
        raise ModelError("metadata: is no mapping")
    for name, value in metadata.items():
        _require_text(f"metadata.{name}", value)
    if not isinstance(sources, list):
        raise ModelError("sources: is no list")
    for number, source in enumerate(sources, start=1):
        _require_text(f"sources, number {number}", source)
    frontend = _frontend(given["frontend"])
    hints = _hints(given.get("interface", {}))
    if hints.layout is not None and (hints.layout == "wave") != isinstance(frontend, WaveformSpec):
        raise ModelError(f"interface.layout: {hints.layout} does not go with a front end of kind {frontend.kind}")
    min_frames = given.get("min_frames")
    if min_frames is not None:
        _require_count("min_frames", min_frames)
    return Preset(
        name=given["name"],
        description=given["description"],
        files=given["files"],
        frontend=frontend,
        interface=hints,
        min_frames=min_frames,
        metadata=metadata,
        sources=tuple(sources),
    )


def _frontend(values: Any) -> FrontendSpec:
    if not isinstance(values, dict):
        raise ModelError("frontend: is no mapping")
    try:
        spec = frontend_from_json(values, complete=False)
    except ModelError as error:
        raise ModelError(f"frontend: {error.what}", hint=error.hint) from error
    if spec.kind == "mel-spectrogram":
        raise ModelError("frontend: kind mel-spectrogram is for GE2E models, which are no exported graphs")
    if spec.sample_rate != SAMPLE_RATE:
        raise ModelError(f"frontend.sample_rate: is {spec.sample_rate}, but models of {SAMPLE_RATE} Hz only are taken")
    return spec


def _hints(values: Any) -> InterfaceHints:
    if not isinstance(values, dict):
        raise ModelError("interface: is no mapping")
    _require_fields(InterfaceHints, values, "interface.")
    for name in ("input", "output", "lengths", "layout"):
        if values.get(name) is not None:
            _require_text(f"interface.{name}", values[name])
    if values.get("layout") is not None and values["layout"] not in LAYOUTS:
        raise ModelError(f"interface.layout: {values['layout']!r} is none of {', '.join(LAYOUTS)}")
    _require_count("interface.frame_multiple", values.get("frame_multiple", 1))
    return InterfaceHints(**values)


def _require_fields(target: type, values: Mapping[Any, Any], prefix: str) -> None:
    declared = {one.name: one for one in fields(target)}
    required = {name for name, one in declared.items() if one.default is MISSING and one.default_factory is MISSING}
    if missing := sorted(required - values.keys()):
        raise ModelError(f"{prefix}{missing[0]}: is missing")
    if unknown := sorted(map(str, values.keys() - declared.keys())):
        raise ModelError(f"{prefix}{unknown[0]}: is no field of a preset", hint=f"fields: {', '.join(declared)}")


def _require_text(name: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ModelError(f"{name}: {value!r} is no text", hint="quote it")


def _require_count(name: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{name}: {value!r} is no whole number of at least 1")
