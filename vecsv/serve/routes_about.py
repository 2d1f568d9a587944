"""What the service says of itself: thresholds, health, figures, and the web page."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Header, Response

from vecsv import __version__
from vecsv.errors import VecsvError
from vecsv.serve import answers, schemas
from vecsv.serve.metrics import CONTENT_TYPE
from vecsv.serve.page_files import INDEX, PAGE, page_files
from vecsv.serve.problems import ProblemDetails, RefusedError, busy, responses
from vecsv.serve.requests import AskedNow, RuntimeNow

router = APIRouter()

_IfNoneMatch = Annotated[str | None, Header()]
# A browser asks each time whether its copy is still good, and is told so in a few bytes.
_REVALIDATED: Final = "no-cache"
_RETRY_S: Final = 2.0


@router.get(
    "/v1/calibration",
    tags=["queries"],
    summary="Show the thresholds in force, where they come from, and how the trials behind them scored",
    responses=responses(401, 403, 429, 503),
    openapi_extra={"security": [{}, {"key": []}]},
)
async def calibration(asked: AskedNow) -> dict[str, schemas.CalibrationInfo]:
    """By the stores' names."""

    def work() -> dict[str, schemas.CalibrationInfo]:
        return {
            name: gallery.read(partial(answers.calibration, gallery=gallery))
            for name, gallery in asked.runtime.service.galleries.items()
        }

    return await asked.runtime.readers.run(work)


@router.get("/healthz", tags=["about"], summary="Say that the process answers")
async def healthz() -> schemas.Alive:
    """Nothing is looked at: a process that answers is alive."""
    return schemas.Alive(status="alive", version=__version__)


@router.get(
    "/readyz",
    tags=["about"],
    summary="Say whether requests can be taken now",
    responses=responses(503),
)
async def readyz(runtime: RuntimeNow) -> schemas.Ready:
    """Models are loaded, every store can be read, and there is room in the queue; otherwise 503."""
    runtime.pool.require_room()
    try:
        stores = await runtime.readers.run(
            lambda: {name: gallery.generation for name, gallery in runtime.service.galleries.items()}
        )
    except (VecsvError, OSError) as error:
        raise RefusedError(busy("a store cannot be read", _RETRY_S)) from error
    return schemas.Ready(status="ready", stores=stores, queued=runtime.pool.depth, queue=runtime.pool.limit)


@router.get(
    "/metrics",
    tags=["about"],
    summary="Give figures to Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **responses(401, 403, 429, 503)},
    openapi_extra={"security": [{}, {"key": []}]},
)
async def metrics(runtime: RuntimeNow) -> Response:
    """In Prometheus's text format."""
    text = await runtime.readers.run(runtime.metrics.render)
    return Response(text, headers={"Content-Type": CONTENT_TYPE})


@router.get("/", include_in_schema=False)
async def index(if_none_match: _IfNoneMatch = None) -> Response:
    """The page."""
    return _file(INDEX, if_none_match)


@router.get(f"{PAGE}/{{name}}", include_in_schema=False)
async def page(name: str, if_none_match: _IfNoneMatch = None) -> Response:
    """A file of the page."""
    return _file(name, if_none_match)


def _file(name: str, known: str | None) -> Response:
    found = page_files().get(name)
    if found is None:
        raise RefusedError(ProblemDetails(404, "there is nothing here", "not-found"))
    headers = {"Cache-Control": _REVALIDATED, "ETag": found.tag}
    if known is not None and found.tag in known:
        return Response(status_code=304, headers=headers)
    return Response(found.content, media_type=found.media_type, headers=headers)
