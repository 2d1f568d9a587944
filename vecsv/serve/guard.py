"""What stands before the application: nobody gets past it without being allowed to.

One ASGI application around another. A request is turned away, before any of its body is read, unless a `Rule` knows
its method and path, the name it was sent to is ours, it does not come from another site's page, its key (where keys are
asked for) is good and has the rule's scope, and its sender has not sent too many. What has no rule is not there: a
route that somebody adds and forgets to declare answers 404, it is never open by accident.

Three things are left to the server: how long headers may take and how large they may be, how many connections there may
be, and how long a silent one is kept.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vecsv.errors import VecsvError
from vecsv.serve.addresses import Network, client_of, is_host_served, is_same_site, neighbourhood_of
from vecsv.serve.bodies import BodyLimits, LimitedBody, drain
from vecsv.serve.keys import Key, KeyRing
from vecsv.serve.keys import Scope as KeyScope
from vecsv.serve.problems import ProblemDetails, respond
from vecsv.serve.rates import TokenBuckets

REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_FORM_OVERHEAD = 64 * 1024
_CONTENT_POLICY = (
    "default-src 'self'; media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HSTS = "max-age=31536000"

logger = logging.getLogger("vecsv.serve")


@dataclass(frozen=True)
class Rule:
    """Who may send what to a path.

    Attributes
    ----------
    method : str
        GET allows HEAD too.
    path : str
        A template: ``{...}`` stands for anything but a slash.
    scope : KeyScope or None
        What a key has to be good for; None lets everybody in, without a key and without a limit on how often.
    files : int
        How many files the request may bring along.
    """

    method: str
    path: str
    scope: KeyScope | None
    files: int = 0

    def matches(self, path: str) -> bool:
        """Whether a request's path fits the template.

        Examples
        --------
        >>> rule = Rule("GET", "/v1/speakers/{id}", KeyScope.READ)
        >>> [rule.matches(path) for path in ("/v1/speakers/ann", "/v1/speakers/ann/enrollments", "/v1/speakers/")]
        [True, False, False]
        """
        pieces, asked = self.path.split("/"), path.split("/")
        return len(pieces) == len(asked) and all(
            bool(there) if piece.startswith("{") else piece == there for piece, there in zip(pieces, asked, strict=True)
        )


#: The HTTP API, version 1.
API_RULES: Final = (
    Rule("POST", "/v1/verify", KeyScope.READ, files=2),
    Rule("POST", "/v1/search", KeyScope.READ, files=1),
    Rule("POST", "/v1/speakers/{id}/enrollments", KeyScope.ENROL, files=20),
    Rule("GET", "/v1/speakers", KeyScope.READ),
    Rule("GET", "/v1/speakers/{id}", KeyScope.READ),
    Rule("DELETE", "/v1/speakers/{id}", KeyScope.ADMIN),
    Rule("GET", "/v1/calibration", KeyScope.READ),
    Rule("GET", "/metrics", KeyScope.ADMIN),
    Rule("GET", "/healthz", None),
    Rule("GET", "/readyz", None),
    Rule("GET", "/openapi.json", None),
)


def public(*paths: str) -> tuple[Rule, ...]:
    """Rules that let everybody read: the page's files."""
    return tuple(Rule("GET", path, None) for path in paths)


