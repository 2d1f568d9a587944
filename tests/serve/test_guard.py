"""The guard: every way to be let in is declared, and every limit holds when it is crossed."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx2")
pytest.importorskip("python_multipart")

import httpx2
import uvicorn
from fastapi import FastAPI, File, Request, UploadFile, WebSocket
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from vecsv.serve.addresses import networks
from vecsv.serve.guard import API_RULES, GuardSettings, Rule, guarded, public
from vecsv.serve.keys import KeyRing, Scope, add_key, remove_key
from vecsv.serve.problems import add_handlers

HERE = "http://127.0.0.1:8000"
OPEN = GuardSettings(rate_per_minute=0)
SMALL = replace(OPEN, max_file_bytes=10_000, max_request_bytes=50_000)
RULES = (*API_RULES, *public("/"))


class Inside:
    """An application as careless as can be, which notes what came through to it."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.app = FastAPI(openapi_url=None)
        add_handlers(self.app)

        @self.app.post("/v1/verify")
        async def verify(
            request: Request, first: Annotated[UploadFile, File()], second: Annotated[UploadFile, File()]
        ) -> dict[str, Any]:
            self.seen.append("verify")
            return {"sizes": [len(await first.read()), len(await second.read())]}

        @self.app.websocket("/v1/listen")
        async def listen(socket: WebSocket) -> None:
            self.seen.append("listen")

        @self.app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT"])
        async def anything(path: str, request: Request) -> dict[str, Any]:
            self.seen.append(f"{request.method} /{path}")
            caller = request.state.caller
            return {"caller": caller.name, "key_id": caller.key_id, "address": caller.address, "id": caller.request_id}


def client(settings: GuardSettings, inside: Inside | None = None, peer: str = "127.0.0.1") -> TestClient:
    app = guarded((inside or Inside()).app, settings, RULES)
    return TestClient(app, base_url=HERE, client=(peer, 50000))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def pieces(count: int) -> Iterator[bytes]:
    """A form that goes on and on."""
    yield b'--b\r\nContent-Disposition: form-data; name="first"; filename="a"\r\n\r\n'
    for _ in range(count):
        yield b"x" * 10_000


def problem(response: httpx2.Response, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["type"] == f"urn:vecsv:problem:{kind}"
    assert document["status"] == status
    assert document["request_id"] == response.headers["x-request-id"]
    return document


class TestDeclared:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/forgotten"), ("GET", "/v1"), ("GET", "/v1/speakers/"), ("GET", "/v1/speakers/a/b"),
            ("GET", "/v1/speakers/a%2Fb"), ("GET", "/docs"), ("GET", "/V1/speakers"), ("GET", "//v1/speakers"),
            ("POST", "/v1/verify/"), ("GET", "/healthz/../forgotten"), ("GET", "/v1/speakers%0A"),
        ],
    )  # fmt: skip
    def test_what_has_no_rule_is_not_there_even_if_the_application_has_it(self, method: str, path: str) -> None:
        inside = Inside()
        response = client(OPEN, inside).request(method, path)
        problem(response, 404, "not-found")
        assert inside.seen == []

    @pytest.mark.parametrize(
        ("method", "path", "allow"),
        [
            ("PUT", "/v1/speakers/ann", "DELETE, GET"),
            ("POST", "/healthz", "GET"),
            ("OPTIONS", "/v1/verify", "POST"),
            ("GET", "/v1/verify", "POST"),
        ],
    )
    def test_a_method_without_a_rule_is_not_allowed(self, method: str, path: str, allow: str) -> None:
        inside = Inside()
        response = client(OPEN, inside).request(method, path)
        problem(response, 405, "method")
        assert response.headers["allow"] == allow
        assert inside.seen == []

    def test_what_has_one_comes_through_and_get_means_head_too(self) -> None:
        inside = Inside()
        asking = client(OPEN, inside)
        for path in ("/", "/healthz", "/v1/speakers", "/v1/speakers/Zoë%20Q", "/v1/speakers/.."):
            # As it stands: the client must not tidy the path.
            assert asking.get(path).status_code == 200 or path.endswith("..")
        assert asking.head("/v1/speakers").status_code == 200
        assert asking.delete("/v1/speakers/ann").status_code == 200
        assert "GET /v1/speakers/Zoë Q" in inside.seen
        assert "HEAD /v1/speakers" in inside.seen

    def test_there_are_no_websockets(self) -> None:
        inside = Inside()
        with pytest.raises(WebSocketDisconnect), client(OPEN, inside).websocket_connect("/v1/listen"):
            pass
        assert inside.seen == []

    def test_only_what_is_meant_for_everybody_is_public(self) -> None:
        assert {rule.path for rule in API_RULES if rule.scope is None} == {"/healthz", "/readyz", "/openapi.json"}


