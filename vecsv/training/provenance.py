"""Where a training ran, so that it can be repeated: the commit of the folder, the versions of what computed."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Final

_PACKAGES: Final = ("vecsv", "torch", "accelerate", "transformers", "numpy", "scipy", "soxr", "soundfile")
_GIT_SECONDS: Final = 10.0
_COMMIT: Final = "# branch.oid "


def git_revision(folder: Path | None = None) -> str | None:
    """The commit that a folder is a working tree of, with ``-dirty`` where tracked files differ from it.

    Parameters
    ----------
    folder : Path, optional
        By default the current one.

    Returns
    -------
    str or None
        40 hexadecimal digits, or 64; None where the folder is in no working tree, nothing was committed, or git is
        not installed or does not answer.
    """
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        finished = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = finished.stdout.splitlines() if finished.returncode == 0 else []
    commit = next((line.removeprefix(_COMMIT) for line in lines if line.startswith(_COMMIT)), "")
    # Before the first commit it says "(initial)".
    if not commit.isalnum():
        return None
    return commit if all(line.startswith("#") for line in lines) else f"{commit}-dirty"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that take part in a training; those that are not installed are left out.

    Examples
    --------
    >>> versions()["python"].startswith("3.")
    True
    """
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def without_folders(value: Any) -> Any:
    """JSON values with the last part of each absolute path in place of it: a model tells nothing of a machine.

    Examples
    --------
    >>> without_folders({"start_from": "/home/zoe/models/wavlm", "hub": "owner/repo"})
    {'start_from': 'wavlm', 'hub': 'owner/repo'}
    """
    if isinstance(value, Mapping):
        return {key: without_folders(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(one) for one in value]
    if isinstance(value, str):
        for kind in (PurePosixPath, PureWindowsPath):
            if kind(value).is_absolute():
                return kind(value).name
    return value
