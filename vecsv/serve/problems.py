"""Errors as HTTP tells them: ``application/problem+json``, with what to do about it, and never a traceback.

Source: M. Nottingham, E. Wilde, S. Dalal, "Problem Details for HTTP APIs", RFC 9457, 2023.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from math import ceil
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from vecsv.errors import (
    AudioError,
    StoreBusyError,
    StoreError,
    UnknownSpeakerError,
    UsageError,
    VecsvError,
)
from vecsv.serve.overload import Overloaded
from vecsv.serve.schemas import Problem

MEDIA_TYPE: Final = "application/problem+json"
_BUSY_RETRY_S: Final = 1.0
_LARGE: Final = frozenset({"too-large"})

logger = logging.getLogger("vecsv.serve")


_RECORD_AGAIN: Final = "record it again, or send another recording"
# What the command line leaves to the person at the machine, the sender of a recording is told.
_HINTS: Final[Mapping[str, str]] = {
    "empty": "send the recording itself: WAV, FLAC, OGG, MP3, ...",
    "no-samples": "send the recording itself: WAV, FLAC, OGG, MP3, ...",
    "not-audio": "send WAV, FLAC, OGG or MP3",
    "undecodable": "send WAV, FLAC, OGG or MP3",
    "no-speech": "speak for a few seconds, close to the microphone",
    "silent": "check that the microphone is on and chosen",
    "steady": "speak for a few seconds, somewhere quieter",
    "too-short": "speak for at least a second, better five",
    "truncated": "the recording was cut: send all of it",
}


@dataclass(frozen=True)
class ProblemDetails:
    """What a client is told when it gets no answer.

    Attributes
    ----------
    status : int
        HTTP status.
    detail : str
        What is wrong, in a sentence.
    kind : str
        A stable word for machines: the last part of the problem's ``type``.
    hint : str or None
        What to do about it.
    members : mapping
        Further members, such as ``clip`` or ``clips``.
    headers : mapping
        Further headers.
    """

    status: int
    detail: str
    kind: str
    hint: str | None = None
    members: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


def respond(details: ProblemDetails, scope: Scope) -> Response:
    """The response for a problem; also for middleware, which has no request yet.

    Parameters
    ----------
    details : ProblemDetails
    scope : Scope
        Of the request; ``scope["state"]["request_id"]`` is its id, where there is one.
    """
    content: dict[str, Any] = {
        "type": f"urn:vecsv:problem:{details.kind}",
        "title": HTTPStatus(details.status).phrase,
        "status": details.status,
        "detail": details.detail,
    }
    if details.hint is not None:
        content["hint"] = details.hint
    content |= details.members
    content["request_id"] = request_id_of(scope)
    return JSONResponse(content, details.status, dict(details.headers), media_type=MEDIA_TYPE)


def request_id_of(scope: Scope) -> str:
    """The id that a request was given when it came in; empty where it was not given one."""
    return str(scope.get("state", {}).get("request_id", ""))


class RefusedError(Exception):
    """Raised by an endpoint that has a problem to tell."""

    def __init__(self, details: ProblemDetails) -> None:
        super().__init__(details.detail)
        self.details = details


def busy(detail: str, retry_after_s: float) -> ProblemDetails:
    """There is no room for the request just now; it may be sent again as it is."""
    seconds = max(1, ceil(retry_after_s))
    return ProblemDetails(503, detail, "busy", f"send it again in {seconds} s", headers={"Retry-After": str(seconds)})


def of_error(error: VecsvError) -> ProblemDetails:
    """What a client is told of an error; where it happened is said for recordings only, since stores' places are ours.

    Examples
    --------
    >>> details = of_error(AudioError("silent", "all silence", where="a.wav"))
    >>> details.status, details.kind, dict(details.members)
    (422, 'silent', {'clip': 'a.wav'})
    """
    match error:
        case Overloaded():
            return busy(error.what, error.retry_after_s)
        case AudioError():
            named = {} if error.where is None else {"clip": error.where}
            hint = error.hint or _HINTS.get(error.code, _RECORD_AGAIN)
            return ProblemDetails(413 if error.code in _LARGE else 422, error.what, error.code, hint, named)
        case UnknownSpeakerError():
            return ProblemDetails(404, error.what, "unknown-speaker", "GET /v1/speakers lists those there are")
        case StoreBusyError():
            return busy(error.what, _BUSY_RETRY_S)
        case UsageError():
            return ProblemDetails(422, error.what, "unusable-value", error.hint)
        case StoreError():
            return ProblemDetails(409, error.what, "store", _for_operator(error))
        case _:
            logger.error("%s", error)
            return ProblemDetails(500, error.what, "service", "ask whoever runs the service")


def _for_operator(error: StoreError) -> str:
    """What whoever runs the service can do; places on the server are left out."""
    if error.hint is None or (error.where is not None and error.where in error.hint):
        return "ask whoever runs the service"
    return f"for whoever runs the service: {error.hint}"


def add_handlers(app: FastAPI) -> None:
    """Have every error of an application told as a problem."""
    app.add_exception_handler(VecsvError, _on_error)
    app.add_exception_handler(RefusedError, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_defect)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that an endpoint may answer with, for its description."""
    return {
        status: {
            "description": _DESCRIPTIONS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": _example(status)}},
        }
        for status in statuses
    }


