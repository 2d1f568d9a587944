"""HTTP as far as fetching a model needs it: one GET, its redirects, and what its failures mean.

Python's own client does it, with the proxies of ``http_proxy``, ``https_proxy`` and ``no_proxy`` and the system's
certificates (``SSL_CERT_FILE``).
"""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from email.message import Message
from typing import Any, Final, cast
from urllib.parse import urljoin, urlsplit

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 10
_PASSING_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class PassingError(Exception):
    """A failure that may be gone at the next try.

    Parameters
    ----------
    reason : str
        What happened, as a phrase.
    wait_s : float or None
        Seconds that the server asks to wait; None where it does not say.
    """

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_s = wait_s


class RefusedError(Exception):
    """An answer that trying again will not change.

    Parameters
    ----------
    reason : str
        What happened, as a phrase.
    status : int or None
        The status of the answer, where there was one.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Response:
    """An answer of status 200, 206 or 416; its body is read by `read`.

    Parameters
    ----------
    status : int
        Its status.
    headers : Message
        Its header fields, by name in any case.
    body : file
        Its body.
    """

    def __init__(self, status: int, headers: Message, body: http.client.HTTPResponse) -> None:
        self.status = status
        self.headers = headers
        self._body = body

    def read(self, count: int) -> bytes:
        """Read what has come of the body, at most `count` bytes, none at its end; a PassingError when it is cut."""
        try:
            # Not `read`, which waits until so many bytes are there, and loses them when the connection breaks.
            return self._body.read1(count)
        except (OSError, http.client.HTTPException) as error:
            raise PassingError(_reason(error)) from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to us: the token must not travel to another host."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


@contextmanager
def answer(
    url: str, *, headers: Mapping[str, str], token: str | None = None, silence_s: float = 30.0
) -> Iterator[Response]:
    """GET a URL, following redirects.

    Parameters
    ----------
    url : str
        Where to ask, ``http://`` or ``https://``.
    headers : mapping of str to str
        Header fields of the request, sent to every host.
    token : str, optional
        Bearer token; sent to the host of `url` alone, and never unencrypted over a network.
    silence_s : float
        Seconds without a byte after which the connection counts as cut.

    Raises
    ------
    PassingError
        When the connection fails, or the server is busy.
    RefusedError
        When the answer is an error, the host is unknown, its certificate is not trusted, or redirects have no end.
    """
    origin = _origin(url)
    opener = urllib.request.build_opener(_NoRedirects)
    for _ in range(_MOST_REDIRECTS + 1):
        request = urllib.request.Request(url, headers=dict(headers))  # noqa: S310
        if token is not None and _origin(url) == origin and _is_private(url):
            request.add_header("Authorization", f"Bearer {token}")
        try:
            reply = opener.open(request, timeout=silence_s)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 416:
                    yield Response(error.code, error.headers, cast(http.client.HTTPResponse, error))
                    return
                target = error.headers.get("Location")
                if error.code not in _REDIRECTS or target is None:
                    raise _failure(error) from error
            url = _redirected(url, target)
        except (ValueError, http.client.InvalidURL) as error:
            raise RefusedError("it leads to what is no address") from error
        except (OSError, http.client.HTTPException) as error:
            raise _broken(error, url) from error
        else:
            with reply:
                yield Response(reply.status, reply.headers, reply)
            return
    raise RefusedError(f"more than {_MOST_REDIRECTS} redirects, the last to {_origin(url)}")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _is_private(url: str) -> bool:
    """Whether nobody on the way can read what is sent."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in _LOOPBACK


def _redirected(url: str, target: str) -> str:
    """Where a redirect leads; never from an encrypted connection to a plain one, never to a file."""
    try:
        following = urljoin(url, target)
        urlsplit(following)
    except ValueError as error:
        raise RefusedError(f"{_origin(url)} redirects to what is no address") from error
    allowed = {"https"} if url.startswith("https:") else {"http", "https"}
    if urlsplit(following).scheme not in allowed:
        raise RefusedError(f"{_origin(url)} redirects to {_origin(following)}, which is not followed")
    return following


def _failure(error: urllib.error.HTTPError) -> PassingError | RefusedError:
    reason = f"{_origin(error.url)} answers {error.code} {error.reason}".rstrip()
    if error.code not in _PASSING_STATUSES:
        return RefusedError(reason, error.code)
    wait_s = None
    # It may also be a date; then our own waiting time does.
    with suppress(TypeError, ValueError):
        wait_s = max(0.0, float(error.headers["Retry-After"]))
    return PassingError(reason, wait_s)


def _broken(error: Exception, url: str) -> PassingError | RefusedError:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, socket.gaierror):
        return RefusedError(f"the host {urlsplit(url).hostname} is not found")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return RefusedError(f"the certificate of {urlsplit(url).hostname} is not trusted: {cause.verify_message}")
    if isinstance(cause, str):
        return RefusedError(f"{_origin(url)}: {cause}")
    return PassingError(f"{_origin(url)}: {_reason(cause)}")


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "nothing came for too long"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection was cut"
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(text.split())
