"""The service against its own description: whatever is sent, the answer is one that the description has, and no 5xx."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.serving import ROOT, Service
from tests.fixtures.stores import require_whole
from tests.serve.spectral import MODULE

pytest.importorskip("fastapi")
pytest.importorskip("schemathesis")
httpx2 = pytest.importorskip("httpx2")

SEED = 1
EXAMPLES = 15
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
POSTS = ("/v1/verify", "/v1/search", "/v1/speakers/{speaker}/enrollments")


@contextmanager
def serving(made_stores: Path, folder: Path) -> Iterator[Service]:
    """A service over two stores of its own; it has to be well afterwards."""
    stores = folder / "stores"
    shutil.copytree(made_stores, stores)
    named = {name: stores / name for name in ("default", "other")}
    options = ("--rate", "0", "--workers", "2")
    with Service(*(f"{name}={folder}" for name, folder in named.items()), options=options, module=MODULE) as started:
        yield started
        with started.client() as client:
            assert client.ready()
        assert not [line for line in started.said if "failed" in line or "Traceback" in line]
        assert started.end() == 0
    for store in named.values():
        require_whole(store)


@pytest.fixture(scope="module")
def description(made_stores: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The description, as the service gives it."""
    with serving(made_stores, tmp_path_factory.mktemp("description")) as service:
        found: dict[str, Any] = httpx2.get(f"{service.url}/openapi.json", timeout=60).json()
    return found


def try_out(
    service: Service, description: Mapping[str, Any], folder: Path, *options: str, hooks: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Have Schemathesis send what the description allows, and what it does not, and look at the answers."""
    file = folder / "openapi.json"
    file.write_text(json.dumps(description), encoding="utf-8")
    return subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", str(file), "--url", service.url),
            *("--seed", str(SEED), "--max-examples", str(EXAMPLES), "--checks", ",".join(CHECKS), *options),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)} | ({} if hooks is None else {"SCHEMATHESIS_HOOKS": hooks}),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def answered(service: Service, path: str) -> dict[str, int]:
    """How often a path was answered with each status so far."""
    with service.client() as client:
        lines = client.metrics().splitlines()
    pattern = re.compile(rf'vecsv_requests_total{{method="POST",route="{re.escape(path)}",status="(\d+)"}} (\S+)')
    return {found[1]: int(float(found[2])) for line in lines if (found := pattern.fullmatch(line))}


@pytest.mark.parametrize("hooks", [None, "tests.serve.recorded_bodies"], ids=["arbitrary", "recordings"])
def test_whatever_is_sent_the_answer_is_one_of_those_described(
    made_stores: Path, description: dict[str, Any], tmp_path: Path, hooks: str | None
) -> None:
    with serving(made_stores, tmp_path) as service:
        done = try_out(service, description, tmp_path, hooks=hooks)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        for path in POSTS:
            counts = answered(service, path)
            assert sum(counts.values()) >= EXAMPLES
            assert not [status for status in counts if status.startswith("5")]
            if hooks is not None:
                # The answers that are held against the description are not refusals only.
                assert [status for status in counts if status.startswith("2")], (path, counts)


def test_a_description_that_is_not_kept_to_is_noticed(
    made_stores: Path, description: dict[str, Any], tmp_path: Path
) -> None:
    wrong = json.loads(json.dumps(description))
    wrong["components"]["schemas"]["Alive"]["required"].append("since")
    with serving(made_stores, tmp_path) as service:
        done = try_out(service, wrong, tmp_path, "--include-path", "/healthz")
    assert done.returncode == 1
    assert "since" in done.stdout


def test_a_form_is_described_as_it_can_be_sent(description: dict[str, Any]) -> None:
    forms = {name: one for name, one in description["components"]["schemas"].items() if name.startswith("Body_")}
    assert len(forms) == len(POSTS)
    # No form has a null; and a field that may also be something else than a file is sent as text by most clients.
    assert "null" not in json.dumps(forms)
    files = {
        name
        for form in forms.values()
        for name, field in form["properties"].items()
        if field.get("contentMediaType") or field.get("items", {}).get("contentMediaType")
    }
    assert files == {"first", "second", "clip", "clips"}
