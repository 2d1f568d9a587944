"""Model bundles: a folder with everything a model needs, described by ``bundle.json``.

``bundle.json``
    What the model is, its rules, its fingerprint, where it came from, and the other files' SHA-256.
``model.onnx``
    The network without its front end, as ONNX Runtime and OpenVINO run it; not there where only PyTorch can run it.
``model.safetensors``
    The canonical tensors that the fingerprint is over.
``README.md``
    A model card, for people; not there where nobody wrote one. No program reads it.

A bundle appears whole or not at all: it is built in a folder beside its place and renamed there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vecsv.durable import sync_folder, write_bytes
from vecsv.errors import ModelError
from vecsv.frontend.spec import FrontendSpec, frontend_from_json
from vecsv.models.fingerprint import fingerprint
from vecsv.models.windows import Pooling, Windowing

FORMAT_VERSION: Final = 2
BUNDLE_FILE: Final = "bundle.json"
ONNX_FILE: Final = "model.onnx"
TENSORS_FILE: Final = "model.safetensors"
CARD_FILE: Final = "README.md"

_RENAME_ATTEMPTS: Final = 50


@dataclass(frozen=True)
class Bundle:
    """What ``bundle.json`` says.

    Attributes
    ----------
    name : str
        Name the model goes by.
    family : str
        Which file of `vecsv.models` runs it.
    network : mapping
        What makes the network besides its tensors, as the family writes it; empty for a family with one network only.
    description : str
        One line for people.
    dim : int
        Length of an embedding.
    sample_rate : int
        Rate of the waveforms it takes, in Hz.
    frontend, windowing, pooling
        Its rules; no windowing where the network takes a whole recording.
    fingerprint : str
        See `vecsv.models.fingerprint`.
    licence : str
        SPDX identifier of the weights' licence.
    source : mapping
        Where the weights came from: package, version, wheel, checksums.
    reference_calibration : mapping or None
        Thresholds measured elsewhere, with the name of the data; never the user's own.
    sha256 : mapping of str to str
        SHA-256 of each other file of the bundle.
    """

    name: str
    family: str
    network: Mapping[str, Any]
    description: str
    dim: int
    sample_rate: int
    frontend: FrontendSpec
    windowing: Windowing | None
    pooling: Pooling
    fingerprint: str
    licence: str
    source: Mapping[str, Any]
    reference_calibration: Mapping[str, Any] | None
    sha256: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``bundle.json``."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    def to_text(self) -> str:
        """Return ``bundle.json`` as it is written."""
        return json.dumps(self.to_json(), indent=2) + "\n"


_PLAIN_TYPES: Final[Mapping[str, type]] = {
    "name": str,
    "family": str,
    "network": dict,
    "description": str,
    "dim": int,
    "sample_rate": int,
    "fingerprint": str,
    "licence": str,
    "source": dict,
    "sha256": dict,
}


def is_bundle(folder: Path) -> bool:
    """Whether there is a bundle in a folder."""
    return (folder / BUNDLE_FILE).is_file()


def read_bundle(folder: Path) -> Bundle:
    """Read what a bundle says of itself; its other files are not opened.

    Raises
    ------
    ModelError
        When ``bundle.json`` is missing, is no JSON, is of another format version, or lacks something.
    """
    path = folder / BUNDLE_FILE
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from error
    # Brackets nested without end overflow the parser's stack.
    except (ValueError, RecursionError) as error:
        raise ModelError("is not JSON", where=str(path), hint="pull the model again") from error
    try:
        return _parsed(values)
    except ModelError as error:
        what = f"{error.where}: {error.what}" if error.where else error.what
        raise ModelError(what, where=str(path), hint=error.hint) from error


def _parsed(values: Any) -> Bundle:
    if not isinstance(values, dict):
        raise ModelError("is no JSON object")
    version = values.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise ModelError(
            f"has format version {version}, this version of vecsv reads {FORMAT_VERSION}",
            hint="pull the model again",
        )
    declared = {field.name for field in fields(Bundle)}
    if different := sorted(declared ^ values.keys()):
        raise ModelError(f"unknown or missing: {', '.join(different)}")
    for name, kind in _PLAIN_TYPES.items():
        if not isinstance(values[name], kind):
            raise ModelError(f"{name} is {values[name]!r}, which is no {kind.__name__}")
    if stray := sorted(values["sha256"].keys() - {ONNX_FILE, TENSORS_FILE, CARD_FILE}):
        raise ModelError(f"it counts {', '.join(map(repr, stray))} among its files, which no bundle holds")
    if not isinstance(values["reference_calibration"], dict | None):
        raise ModelError("reference_calibration is neither null nor an object")
    rules: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
        "frontend": frontend_from_json,
        "windowing": Windowing.from_json,
        "pooling": Pooling.from_json,
    }
    for name, rule in rules.items():
        if name == "windowing" and values[name] is None:
            continue
        if not isinstance(values[name], dict):
            raise ModelError(f"{name} is no object")
        values[name] = rule(values[name])
    return Bundle(**values)


def verify_bundle(folder: Path) -> Bundle:
    """Read a bundle and check every file against what it says; slower than `read_bundle`.

    Raises
    ------
    ModelError
        When a file is missing or changed, or the tensors and rules do not give the recorded fingerprint.
    """
    bundle = read_bundle(folder)
    for name in {TENSORS_FILE, *bundle.sha256}:
        path = folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"cannot be read: {error.strerror}", where=str(path)) from error
        if hashlib.sha256(content).hexdigest() != bundle.sha256.get(name):
            raise ModelError(
                "is not the file that the bundle was made with", where=str(path), hint="pull the model again"
            )
    from vecsv.checkpoints.reading import read_checkpoint

    found = fingerprint(
        read_checkpoint(folder / TENSORS_FILE, where=str(folder / TENSORS_FILE)),
        frontend=bundle.frontend,
        windowing=bundle.windowing,
        pooling=bundle.pooling,
        network=bundle.network,
    )
    if found != bundle.fingerprint:
        raise ModelError(
            f"its tensors and rules have fingerprint {found[:12]}, but it says {bundle.fingerprint[:12]}",
            where=str(folder),
            hint="pull the model again",
        )
    return bundle


def write_bundle(
    folder: Path,
    bundle: Bundle,
    *,
    tensors: Mapping[str, NDArray[Any]],
    graph: bytes | None,
    card: str | None = None,
    replace: bool = False,
) -> Path:
    """Write a bundle, whole or not at all.

    Parameters
    ----------
    folder : Path
        Where it will be; its parents are made.
    bundle : Bundle
        What it is. Its `sha256` is filled in here.
    tensors : mapping of str to ndarray
        The canonical tensors.
    graph : bytes or None
        The network as a serialised ONNX model; None where only PyTorch can run it.
    card : str, optional
        A model card as Markdown.
    replace : bool
        Whether to replace what is there. Otherwise a bundle that is there already, such as one that another
        process wrote meanwhile, stays.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    ModelError
        When it cannot be written.
    """
    from safetensors.numpy import save

    contents = {TENSORS_FILE: save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()})}
    if graph is not None:
        contents[ONNX_FILE] = graph
    if card is not None:
        contents[CARD_FILE] = card.encode()
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    contents[BUNDLE_FILE] = dataclasses.replace(bundle, sha256=checksums).to_text().encode()
    fresh = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"
    try:
        for name, content in contents.items():
            write_bytes(fresh / name, content)
        put_in_place(fresh, folder, replace=replace)
        sync_folder(folder.parent)
    except OSError as error:
        raise ModelError(f"cannot be written: {error.strerror}", where=str(folder)) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def put_in_place(fresh: Path, folder: Path, *, replace: bool) -> None:
    """Rename a whole bundle's folder `fresh` to `folder`; one that is there is moved aside first, or wins."""
    if replace and folder.exists():
        aside = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"
        # Someone else may be replacing it in this very moment; then there is nothing left to move.
        with contextlib.suppress(FileNotFoundError):
            folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    for attempt in range(_RENAME_ATTEMPTS):
        try:
            fresh.rename(folder)
        except OSError as error:
            if is_bundle(folder):
                return
            # Another writer's bundle was there when this one came, and has been moved aside since.
            taken = error.errno in {errno.EEXIST, errno.ENOTEMPTY}
            if not taken or attempt == _RENAME_ATTEMPTS - 1:
                raise
        else:
            return