@dataclass(frozen=True)
class GuardSettings:
    """What the guard goes by.

    Attributes
    ----------
    keys : KeyRing or None
        None asks nobody for a key, which only a service on the loopback may; see `addresses.require_safe`.
    loopback : bool
        Whether the service listens at the loopback only: then it answers to no other name.
    tls : bool
        Whether browsers are to be told to come by HTTPS only.
    allowed_hosts : frozenset of str
        Further names it answers to, in lower case without a port; a proxy's, for instance.
    allowed_origins : frozenset of str
        Origins of other sites' pages that may ask; none by default, which leaves CORS off.
    trusted_proxies : tuple of networks
        Whose ``X-Forwarded-For`` is believed; nobody's by default.
    max_file_bytes, max_request_bytes : int
        Of each file; and of a request as a whole, however many files it may bring.
    max_fields : int
        Of a form, besides its files.
    body_s : float
        Until a request's body has to be there, in seconds.
    rate_per_minute : int
        Requests of one key, or of one address without one; 0 sets no limit.
    """

    keys: KeyRing | None = None
    loopback: bool = True
    tls: bool = False
    allowed_hosts: frozenset[str] = frozenset()
    allowed_origins: frozenset[str] = frozenset()
    trusted_proxies: tuple[Network, ...] = field(default=())
    max_file_bytes: int = 25_000_000
    max_request_bytes: int = 100_000_000
    max_fields: int = 10
    body_s: float = 60.0
    rate_per_minute: int = 600


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request; ``request.state.caller`` for the application.

    Attributes
    ----------
    name : str
        The key's name; ``"local"`` where no keys are asked for, ``"anybody"`` at public paths.
    key_id : str or None
    address : str
    request_id : str
    """

    name: str
    key_id: str | None
    address: str
    request_id: str


def guarded(app: ASGIApp, settings: GuardSettings, rules: Iterable[Rule] = API_RULES) -> ASGIApp:
    """An application that lets only those requests through to `app` that the rules and settings allow.

    Parameters
    ----------
    app : ASGI application
    settings : GuardSettings
    rules : iterable of Rule
        Everything that is to be reachable.
    """
    guard: ASGIApp = _Guard(app, settings, tuple(rules))
    if settings.allowed_origins:
        guard = CORSMiddleware(
            guard,
            allow_origins=sorted(settings.allowed_origins),
            allow_methods=sorted({rule.method for rule in rules}),
            allow_headers=["Authorization", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    return _Labelled(guard, tls=settings.tls)


class _Labelled:
    """Gives every request an id, and every answer that id and the headers that keep browsers from harm."""

    def __init__(self, app: ASGIApp, *, tls: bool) -> None:
        self._app = app
        self._headers = _HEADERS | ({"Strict-Transport-Security": _HSTS} if tls else {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def labelled(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers["X-Request-ID"] = request_id
                # Answers tell of people; the page's files say themselves how long they keep.
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, labelled)


class _Guard:
    def __init__(self, app: ASGIApp, settings: GuardSettings, rules: Sequence[Rule]) -> None:
        self._app = app
        self._settings = settings
        self._rules = rules
        self._buckets = TokenBuckets(settings.rate_per_minute) if settings.rate_per_minute else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        admitted = self._admit(scope, headers)
        if isinstance(admitted, ProblemDetails):
            await _refuse(admitted, scope, headers, receive, send)
            return
        body = LimitedBody(receive, headers, self._limits(admitted))
        refusal = body.refusal()
        if refusal is not None:
            await _refuse(refusal, scope, headers, receive, send)
            return
        begun = False

        async def forward(message: Message) -> None:
            nonlocal begun
            # Whatever the application makes of a body that was cut off, the client is told why.
            if begun or body.refusal() is None:
                begun = True
                await send(message)

        try:
            await self._app(scope, body, forward)
        except Exception:
            if body.refusal() is None:
                raise
        refusal = body.refusal()
        if refusal is not None and not begun:
            await _refuse(refusal, scope, headers, receive, send, coming=body.is_coming())

    def _admit(self, scope: Scope, headers: Headers) -> Rule | ProblemDetails:
        """The rule that lets a request through, or why none does; notes its `Caller`."""
        settings = self._settings
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not is_host_served(hosts[0], settings.allowed_hosts, loopback=settings.loopback):
            hint = "use 127.0.0.1 or localhost, or have this name allowed where the service is started"
            return ProblemDetails(421, "the service is not known by this name", "host", hint)
        rule = self._rule(scope)
        if isinstance(rule, ProblemDetails):
            return rule
        if rule.method != "GET" and not is_same_site(
            host=hosts[0],
            origin=headers.get("origin"),
            fetch_site=headers.get("sec-fetch-site"),
            allowed=settings.allowed_origins,
        ):
            hint = "have its origin allowed where the service is started"
            return ProblemDetails(403, "another site's page may not ask this", "cross-site", hint)
        peer = (scope.get("client") or ("unknown", 0))[0]
        address = client_of(peer, headers.getlist("x-forwarded-for"), settings.trusted_proxies)
        if rule.scope is None:
            self._note(scope, "anybody", None, address)
            return rule
        try:
            key = None if settings.keys is None else _shown(headers, settings.keys)
        except VecsvError as error:
            logger.error("%s", error)
            return ProblemDetails(503, "keys cannot be checked just now", "keys", "ask whoever runs the service")
        wait = self._wait(key, address)
        if wait:
            seconds = max(1, ceil(wait))
            return ProblemDetails(
                429,
                f"more than {settings.rate_per_minute} requests a minute",
                "rate",
                f"send it again in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )
        if settings.keys is not None:
            if key is None:
                return _unknown(headers)
            if rule.scope not in key.scopes:
                return _without_scope(key, rule.scope)
        self._note(scope, "local" if key is None else key.name, None if key is None else key.id, address)
        return rule

    def _rule(self, scope: Scope) -> Rule | ProblemDetails:
        here = [rule for rule in self._rules if rule.matches(scope["path"])]
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        for rule in here:
            if rule.method == method:
                return rule
        if not here:
            return ProblemDetails(404, "there is nothing here", "not-found", "GET /openapi.json says what there is")
        methods = sorted({rule.method for rule in here})
        return ProblemDetails(
            405, f"{scope['method']} is not for this path", "method", headers={"Allow": ", ".join(methods)}
        )

    def _wait(self, key: Key | None, address: str) -> float:
        if self._buckets is None:
            return 0.0
        return self._buckets.take(f"address {neighbourhood_of(address)}" if key is None else f"key {key.id}")

    def _limits(self, rule: Rule) -> BodyLimits:
        settings = self._settings
        return BodyLimits(
            max_bytes=min(settings.max_file_bytes * rule.files, settings.max_request_bytes) + _FORM_OVERHEAD,
            max_parts=rule.files + settings.max_fields,
            seconds=settings.body_s,
        )

    @staticmethod
    def _note(scope: Scope, name: str, key_id: str | None, address: str) -> None:
        scope["state"]["caller"] = Caller(name, key_id, address, scope["state"]["request_id"])


def _shown(headers: Headers, keys: KeyRing) -> Key | None:
    """The entry of the key that a request shows."""
    given = headers.getlist("authorization")
    scheme, _, key = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    return keys.find(key.strip()) if scheme.lower() == "bearer" else None


def _unknown(headers: Headers) -> ProblemDetails:
    # RFC 6750, section 3: whoever showed nothing is not told of an error.
    shown = "authorization" in headers
    return ProblemDetails(
        401,
        "the key is not known, or has expired" if shown else "this needs a key",
        "no-key",
        "send the header Authorization: Bearer KEY",
        headers={"WWW-Authenticate": 'Bearer realm="vecsv"' + (', error="invalid_token"' if shown else "")},
    )


def _without_scope(key: Key, scope: KeyScope) -> ProblemDetails:
    return ProblemDetails(
        403,
        f"the key {key.name!r} has no scope {scope.value!r}",
        "scope",
        f"use a key with the scope {scope.value}",
        {"missing_scope": scope.value},
        {"WWW-Authenticate": f'Bearer realm="vecsv", error="insufficient_scope", scope="{scope.value}"'},
    )


async def _refuse(
    details: ProblemDetails, scope: Scope, headers: Headers, receive: Receive, send: Send, *, coming: bool = True
) -> None:
    """Send a refusal, and let go of the connection if a body comes with the request and was not read to its end."""
    response = respond(details, scope)
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        response.headers["Connection"] = "close"
        # Whoever asks first whether to send the body has not sent any.
        if coming and "expect" not in headers:
            await drain(receive)
    await response(scope, receive, send)
