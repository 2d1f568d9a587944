"""What a user's file or folder is, told by the names of files and by data; nothing in it is run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vecsv.errors import ModelError
from vecsv.models.bundle import BUNDLE_FILE, CARD_FILE, ONNX_FILE, TENSORS_FILE

BUNDLE: Final = "bundle"
"""What `Recognised.family` is for a bundle of vecsv's own."""

_SPEECHBRAIN_FILE: Final = "embedding_model.ckpt"
_SPEECHBRAIN_MARK: Final = "hyperparams.yaml"
_WESPEAKER_FILE: Final = "avg_model.pt"
_WESPEAKER_CONFIG: Final = "config.yaml"
_HUGGING_FACE_FILES: Final = ("config.json", "preprocessor_config.json")
_LARGEST_CONFIG: Final = 2**20
_SHOWN: Final = 8

_HINT: Final = (
    "known are: a vecsv bundle, a SpeechBrain or WeSpeaker folder or its checkpoint (.ckpt, .pt, .safetensors), a "
    "Hugging Face WavLM x-vector folder, an .onnx file"
)


@dataclass(frozen=True)
class Recognised:
    """What was found.

    Attributes
    ----------
    family : str
        The family that reads it, or `BUNDLE`.
    what : str
        What it is, for people.
    path : Path
        What the family reads: a file, or the folder.
    weights : Path
        The file that holds the weights.
    unneeded : tuple of str
        Names of files beside it that are not read.
    """

    family: str
    what: str
    path: Path
    weights: Path
    unneeded: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line for people: what it is, and what of it was left alone."""
        if not self.unneeded:
            return self.what
        more = "" if len(self.unneeded) <= _SHOWN else f" and {len(self.unneeded) - _SHOWN} more"
        shown = (name if name.isprintable() else repr(name) for name in self.unneeded[:_SHOWN])
        return f"{self.what}; not needed, never opened: {', '.join(shown)}{more}"


def recognise(path: Path, family: str | None = None) -> Recognised:
    """Say what a file or folder is.

    Parameters
    ----------
    path : Path
        What the user has. In a folder only the names at its top are looked at.
    family : str, optional
        What it is to be taken for; otherwise its names tell.

    Raises
    ------
    ModelError
        When there is nothing, or nothing that vecsv reads; the error lists what it reads.
    """
    try:
        if path.is_dir():
            names = sorted(entry.name for entry in path.iterdir())
            found = _folder(path, names, family)
            _require_files(path, set(names).difference(found.unneeded))
            return found
        if path.is_file():
            return _file(path, family)
        if path.exists():
            raise ModelError("is neither a file nor a folder", where=str(path))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ModelError(f"cannot be read: {reason}", where=str(path)) from error
    raise ModelError("there is no such file or folder", where=str(path))


def _file(path: Path, family: str | None) -> Recognised:
    if path.suffix == ".onnx" or family == "onnx":
        return Recognised("onnx", "an ONNX file", path, path)
    if path.name == BUNDLE_FILE:
        raise ModelError("is only a part of a bundle", where=str(path), hint="give the folder")
    if family == "wavlm-xvector":
        raise ModelError(
            "is a file, but a WavLM x-vector model needs its configuration beside it",
            where=str(path),
            hint="give the folder",
        )
    if family is not None:
        return Recognised(family, f"a checkpoint, taken for {family}", path, path)
    if path.suffix in {".ckpt", ".pt", ".pth", ".bin", ".safetensors"}:
        return Recognised("ecapa-tdnn", "a checkpoint", path, path)
    raise ModelError("is no model that vecsv reads", where=str(path), hint=_HINT)


def _folder(folder: Path, names: Sequence[str], family: str | None) -> Recognised:
    if BUNDLE_FILE in names and family in {None, BUNDLE}:
        needed = (BUNDLE_FILE, TENSORS_FILE, ONNX_FILE, CARD_FILE)
        return Recognised(BUNDLE, "a vecsv bundle", folder, folder / TENSORS_FILE, _others(names, *needed))
    if family in {None, "ecapa-tdnn"}:
        if _SPEECHBRAIN_FILE in names:
            path = folder / _SPEECHBRAIN_FILE
            others = _others(names, _SPEECHBRAIN_FILE)
            return Recognised("ecapa-tdnn", f"a SpeechBrain folder with {_SPEECHBRAIN_FILE}", path, path, others)
        if _WESPEAKER_FILE in names:
            return _wespeaker(folder, names)
        if _SPEECHBRAIN_MARK in names:
            raise ModelError(
                f"looks like a SpeechBrain folder, but has no {_SPEECHBRAIN_FILE}",
                where=str(folder),
                hint="fetch the model again, with all its files",
            )
    if (_HUGGING_FACE_FILES[0] in names and family is None) or family == "wavlm-xvector":
        return _hugging_face(folder, names)
    graphs = [name for name in names if name.endswith(".onnx")]
    if family in {None, "onnx"} and len(graphs) == 1:
        path = folder / graphs[0]
        return Recognised("onnx", f"a folder with {graphs[0]}", path, path, _others(names, graphs[0]))
    if len(graphs) > 1:
        raise ModelError(
            f"holds {len(graphs)} ONNX files: {', '.join(graphs[:_SHOWN])}", where=str(folder), hint="give one of them"
        )
    raise ModelError("is no model that vecsv reads", where=str(folder), hint=_HINT)


def _wespeaker(folder: Path, names: Sequence[str]) -> Recognised:
    path = folder / _WESPEAKER_FILE
    others = _others(names, _WESPEAKER_FILE, _WESPEAKER_CONFIG)
    if _WESPEAKER_CONFIG not in names:
        return Recognised("ecapa-tdnn", f"a WeSpeaker folder with {_WESPEAKER_FILE}", path, path, others)
    network = _yaml(folder / _WESPEAKER_CONFIG).get("model")
    if not isinstance(network, str) or not network.isprintable() or len(network) > 80:
        raise ModelError("does not say which network it is of: there is no model", where=str(folder / "config.yaml"))
    if "ECAPA" not in network.upper():
        raise ModelError(
            f"is a WeSpeaker {network}, a network that vecsv does not build itself",
            where=str(folder),
            hint="take its ONNX export: `vecsv models add FILE.onnx --preset wespeaker`",
        )
    return Recognised("ecapa-tdnn", f"WeSpeaker's {network} ({_WESPEAKER_FILE})", path, path, others)


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    with path.open("rb") as stream:
        content = stream.read(_LARGEST_CONFIG + 1)
    if len(content) > _LARGEST_CONFIG:
        raise ModelError("is too large to be a configuration", where=str(path))
    try:
        # The safe loader: tags that would make objects are refused.
        values = yaml.safe_load(content)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(getattr(error, "problem", None) or type(error).__name__).split())[:120]
        raise ModelError(f"cannot be read as plain YAML: {reason}", where=str(path)) from error
    return values if isinstance(values, dict) else {}


def _hugging_face(folder: Path, names: Sequence[str]) -> Recognised:
    from vecsv.checkpoints.hugging_face import WEIGHT_FILES

    held = [name for name in names if name.startswith(WEIGHT_FILES)]
    first = next((file for file in WEIGHT_FILES for name in held if name in {file, f"{file}.index.json"}), None)
    if first is None:
        raise ModelError(f"holds no weights: neither {' nor '.join(WEIGHT_FILES)}", where=str(folder))
    weights = folder / (first if first in held else f"{first}.index.json")
    return Recognised(
        "wavlm-xvector",
        f"a Hugging Face folder with {weights.name}",
        folder,
        weights,
        _others(names, *_HUGGING_FACE_FILES, weights.name, *(held if weights.suffix == ".json" else ())),
    )


def _require_files(folder: Path, names: Iterable[str]) -> None:
    """Refuse what is not a file: a broken link, or a pipe, which would keep its reader waiting."""
    for name in sorted(names):
        path = folder / name
        if not name.startswith(".") and not path.is_file():
            raise ModelError("is no file (or a link that leads nowhere)", where=str(path))


def _others(names: Sequence[str], *needed: str) -> tuple[str, ...]:
    return tuple(name for name in names if name not in needed and not name.startswith("."))
