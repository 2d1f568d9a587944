"""A hub on this machine: a server that answers as huggingface.co does, and a second one that holds the large files.

What a real hub answers: ``/OWNER/REPO/resolve/COMMIT/FILE`` gives small files itself and redirects to a content network
for those kept in LFS; ``X-Repo-Commit``, ``ETag``, ``X-Linked-ETag`` and ``X-Linked-Size`` go with both.
``/api/models/OWNER/REPO/revision/REVISION`` gives the commit and the list of files.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import quote, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/voices"
TOKEN = "hf_secret"

Fault = Callable[["Request", bytes], None]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Asked:
    """A request that came."""

    server: str
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Hub:
    """What the servers hold, how they misbehave, and what they were asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    small: frozenset[str] = frozenset({"config.json", "preprocessor_config.json", "README.md"})
    branches: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    prefix: str = ""
    redirect_status: int = 302
    gated: bool = False
    #: Taken one for each request for a file's content, from the first on.
    faults: list[Fault] = field(default_factory=list)
    #: Taken one for each request to the hub itself.
    hub_faults: list[Fault] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""
    cdn_url: str = ""

    def contents(self) -> list[Asked]:
        """Requests for a file's content."""
        return [one for one in self.asked if one.server == "cdn" or "/resolve/" in one.path]

    def of_cdn(self) -> list[Asked]:
        return [one for one in self.asked if one.server == "cdn"]


class Request(BaseHTTPRequestHandler):
    """One request to either server."""

    protocol_version = "HTTP/1.1"
    hub: Hub
    role: str

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.asked.append(Asked(self.role, self.command, self.path, dict(self.headers)))
        if self.role == "cdn":
            self._give(self.hub.files[unquote(self.path.removeprefix("/blob/"))])
            return
        if self.hub.hub_faults:
            self.hub.hub_faults.pop(0)(self, b"")
            return
        path = urlsplit(self.path).path.removeprefix(self.hub.prefix)
        if self.hub.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.answer(401, b"Access to model is restricted.", {"X-Error-Code": "GatedRepo"})
        elif path.startswith(f"/api/models/{REPO}/revision/"):
            self._list(unquote(path.rpartition("/")[2]))
        elif path.startswith(f"/{REPO}/resolve/{COMMIT}/"):
            self._resolve(unquote(path.removeprefix(f"/{REPO}/resolve/{COMMIT}/")))
        else:
            self.answer(404, b"Not Found", {"X-Error-Code": "RepoNotFound"})

    def _list(self, revision: str) -> None:
        commit = self.hub.branches.get(revision, revision if revision == COMMIT else None)
        if commit is None:
            self.answer(404, b"Invalid rev id", {"X-Error-Code": "RevisionNotFound"})
            return
        siblings = [{"rfilename": name, "size": len(content)} for name, content in self.hub.files.items()]
        body = json.dumps({"id": REPO, "sha": commit, "siblings": siblings}).encode()
        self.answer(200, body, {"Content-Type": "application/json"})

    def _resolve(self, name: str) -> None:
        content = self.hub.files.get(name)
        if content is None:
            self.answer(404, b"Entry not found", {"X-Error-Code": "EntryNotFound"})
            return
        about = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest(content)[:40]}"'}
        if name in self.hub.small:
            self._give(content, about)
            return
        linked = {"X-Linked-ETag": f'"{digest(content)}"', "X-Linked-Size": str(len(content))}
        where = f"{self.hub.cdn_url}/blob/{quote(name)}"
        self.answer(self.hub.redirect_status, b"", {**about, **linked, "Location": where})

    def _give(self, content: bytes, headers: dict[str, str] | None = None) -> None:
        if self.hub.faults:
            self.hub.faults.pop(0)(self, content)
            return
        self.give(content, headers)

    def give(self, content: bytes, headers: dict[str, str] | None = None) -> None:
        """Give a content, or the range of it that was asked for."""
        start = self.start()
        if start is None:
            self.answer(200, content, {"Accept-Ranges": "bytes", **(headers or {})})
        elif start >= len(content):
            self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        else:
            place = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.answer(206, content[start:], {"Content-Range": place, **(headers or {})})

    def start(self) -> int | None:
        wanted = self.headers.get("Range")
        return None if wanted is None else int(wanted.removeprefix("bytes=").removesuffix("-"))

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def cut_after(count: int) -> Fault:
    """Promise everything, send so many bytes (of the range that was asked for), hang up."""

    def fault(request: Request, content: bytes) -> None:
        start = request.start()
        rest = content[start or 0 :]
        request.send_response(200 if start is None else 206)
        if start is not None:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(rest)))
        request.end_headers()
        request.wfile.write(rest[:count])
        request.close_connection = True

    return fault


def ignoring_range(request: Request, content: bytes) -> None:
    request.answer(200, content)


def packed(request: Request, content: bytes) -> None:
    request.answer(200, gzip.compress(content), {"Content-Encoding": "gzip"})


def dripping(pieces: int, seconds: float) -> Fault:
    """Everything, slowly."""

    def fault(request: Request, content: bytes) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        step = len(content) // pieces + 1
        for at in range(0, len(content), step):
            request.wfile.write(content[at : at + step])
            request.wfile.flush()
            time.sleep(seconds)

    return fault


def endless(request: Request, content: bytes) -> None:
    """Bytes without an end, and without a length."""
    request.send_response(200)
    request.end_headers()
    request.close_connection = True
    try:
        while True:
            request.wfile.write(bytes(1 << 16))
    except OSError:
        pass


def status(code: int, headers: dict[str, str] | None = None) -> Fault:
    def fault(request: Request, content: bytes) -> None:
        request.answer(code, b"<html>sorry</html>", headers)

    return fault


def redirect(where: str, code: int = 302) -> Fault:
    return status(code, {"Location": where})


def hanging_up(request: Request, content: bytes) -> None:
    """No answer at all."""
    request.close_connection = True
    request.connection.close()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing: clients are free to hang up."""


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Run both servers, each on a free port of the loopback interface."""
    servers = [
        _Server(("127.0.0.1", 0), type("Handler", (Request,), {"hub": hub, "role": role})) for role in ("hub", "cdn")
    ]
    hub.url, hub.cdn_url = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    hub.url += hub.prefix
    threads = [Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
        for thread in threads:
            thread.join()
