"""Slashes that are part of a speaker's name, told from those that part a path.

Servers decode ``%2F`` before an application sees the path, so that ``/v1/speakers/a%2Fb`` looks like a path of four
segments. Here the path is split first; within a segment a stand-in takes the slash's place on its way to the endpoint.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

# No name may hold either: both are control characters.
_STAND_IN: Final = "\x00"
_REFUSED: Final = "\x01"


def with_slashes(segment: str) -> str:
    """A segment as its sender meant it.

    Examples
    --------
    >>> with_slashes(segments_apart(b"/v1/speakers/a%2Fb").split("/")[-1])
    'a/b'
    """
    return segment.replace(_STAND_IN, "/")


def segments_apart(raw_path: bytes) -> str:
    """The path of a request, decoded one segment at a time.

    Examples
    --------
    >>> segments_apart(b"/v1/speakers/%E4%BD%A0"), segments_apart(b"/a%2Fb").count("/")
    ('/v1/speakers/你', 1)
    """
    segments = raw_path.decode("latin-1").split("/")
    decoded = (unquote(segment).replace(_STAND_IN, _REFUSED) for segment in segments)
    return "/".join(segment.replace("/", _STAND_IN) for segment in decoded)


class SegmentsApart:
    """Gives the application inside it paths that are decoded one segment at a time.

    Parameters
    ----------
    app : ASGI application
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        raw_path = scope.get("raw_path")
        if scope["type"] == "http" and raw_path:
            scope["path"] = segments_apart(raw_path)
        await self._app(scope, receive, send)