class TestKeys:
    @pytest.fixture
    def inside(self) -> Inside:
        return Inside()

    def test_each_scope_opens_its_own_and_nothing_else(self, file: Path, inside: Inside) -> None:
        keys = {scope: add_key(file, scope.value, [scope])[1] for scope in Scope}
        asking = client(replace(OPEN, keys=KeyRing(file)), inside)
        for rule in API_RULES:
            if rule.scope is None or rule.path == "/v1/verify":
                continue
            for scope, key in keys.items():
                path = rule.path.replace("{id}", "ann")
                response = asking.request(rule.method, path, headers=bearer(key))
                if scope is rule.scope:
                    assert response.status_code == 200
                    assert response.json()["caller"] == scope.value
                    assert response.json()["key_id"] == key.split("_")[1]
                else:
                    refused = problem(response, 403, "scope")
                    assert refused["missing_scope"] == rule.scope.value
                    assert f"no scope {rule.scope.value!r}" in refused["detail"]
                    assert 'error="insufficient_scope"' in response.headers["www-authenticate"]
        # Each rule was let through once, with the one key that has its scope.
        assert len(inside.seen) == sum(rule.scope is not None and rule.path != "/v1/verify" for rule in API_RULES)

    def test_without_a_good_key_nothing_but_the_public_paths_is_reached(self, file: Path, inside: Inside) -> None:
        _, key = add_key(file, "reception", ["read"])
        _, expired = add_key(file, "old", ["read"], days=1e-9)
        time.sleep(0.001)
        asking = client(replace(OPEN, keys=KeyRing(file)), inside)
        response = asking.get("/v1/speakers")
        assert problem(response, 401, "no-key")["hint"] == "send the header Authorization: Bearer KEY"
        assert response.headers["www-authenticate"] == 'Bearer realm="vecsv"'
        for given in (f"Basic {key}", key, f"Bearer {key}x", "Bearer", "Bearer ", f"Bearer {expired}", ""):
            response = asking.get("/v1/speakers", headers={"Authorization": given})
            problem(response, 401, "no-key")
            assert 'error="invalid_token"' in response.headers["www-authenticate"]
        twice = asking.get("/v1/speakers", headers=[("Authorization", f"Bearer {key}")] * 2)
        problem(twice, 401, "no-key")
        problem(asking.get(f"/v1/speakers?key={key}"), 401, "no-key")
        assert inside.seen == []
        for path in ("/", "/healthz", "/readyz", "/openapi.json"):
            assert asking.get(path).json()["caller"] == "anybody"
        assert asking.get("/v1/speakers", headers={"Authorization": f"bearer {key}"}).status_code == 200

    def test_a_removed_key_is_refused_by_a_running_service(self, file: Path) -> None:
        _, key = add_key(file, "reception", ["read"])
        asking = client(replace(OPEN, keys=KeyRing(file)))
        assert asking.get("/v1/speakers", headers=bearer(key)).status_code == 200
        remove_key(file, "reception")
        problem(asking.get("/v1/speakers", headers=bearer(key)), 401, "no-key")

    def test_when_keys_cannot_be_read_nobody_gets_in(self, file: Path, inside: Inside) -> None:
        _, key = add_key(file, "reception", ["read"])
        asking = client(replace(OPEN, keys=KeyRing(file)), inside)
        file.unlink()
        told = problem(asking.get("/v1/speakers", headers=bearer(key)), 503, "keys")
        assert str(file) not in str(told)
        assert inside.seen == []

    def test_without_keys_everybody_here_is_local(self) -> None:
        assert client(OPEN).get("/v1/speakers").json()["caller"] == "local"

    def test_a_key_is_asked_for_before_any_of_the_body_is_read(self, file: Path, inside: Inside) -> None:
        add_key(file, "reception", ["read"])
        files = {"first": b"x" * 60_000, "second": b"y"}
        response = client(replace(SMALL, keys=KeyRing(file)), inside).post("/v1/verify", files=files)
        problem(response, 401, "no-key")
        assert inside.seen == []


