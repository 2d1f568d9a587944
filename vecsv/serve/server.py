"""The server process: listens, serves until it is told to end, and ends in good order."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vecsv.errors import UsageError
from vecsv.serve.app import create_app
from vecsv.serve.runtime import Runtime, open_runtime
from vecsv.serve.settings import ServeSettings, tls_context

Message = Callable[[str], None]

_MOST_CONNECTIONS: Final = 1000
_BACKLOG: Final = 256


def serve(settings: ServeSettings, *, on_message: Message) -> None:
    """Serve until SIGTERM or SIGINT; then finish what was accepted, within the settings' limit.

    Parameters
    ----------
    settings : ServeSettings
    on_message : callable
        Told the address once the service answers there, and what else a person should know, a line each.

    Raises
    ------
    VecsvError
        When something in the settings will not do, such as a port that is taken; nothing is left running then.
    """
    # Before the address is taken: a service that may not be there must not even seem to be.
    settings.require_safe()
    with bound(settings.host, settings.port) as listener:
        runtime = open_runtime(settings, on_message=on_message)
        try:
            server = make_server(settings, runtime, lambda: on_message(f"serving at {address_of(settings, listener)}"))
            server.run(sockets=[listener])
        finally:
            runtime.close()


def make_server(settings: ServeSettings, runtime: Runtime, on_start: Callable[[], None]) -> uvicorn.Server:
    """A server for a socket that `bound` gave; its `run` returns when it was told to end and all is finished.

    Parameters
    ----------
    settings : ServeSettings
    runtime : Runtime
    on_start : callable
        Called when it answers.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        create_app(settings, runtime),
        http=_protocol(settings.header_s),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=round(settings.keep_alive_s),
        timeout_graceful_shutdown=round(settings.shutdown_s),
    )
    config.load()
    config.ssl = _tls(settings)
    return _Server(config, on_start)


def _tls(settings: ServeSettings) -> ssl.SSLContext | None:
    return None if settings.tls_certificate is None else tls_context(settings.tls_certificate, settings.tls_key)


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address that is ours; nobody is listened to yet.

    Raises
    ------
    UsageError
        When the address is not there, or taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise UsageError(
            f"cannot listen at {host}, port {port}: {error.strerror or error}",
            hint="choose another with --port, or --port 0 for any that is free",
        ) from error
    return listener


def address_of(settings: ServeSettings, listener: socket.socket) -> str:
    """Where a service that listens at a socket is found: an address for a browser."""
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'http' if settings.tls_certificate is None else 'https'}://{shown}:{port}"


class _Server(uvicorn.Server):
    """Tells when it answers, and takes a signal to end for what it is: no failure."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        # Else it would be raised once more when all has ended in good order.
        self._captured_signals.clear()


def _protocol(header_s: float) -> type[asyncio.Protocol]:
    """HTTP/1.1 in which the headers of a request have to come in time."""

    class PunctualProtocol(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._expect()

        def data_received(self, data: bytes) -> None:
            if not self._answering():
                self._expect()
            super().data_received(data)
            if self._answering():
                self._forget()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _answering(self) -> bool:
            return self.cycle is not None and not self.cycle.response_complete

        def _expect(self) -> None:
            if self._deadline is None:
                self._deadline = self.loop.call_later(header_s, self._too_late)

        def _forget(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _too_late(self) -> None:
            self._deadline = None
            if not self._answering() and not self.transport.is_closing():
                self.transport.close()

    return PunctualProtocol
