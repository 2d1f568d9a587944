"""From a user's own file or folder to a bundle in the cache."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace as but
from pathlib import Path
from typing import Final

from vecsv.durable import make_folder, sha256_of, sync_file, sync_folder, write_text
from vecsv.errors import ModelError, UsageError
from vecsv.models.bundle import (
    BUNDLE_FILE,
    CARD_FILE,
    ONNX_FILE,
    TENSORS_FILE,
    Bundle,
    put_in_place,
    verify_bundle,
)
from vecsv.models.cache import alone, cached_folder
from vecsv.models.cards import is_name, known_models
from vecsv.models.recognise import BUNDLE, Recognised, recognise
from vecsv.models.selftest import self_test

Messages = Callable[[str], None]

UNKNOWN_LICENCE: Final = "unknown"

_LARGEST_DESCRIPTION: Final = 16 * 2**20
_LARGEST_FILE: Final = 16 * 2**30
_COPIED: Final = {
    BUNDLE_FILE: _LARGEST_DESCRIPTION,
    TENSORS_FILE: _LARGEST_FILE,
    ONNX_FILE: _LARGEST_FILE,
    CARD_FILE: _LARGEST_DESCRIPTION,
}
_OPTIONAL: Final = (ONNX_FILE, CARD_FILE)


def add(
    path: Path,
    *,
    name: str,
    family: str | None = None,
    preset: str | None = None,
    key: str | None = None,
    description: str | None = None,
    licence: str = UNKNOWN_LICENCE,
    replace: bool = False,
    on_message: Messages | None = None,
) -> Path:
    """Put a user's own model into the cache.

    The model is read as data: no code that came with it is run, and what its network computes is tried in a process
    of its own before it gets its name.

    Parameters
    ----------
    path : Path
        A bundle of vecsv's own, a SpeechBrain or WeSpeaker folder or its checkpoint, a Hugging Face WavLM x-vector
        folder, or an ONNX file.
    name : str
        Name that it will go by.
    family : str, optional
        What it is, where its name does not tell.
    preset : str, optional
        What an ONNX file was trained to see: a preset's name, or the path of one.
    key : str, optional
        Which dictionary of a checkpoint holds the weights, where it has several.
    description : str, optional
        One line for people.
    licence : str
        SPDX identifier of the weights' licence.
    replace : bool
        Whether to replace a model of that name that was added before.
    on_message : callable, optional
        Told, in one line each, what was recognised, what was not needed, and what was assumed.

    Returns
    -------
    Path
        The bundle.

    Raises
    ------
    ModelError
        When the name is taken or impossible, or it is no model, damaged, hostile or unusable. The cache is then as it
        was.
    UsageError
        When options do not go together.
    """
    say = on_message or _say_nothing
    folder = require_addable(name, replace=replace)
    found = recognise(path, family)
    _require_fitting(found, preset, key)
    say(f"recognised {found.summary}")
    try:
        with _scratch(folder.parent) as scratch:
            fresh = scratch / name
            if found.family == BUNDLE:
                _copy_bundle(found.path, fresh, name=name, description=description, licence=licence)
            else:
                _convert(found, fresh, name, preset, key, description, licence, say)
            say("trying it on synthetic sound")
            self_test(fresh, where=str(path))
            with alone(name, say):
                _require_free(folder, replace)
                put_in_place(fresh, folder, replace=replace)
                sync_folder(folder.parent)
    except OSError as error:
        raise ModelError(f"cannot be written: {error.strerror}", where=str(folder), hint="set VECSV_CACHE") from error
    say(f"{name} is ready: {folder}")
    return folder


def require_addable(name: str, *, replace: bool = False) -> Path:
    """Where a model of a name would come; a ModelError when the name is impossible, or is taken and not to be replaced.

    It reserves nothing: what takes long to make can be refused before it is made.
    """
    folder = cached_folder(_require_name(name))
    _require_free(folder, replace)
    return folder


def _require_name(name: str) -> str:
    if not is_name(name):
        raise ModelError(
            f"{name!r} cannot be a model's name",
            hint="small letters, digits, '.', '_' and '-', a letter or digit first",
        )
    if any(card.name == name for card in known_models()):
        raise ModelError(
            f"{name} is the name of a model that vecsv knows",
            hint=f"choose another name, or take that model with `vecsv models pull {name}`",
        )
    return name


def _require_free(folder: Path, replace: bool) -> None:
    if folder.exists() and not replace:
        raise ModelError(
            f"there is a model {folder.name} in the cache already", hint="choose another name, or give --replace"
        )


def _require_fitting(found: Recognised, preset: str | None, key: str | None) -> None:
    if preset is not None and found.family != "onnx":
        raise UsageError(f"a preset goes with an ONNX file only, and this is {found.what}", hint="leave --preset out")
    if key is not None and found.family != "ecapa-tdnn":
        raise UsageError(f"a key goes with a checkpoint only, and this is {found.what}", hint="leave --key out")


@contextlib.contextmanager
def _scratch(models: Path) -> Iterator[Path]:
    """A folder beside the bundles, so that one step moves what is whole; it goes whatever happens."""
    make_folder(models)
    scratch = models / f".adding-{uuid.uuid4().hex}"
    try:
        scratch.mkdir()
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _convert(
    found: Recognised,
    fresh: Path,
    name: str,
    preset: str | None,
    key: str | None,
    description: str | None,
    licence: str,
    say: Messages,
) -> None:
    from vecsv.models import families
    from vecsv.models.conversion import as_bundle, write_conversion

    conversion = families.convert(found.family, found.path, preset=preset, key=key, where=str(found.path))
    for note in conversion.notes:
        say(f"note: {note}")
    bundle = as_bundle(
        conversion,
        name=name,
        description=description or f"{conversion.family}, added from {found.weights.name}",
        licence=licence,
        # Worked out last: a file that is refused may be huge.
        source={"path": found.weights.name, "sha256": sha256_of(found.weights)},
    )
    write_conversion(fresh, conversion, bundle)


def _copy_bundle(folder: Path, fresh: Path, *, name: str, description: str | None, licence: str) -> None:
    """Copy a bundle's files, check the copies, and give it its name."""
    fresh.mkdir()
    for file, most in _COPIED.items():
        source = folder / file
        if not source.is_file():
            if file not in _OPTIONAL:
                raise ModelError(f"is a bundle without {file}", where=str(folder))
            continue
        if source.stat().st_size > most:
            raise ModelError("is absurdly big", where=str(source))
        shutil.copyfile(source, fresh / file)
        sync_file(fresh / file)
    try:
        bundle = verify_bundle(fresh)
        if ONNX_FILE in bundle.sha256:
            from vecsv.models.graphs import read_graph

            read_graph(fresh / ONNX_FILE)
    except ModelError as error:
        # The user knows nothing of the copies.
        where = (error.where or str(folder)).replace(str(fresh), str(folder))
        raise ModelError(error.what, where=where, hint="get the bundle again") from error
    for file in _OPTIONAL:
        if file not in bundle.sha256:
            (fresh / file).unlink(missing_ok=True)
    described: Bundle = but(
        bundle,
        name=name,
        description=bundle.description if description is None else description,
        licence=bundle.licence if licence == UNKNOWN_LICENCE else licence,
    )
    write_text(fresh / BUNDLE_FILE, described.to_text())


def _say_nothing(message: str) -> None:
    """Tell nobody."""