class TestRates:
    def test_each_key_has_its_own_limit_whatever_its_address(self, file: Path) -> None:
        keys = [add_key(file, name, ["read"])[1] for name in ("a", "b")]
        asking = client(GuardSettings(keys=KeyRing(file), rate_per_minute=3))
        for key in keys:
            assert [asking.get("/v1/speakers", headers=bearer(key)).status_code for _ in range(4)] == [200] * 3 + [429]
        told = asking.get("/v1/speakers", headers=bearer(keys[0]))
        problem(told, 429, "rate")
        assert 1 <= int(told.headers["retry-after"]) <= 20

    def test_guessing_keys_is_limited_by_address_and_stops_no_holder_of_a_key(self, file: Path) -> None:
        _, key = add_key(file, "a", ["read"])
        asking = client(GuardSettings(keys=KeyRing(file), rate_per_minute=3))
        guesses = [asking.get("/v1/speakers", headers=bearer(f"vecsv_{n:08x}_")).status_code for n in range(5)]
        assert guesses == [401] * 3 + [429] * 2
        assert asking.get("/v1/speakers", headers=bearer(key)).status_code == 200

    def test_a_forwarded_address_is_believed_of_trusted_proxies_only(self) -> None:
        def statuses(settings: GuardSettings) -> list[int]:
            asking = client(settings, peer="10.0.0.2")
            return [
                asking.get("/v1/speakers", headers={"X-Forwarded-For": f"203.0.113.{n}"}).status_code for n in range(3)
            ]

        settings = GuardSettings(rate_per_minute=1)
        assert statuses(settings) == [200, 429, 429]
        assert statuses(replace(settings, trusted_proxies=networks(["10.0.0.0/8"]))) == [200, 200, 200]

    def test_probes_are_never_told_to_wait(self) -> None:
        asking = client(GuardSettings(rate_per_minute=1))
        assert {asking.get("/healthz").status_code for _ in range(5)} == {200}


class TestElsewhere:
    @pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "localhost.evil.example", "192.168.1.2", ""])
    def test_a_name_that_is_not_ours_is_refused_on_the_loopback(self, host: str) -> None:
        inside = Inside()
        asking = client(OPEN, inside)
        for path in ("/", "/v1/speakers"):
            problem(asking.get(path, headers={"Host": host}), 421, "host")
        assert inside.seen == []
        problem(asking.get("/", headers=[("Host", "127.0.0.1"), ("Host", "evil.example")]), 421, "host")
        allowing = client(replace(OPEN, allowed_hosts=frozenset({"evil.example"})))
        assert allowing.get("/", headers={"Host": "evil.example:443"}).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:3000"},
            {"Origin": "http://127.0.0.1:9999"},
        ],
    )
    def test_another_sites_page_can_change_nothing(self, headers: dict[str, str]) -> None:
        inside = Inside()
        asking = client(OPEN, inside)
        problem(asking.delete("/v1/speakers/ann", headers=headers), 403, "cross-site")
        problem(asking.post("/v1/search", headers=headers), 403, "cross-site")
        assert inside.seen == []

    def test_our_own_page_and_programs_can(self) -> None:
        asking = client(OPEN)
        for headers in ({"Origin": HERE, "Sec-Fetch-Site": "same-origin"}, {"Origin": HERE}, {}):
            assert asking.delete("/v1/speakers/ann", headers=headers).status_code == 200

    def test_cors_is_off_unless_an_origin_is_allowed(self) -> None:
        preflight = {"Origin": "https://friend.example", "Access-Control-Request-Method": "POST"}
        origin = {"Origin": "https://friend.example"}
        off = client(OPEN)
        problem(off.options("/v1/search", headers=preflight), 405, "method")
        assert not [name for name in off.get("/v1/speakers", headers=origin).headers if "access-control" in name]

        on = client(replace(OPEN, allowed_origins=frozenset({"https://friend.example"})))
        allowed = on.options("/v1/search", headers=preflight | {"Access-Control-Request-Headers": "authorization"})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://friend.example"
        assert on.post("/v1/search", headers=origin | {"Sec-Fetch-Site": "cross-site"}).status_code == 200
        stranger = {"Origin": "https://evil.example"}
        assert on.options("/v1/search", headers=preflight | stranger).status_code == 400
        assert "access-control-allow-origin" not in on.get("/v1/speakers", headers=stranger).headers
        assert "access-control-allow-credentials" not in allowed.headers


class TestHeaders:
    @pytest.mark.parametrize(("path", "status"), [("/", 200), ("/v1/speakers", 200), ("/nowhere", 404)])
    def test_every_answer_keeps_browsers_from_harm(self, path: str, status: int) -> None:
        response = client(OPEN).get(path)
        assert response.status_code == status
        policy = dict(
            directive.strip().split(" ", 1) for directive in response.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
        assert not {"script-src", "style-src"} & policy.keys()
        assert "unsafe" not in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert response.headers["permissions-policy"].startswith("microphone=(self)")
        assert response.headers["cross-origin-resource-policy"] == "same-origin"
        assert response.headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in response.headers
        assert "max-age=" in client(replace(OPEN, tls=True)).get(path).headers["strict-transport-security"]

    def test_an_id_is_taken_over_when_it_is_short_and_plain(self) -> None:
        asking = client(OPEN)
        for good in ("a", "5f1c2b9e-8d7a.4c3f_9B", "x" * 64):
            response = asking.get("/v1/speakers", headers={"X-Request-ID": good})
            assert response.headers["x-request-id"] == response.json()["id"] == good
        made = set()
        for bad in ("", "x" * 65, "a b", "a\u00e9", 'a"b', "<a>", "a\tb"):
            response = asking.get("/v1/speakers", headers={"X-Request-ID": bad.encode("latin-1")})
            assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])
            made.add(response.headers["x-request-id"])
        assert len(made) == 7


