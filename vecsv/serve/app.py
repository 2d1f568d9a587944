"""The application: endpoints, what stands before them, and what lives as long as they do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI

from vecsv import __version__
from vecsv.serve import routes_about, routes_queries, routes_speakers
from vecsv.serve.addresses import networks
from vecsv.serve.guard import API_RULES, GuardSettings, guarded, public
from vecsv.serve.observing import Counted, DefectsTold
from vecsv.serve.page_files import page_paths
from vecsv.serve.path_segments import SegmentsApart
from vecsv.serve.problems import add_handlers
from vecsv.serve.runtime import Runtime, open_runtime
from vecsv.serve.schemas import Problem
from vecsv.serve.settings import ServeSettings

_ABOUT: Final = (
    "Who is this, and is it the same person? Every answer carries the score, the threshold it was held against and "
    "where that comes from, and how good the recording is. Errors are problems (RFC 9457) that say what to do."
)


def create_app(settings: ServeSettings, runtime: Runtime | None = None) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    settings : ServeSettings
    runtime : Runtime, optional
        Where it has been opened already; it is closed with the application. Otherwise it is opened now.

    Raises
    ------
    VecsvError
        When something in the settings will not do.

    Examples
    --------
    >>> from pathlib import Path
    >>> app = create_app(ServeSettings({"default": Path("index")}))       # doctest: +SKIP
    """
    opened = open_runtime(settings) if runtime is None else runtime

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            yield
            await opened.drain()
        finally:
            opened.close()

    app = FastAPI(
        title="vecsv",
        version=__version__,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        # Left alone, variables of the environment alone would send the speakers' names in addresses to a collector.
        telemetry={"auto_configure": False},
    )
    app.state.runtime = opened
    for routes in (routes_queries, routes_speakers, routes_about):
        app.include_router(routes.router)
    add_handlers(app)
    _describe(app)
    # The last one added is the outermost.
    app.add_middleware(DefectsTold)
    rules = (*API_RULES, *public(*page_paths()))
    app.add_middleware(guarded, settings=_guard_settings(settings, opened), rules=rules)
    app.add_middleware(Counted, metrics=opened.metrics)
    app.add_middleware(SegmentsApart)
    return app


def _guard_settings(settings: ServeSettings, runtime: Runtime) -> GuardSettings:
    return GuardSettings(
        keys=runtime.keys,
        loopback=settings.on_loopback,
        tls=settings.tls_certificate is not None,
        allowed_origins=frozenset(settings.allowed_origins),
        allowed_hosts=frozenset(name.lower() for name in settings.allowed_hosts),
        trusted_proxies=networks(settings.trusted_proxies),
        max_file_bytes=settings.max_upload_bytes,
        body_s=settings.body_s,
        rate_per_minute=settings.rate_per_minute,
    )


def _describe(app: FastAPI) -> None:
    """Have the description name the schema of problems, which no endpoint returns, how to show a key, and forms."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            components = document.setdefault("components", {})
            components.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            for name, schema in components["schemas"].items():
                if name.startswith("Body_"):
                    schema["properties"] = {field: _sendable(one) for field, one in schema["properties"].items()}
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign]


def _sendable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a form's field without null, which no form can carry; clients would take a file for text."""
    kinds = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    sendable: dict[str, Any] = {name: value for name, value in schema.items() if name != "anyOf"} | kinds[0]
    return sendable