_DESCRIPTIONS: Final = {
    400: "The request cannot be read.",
    401: "A key is needed, and none or a wrong one was given.",
    403: "The key's scopes do not allow it.",
    404: "There is no such speaker.",
    409: "The store cannot answer such a question yet.",
    413: "The recording, or the request as a whole, is too large.",
    422: "A recording or a value cannot be used; `hint` says what to do.",
    429: "Too many requests; `Retry-After` says when to go on.",
    503: "There is too much to do just now; `Retry-After` says when to ask again.",
}
_EXAMPLES: Final[dict[int, ProblemDetails]] = {
    400: ProblemDetails(400, "There was an error parsing the body", "http"),
    401: ProblemDetails(401, "this needs a key", "no-key", "send the header Authorization: Bearer KEY"),
    403: ProblemDetails(403, "the key may not do this", "scope", "use a key with the scope admin"),
    404: ProblemDetails(
        404, "no speaker is called 'alice'", "unknown-speaker", "GET /v1/speakers lists those there are"
    ),
    409: ProblemDetails(409, "no index yet", "store", "for whoever runs the service: make it: vecsv index build"),
    413: ProblemDetails(413, "31.0 MB", "too-large", "send 25 MB or less", {"clip": "meeting.wav"}),
    422: ProblemDetails(422, "no speech was found in it", "no-speech", None, {"clip": "clip.wav"}),
    429: ProblemDetails(429, "too many requests", "rate", "send fewer requests a minute"),
    503: busy("too much is waiting to be embedded", 2),
}


def _example(status: int) -> dict[str, Any]:
    details = _EXAMPLES[status]
    example = {
        "type": f"urn:vecsv:problem:{details.kind}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": details.detail,
        **({} if details.hint is None else {"hint": details.hint}),
        **details.members,
        "request_id": "5f1c2b9e8d7a4c3f9b0e6a1d2c3b4a59",
    }
    return Problem.model_validate(example).model_dump(exclude_none=True)


async def _on_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, VecsvError):
        raise error
    return respond(of_error(error), request.scope)


async def _on_refusal(request: Request, error: Exception) -> Response:
    if not isinstance(error, RefusedError):
        raise error
    return respond(error.details, request.scope)


async def _on_invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    found = [_invalid(one) for one in error.errors()]
    detail = "; ".join(f"{one['field']}: {one['message']}" for one in found)
    hint = "GET /openapi.json describes what is expected"
    return respond(ProblemDetails(422, detail, "invalid", hint, {"errors": found}), request.scope)


def _invalid(error: Mapping[str, Any]) -> dict[str, str]:
    place: Sequence[Any] = error.get("loc", ())
    return {"field": ".".join(str(part) for part in place[1:]) or "body", "message": str(error.get("msg", "invalid"))}


async def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    headers = dict(error.headers or {})
    return respond(ProblemDetails(error.status_code, str(error.detail), "http", headers=headers), request.scope)


async def _on_defect(request: Request, error: Exception) -> Response:
    # The traceback goes to whoever runs the service: the server logs what is raised through it.
    hint = "tell whoever runs the service the request id"
    return respond(ProblemDetails(500, "the service failed", "defect", hint), request.scope)
