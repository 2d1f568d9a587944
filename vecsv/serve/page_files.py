"""The web page's files, out of the package."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Final

PAGE: Final = "/page"
INDEX: Final = "index.html"

_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True)
class PageFile:
    """One file of the page.

    Attributes
    ----------
    content : bytes
    media_type : str
    tag : str
        Changes when the content does; a strong entity tag, quotes included.
    """

    content: bytes
    media_type: str
    tag: str


@cache
def page_files() -> dict[str, PageFile]:
    """The page's files by name; read once, since a package does not change while it runs."""
    found = {}
    for entry in files("vecsv.serve").joinpath("page").iterdir():
        suffix = PurePosixPath(entry.name).suffix
        if suffix in _TYPES and entry.is_file():
            content = entry.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[entry.name] = PageFile(content, _TYPES[suffix], tag)
    return found


def page_paths() -> tuple[str, ...]:
    """Everything that is served of the page."""
    return ("/", *(f"{PAGE}/{name}" for name in sorted(page_files())))
