"""A request's body, cut off when it is too large, has too many parts or takes too long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.types import Message, Receive

from vecsv.serve.problems import ProblemDetails

_DRAINED_BYTES = 32 * 1024 * 1024
_DRAINED_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What one request's body may be.

    Attributes
    ----------
    max_bytes : int
    max_parts : int
        Of a multipart form: files and fields together.
    seconds : float
        Until all of it is there.
    """

    max_bytes: int
    max_parts: int
    seconds: float

    @property
    def too_large(self) -> ProblemDetails:
        """What a client is told whose body has too many bytes."""
        size = f"{self.max_bytes / 1e6:,.1f} MB"
        return ProblemDetails(413, f"the request is larger than {size}", "too-large", f"send {size} or less at once")

    @property
    def too_many_parts(self) -> ProblemDetails:
        """What a client is told whose form has too many parts."""
        return ProblemDetails(
            413, f"the form has more than {self.max_parts} parts", "too-many-parts", "send fewer files at once"
        )

    @property
    def too_slow(self) -> ProblemDetails:
        """What a client is told whose body does not come."""
        return ProblemDetails(
            408, f"the request was not complete after {self.seconds:g} s", "too-slow", "send less at once"
        )


class LimitedBody:
    """Stands between the server and the application, and hands the body on as long as it keeps its limits.

    Bytes are counted as they come, whatever was announced. When a limit is crossed the application is told that the
    client has gone, which ends whatever reads the body, and `refusal()` says what the client is to be told.

    Parameters
    ----------
    receive : Receive
    headers : Headers
        Of the request.
    limits : BodyLimits
    clock : callable
        Seconds.
    """

    def __init__(
        self, receive: Receive, headers: Headers, limits: BodyLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._receive = receive
        self._limits = limits
        self._clock = clock
        self._ends = clock() + limits.seconds
        self._left = limits.max_bytes
        self._boundaries = BoundaryCounter(headers)
        self._complete = False
        self._late = False
        self._refusal = self._announced_too_large(headers)

    def refusal(self) -> ProblemDetails | None:
        """What the client is to be told; None as long as the body keeps its limits."""
        return self._refusal

    def is_coming(self) -> bool:
        """Whether there is more of the body, and the client is still sending it as far as is known."""
        return not self._complete and not self._late

    async def __call__(self) -> Message:
        """The next message for the application."""
        if self._refusal is None and not self._complete:
            message = await self._next()
            if message["type"] != "http.request":
                return message
            self._complete = not message.get("more_body", False)
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                self._refusal = self._limits.too_large
            elif self._boundaries.count(message.get("body", b"")) > self._limits.max_parts + 1:
                self._refusal = self._limits.too_many_parts
            if self._refusal is None:
                return message
        if self._refusal is not None:
            return {"type": "http.disconnect"}
        # After the body only the end of the connection can come, and that may be long in coming.
        return await self._receive()

    async def _next(self) -> Message:
        left = self._ends - self._clock()
        # A piece that is there already never lets a timeout come to its turn.
        if left > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    return await self._receive()
        self._late = True
        self._refusal = self._limits.too_slow
        return {"type": "http.disconnect"}

    def _announced_too_large(self, headers: Headers) -> ProblemDetails | None:
        announced = headers.get("content-length", "0")
        # Servers refuse what is no number before it comes here.
        large = announced.isascii() and announced.isdigit() and int(announced[:20]) > self._limits.max_bytes
        return self._limits.too_large if large else None


async def drain(receive: Receive) -> None:
    """Read on a little and throw it away.

    Most clients read an answer only when they have sent all of their request, and see a broken connection when it is
    closed before.
    """
    read = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAINED_SECONDS):
            while read < _DRAINED_BYTES:
                message = await receive()
                read += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return


class BoundaryCounter:
    """Counts the boundaries of a multipart form while it passes, before anything is made of them.

    Parameters
    ----------
    headers : Headers
        Of the request; without a boundary in them nothing is counted.
    """

    def __init__(self, headers: Headers) -> None:
        _, options = parse_options_header(headers.get("content-type"))
        boundary = options.get(b"boundary", b"")
        self._mark = b"--" + boundary if boundary else b""
        self._tail = b""
        self._marks = 0

    def count(self, piece: bytes) -> int:
        """How many boundaries have passed by the end of this piece: one before each part, and one at the end."""
        if self._mark:
            seen = self._tail + piece
            self._marks += seen.count(self._mark)
            # Short enough not to hold a whole boundary, long enough to be completed by the next piece.
            self._tail = seen[max(0, len(seen) - len(self._mark) + 1) :]
        return self._marks
