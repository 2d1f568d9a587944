"""A real server on a real socket, with the numpy model."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx2")
pytest.importorskip("uvicorn")

import httpx2

from tests.fixtures.embedders import SpectralEmbedder
from tests.serve.conftest import talk, wav
from vecsv.errors import UsageError
from vecsv.serve.runtime import open_runtime
from vecsv.serve.server import address_of, bound, make_server
from vecsv.serve.settings import ServeSettings

PATIENCE_S = 30.0
Start = Callable[..., str]


@pytest.fixture
def start(stores: Path) -> Iterator[Start]:
    """`start(...)` serves the store ``default`` from a thread, and gives the address."""
    with ExitStack() as stack:

        def begin(**options: Any) -> str:
            given = {"workers": 1, "rate_per_minute": 0, "shutdown_s": 5.0, "port": 0, **options}
            settings = ServeSettings({"default": stores / "default"}, **given)
            listener = stack.enter_context(bound(settings.host, settings.port))
            runtime = open_runtime(settings, embedders={"default": SpectralEmbedder(0)})
            stack.callback(runtime.close)
            answers = threading.Event()
            server = make_server(settings, runtime, answers.set)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)

            def end() -> None:
                server.should_exit = True
                thread.join(PATIENCE_S)

            address = address_of(settings, listener)
            thread.start()
            stack.callback(end)
            assert answers.wait(PATIENCE_S)
            return address

        yield begin


def connect(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def closed_after(connection: socket.socket) -> float:
    """Seconds until the server lets go of a connection."""
    begun = time.monotonic()
    while connection.recv(4096):
        pass
    return time.monotonic() - begun


def test_headers_that_do_not_come_are_not_waited_for(start: Start) -> None:
    address = start(header_s=0.3)
    with connect(address) as silent, connect(address) as dripping:
        dripping.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127")
        assert closed_after(silent) < PATIENCE_S / 2
        assert closed_after(dripping) < PATIENCE_S / 2


def test_nor_those_of_a_second_request_on_the_same_connection(start: Start) -> None:
    address = start(header_s=0.3)
    host = address.removeprefix("http://").encode()
    with connect(address) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
        answer = b""
        while b"alive" not in answer:
            answer += connection.recv(65536)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHo")
        assert closed_after(connection) < PATIENCE_S / 2


def test_a_connection_that_asks_in_time_is_kept(start: Start) -> None:
    with httpx2.Client(base_url=start(header_s=0.2)) as client:
        for _ in range(4):
            assert client.get("/healthz").status_code == 200
            time.sleep(0.1)


def test_a_body_that_does_not_come_is_not_waited_for(start: Start) -> None:
    address = start(body_s=0.3)
    host = address.removeprefix("http://").encode()
    head = b"POST /v1/search HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 1000\r\n"
    with connect(address) as connection:
        connection.sendall(head + b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_a_speakers_name_may_hold_a_slash(start: Start) -> None:
    clips = [("clips", ("a.wav", wav(talk("ann")), "audio/wav"))]
    with httpx2.Client(base_url=start()) as client:
        for name, path in (("a/b", "a%2Fb"), ("a%2Fb", "a%252Fb")):
            response = client.post(f"/v1/speakers/{path}/enrollments", files=clips)
            assert response.json()["speaker"] == name
        assert client.get("/v1/speakers/a/b").status_code == 404
        assert {one["speaker"] for one in client.get("/v1/speakers").json()["speakers"]} >= {"a/b", "a%2Fb"}


def test_requests_that_are_answered_together_get_each_their_own_answer(start: Start) -> None:
    address = start()
    speakers = [f"speaker-{number:03d}" for number in range(14)]
    found: dict[str, str] = {}

    def ask(speaker: str) -> None:
        clip = {"clip": ("a.wav", wav(talk(speaker, 9)), "audio/wav")}
        body = httpx2.post(f"{address}/v1/search", files=clip, timeout=PATIENCE_S).json()
        found[speaker] = body["answers"]["default"]["hits"][0]["speaker"]

    threads = [threading.Thread(target=ask, args=(speaker,)) for speaker in speakers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {speaker: speaker for speaker in speakers}


def test_tls_is_spoken_where_there_is_a_certificate(start: Start, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    address = start(tls_certificate=certificate, tls_key=key)
    assert address.startswith("https://")
    import ssl

    trust = ssl.create_default_context(cafile=str(certificate))
    response = httpx2.get(f"{address}/healthz", verify=trust)
    assert response.json()["status"] == "alive"
    assert "max-age" in response.headers["strict-transport-security"]


def test_a_certificate_that_is_none_is_refused(stores: Path, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    good = ServeSettings({"default": stores / "default"}, tls_certificate=certificate, tls_key=key)
    good.require_safe()
    for bad in (tmp_path / "missing.pem", certificate):
        with pytest.raises(UsageError, match="certificate and key cannot be used"):
            replace(good, tls_key=bad).require_safe()


def test_a_port_that_is_taken_is_an_error_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen at 127.0.0.1, port {port}"):
            bound("127.0.0.1", port)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key."""
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vecsv test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(secret, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "cert.pem", folder / "key.pem"