class TestBodies:
    def test_a_form_within_the_limits_comes_through_whole(self) -> None:
        response = client(SMALL).post("/v1/verify", files={"first": b"x" * 9_000, "second": b"y" * 8_000})
        assert response.json() == {"sizes": [9_000, 8_000]}

    def test_a_form_over_them_is_refused_by_the_size_it_announces(self) -> None:
        inside = Inside()
        files = {"first": b"x" * 60_000, "second": b"y" * 60_000}
        told = problem(client(SMALL, inside).post("/v1/verify", files=files), 413, "too-large")
        assert told["hint"] == "send 0.1 MB or less at once"
        assert inside.seen == []

    def test_a_form_in_chunks_is_counted_as_it_comes(self) -> None:
        inside = Inside()
        problem(client(SMALL, inside).post("/v1/verify", content=pieces(100), headers=FORM), 413, "too-large")
        assert inside.seen == []

    def test_a_request_without_files_may_be_small_only(self) -> None:
        assert client(SMALL).request("DELETE", "/v1/speakers/ann", content=b"x" * 65_000).status_code == 200
        problem(client(SMALL).request("DELETE", "/v1/speakers/ann", content=b"x" * 66_000), 413, "too-large")

    def test_a_form_may_have_its_files_and_a_few_fields(self) -> None:
        files = {"first": b"x", "second": b"y"}
        asking = client(SMALL)
        assert asking.post("/v1/verify", files=files, data={str(n): "" for n in range(10)}).status_code == 200
        told = problem(
            asking.post("/v1/verify", files=files, data={str(n): "" for n in range(11)}), 413, "too-many-parts"
        )
        assert "more than 12 parts" in told["detail"]


@contextmanager
def served(settings: GuardSettings, inside: Inside) -> Iterator[str]:
    """A real server on a free port of the loopback."""
    config = uvicorn.Config(guarded(inside.app, settings, RULES), port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


class TestServed:
    def test_over_a_real_connection_whoever_sends_too_much_reads_why(self) -> None:
        inside = Inside()
        with served(SMALL, inside) as address:
            files = {"first": b"x" * 3_000_000, "second": b"y" * 3_000_000}
            response = httpx2.post(f"{address}/v1/verify", files=files)
            problem(response, 413, "too-large")
            assert response.headers["connection"] == "close"
            problem(httpx2.post(f"{address}/v1/verify", content=pieces(300), headers=FORM), 413, "too-large")
        assert inside.seen == []

    def test_a_client_that_reads_only_when_it_has_sent_all_is_told_too(self) -> None:
        with served(SMALL, Inside()) as address:
            host, port = address.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                connection.sendall(b"POST /v1/verify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 20000000\r\n\r\n")
                for _ in range(20):
                    connection.sendall(bytes(1_000_000))
                assert connection.recv(12) == b"HTTP/1.1 413"

    def test_a_body_that_stalls_is_given_up_and_the_connection_with_it(self) -> None:
        with served(replace(SMALL, body_s=0.2), Inside()) as address:
            host, port = address.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port)), timeout=20) as connection:
                connection.sendall(
                    b"POST /v1/verify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
                    b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
                )
                said = b""
                while piece := connection.recv(65536):
                    said += piece
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"the request was not complete after 0.2 s" in said

    def test_an_unhandled_error_inside_is_not_hidden(self) -> None:
        app = FastAPI()
        add_handlers(app)

        @app.get("/v1/speakers")
        def fail() -> None:
            raise RuntimeError("a defect")

        asking = TestClient(guarded(app, OPEN, RULES), base_url=HERE, raise_server_exceptions=False)
        problem(asking.get("/v1/speakers"), 500, "defect")


def test_a_rule_is_needed_for_each_route_that_is_added() -> None:
    inside = Inside()
    asking = TestClient(guarded(inside.app, OPEN, [*API_RULES, Rule("GET", "/new/{what}", Scope.READ)]), base_url=HERE)
    assert asking.get("/new/thing").status_code == 200
    assert asking.get("/newer/thing").status_code == 404
