"""What stands around the endpoints: every request is counted, and a defect is told as a problem, not as a traceback."""

from __future__ import annotations

import logging
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vecsv.serve.metrics import Metrics
from vecsv.serve.problems import ProblemDetails, request_id_of, respond

_BUSY: Final = 503

logger = logging.getLogger("vecsv.serve")


class Counted:
    """Counts the answers of the application inside it.

    Parameters
    ----------
    app : ASGI application
    metrics : Metrics
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            # Without a status, whoever asked has gone.
            if status:
                route = getattr(scope.get("route"), "path", None)
                self._metrics.request(route, scope["method"], status, time.perf_counter() - begun)
                if status == _BUSY and scope["method"] == "POST":
                    self._metrics.refusal()


class DefectsTold:
    """Answers with a problem where the application inside it fails, and logs why.

    Parameters
    ----------
    app : ASGI application
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            # Not the path itself, which may name a speaker.
            route = getattr(scope.get("route"), "path", "?")
            logger.exception("request %s failed: %s %s", request_id_of(scope), scope["method"], route)
            if begun:
                raise
            hint = "tell whoever runs the service the request id"
            details = ProblemDetails(500, "the service failed", "defect", hint)
            await respond(details, scope)(scope, receive, send)
