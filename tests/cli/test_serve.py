"""`vecsv serve` as a user starts it: a process of its own, with the default model and synthetic voices."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import Run

pytest.importorskip("fastapi")
pytest.importorskip("httpx2")
pytest.importorskip("uvicorn")

import httpx2

PATIENCE_S = 120.0


@dataclass
class Served:
    """A process that serves, and where."""

    process: subprocess.Popen[str]
    address: str

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Tell it to end; gives its exit code, and what else it said."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said

    def children(self) -> list[int]:
        """Processes it has started."""
        listed = Path(f"/proc/{self.process.pid}/task")
        return [int(pid) for task in listed.iterdir() for pid in (task / "children").read_text().split()]


Serve = Callable[..., Served]


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Path:
    """A store of synthetic voices to write to."""
    shutil.copytree(built, tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def serve(store: Path) -> Iterator[Serve]:
    """`serve(...)` starts `vecsv serve` over the store at a free port."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: object) -> Served:
        command = [sys.executable, "-m", "vecsv", "serve", "--store", str(store), "--port", "0", "--workers", "1"]
        process = subprocess.Popen([*command, *map(str, words)], stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.fullmatch(r"vecsv: serving at (http://127\.0\.0\.1:\d+)\n", line)
        assert found, line
        return Served(process, found[1])

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def upload(path: Path) -> tuple[str, bytes, str]:
    return path.name, path.read_bytes(), "audio/wav"


def test_it_prints_its_address_answers_and_ends_in_good_order(serve: Serve, recordings: dict[str, list[Path]]) -> None:
    served = serve()
    one, two = list(recordings.values())[:2]
    with httpx2.Client(base_url=served.address, timeout=PATIENCE_S) as client:
        assert client.get("/readyz").json()["status"] == "ready"
        decisions = [
            client.post("/v1/verify", files={"first": upload(one[0]), "second": upload(other)}).json()["decision"]
            for other in (one[1], two[0])
        ]
    assert decisions == ["same", "different"]
    assert served.end() == (0, "")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_however_it_ends_no_child_is_left(serve: Serve, number: int) -> None:
    served = serve()
    children = served.children()
    assert children
    code, _ = served.end(number)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    deadline = time.monotonic() + 30
    while any(_alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(child) for child in children)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    # Whoever inherited it may not have looked after it yet.
    return state != "Z"


def test_an_enrolment_survives_the_service_and_is_found_by_the_command_line(
    serve: Serve, store: Path, run: Run, recordings: dict[str, list[Path]]
) -> None:
    clips = next(iter(recordings.values()))
    served = serve()
    response = httpx2.post(
        f"{served.address}/v1/speakers/zoë/enrollments",
        files=[("clips", upload(path)) for path in clips[:3]],
        timeout=PATIENCE_S,
    )
    assert response.status_code == 201, response.text
    served.end(signal.SIGKILL)
    assert run("verify", clips[3], "--speaker", "zoë", "--store", store).code == 0
    again = serve()
    assert httpx2.get(f"{again.address}/v1/speakers/zoë").json()["enrolled"] == 3


def test_a_request_that_was_accepted_is_answered_before_it_ends(
    serve: Serve, recordings: dict[str, list[Path]]
) -> None:
    served = serve("--batch-window", "1000")
    clip = next(iter(recordings.values()))[0]
    answers: list[int] = []

    def ask() -> None:
        files = {"clip": upload(clip)}
        answers.append(httpx2.post(f"{served.address}/v1/search", files=files, timeout=PATIENCE_S).status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    while httpx2.get(f"{served.address}/readyz").json()["queued"] == 0:
        time.sleep(0.01)
    code, said = served.end()
    thread.join()
    assert (answers, code, said) == ([200], 0, "")


def test_two_stores_are_served_side_by_side(
    serve: Serve, store: Path, tmp_path: Path, recordings: dict[str, list[Path]]
) -> None:
    shutil.copytree(store, tmp_path / "second")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "vecsv", "serve", "--port", "0", "--workers", "1"),
            *("--store", f"one={store}", "--store", f"two={tmp_path / 'second'}"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        address = process.stderr.readline().split()[-1]
        files = {"clip": upload(next(iter(recordings.values()))[0])}
        body = httpx2.post(f"{address}/v1/search", files=files, timeout=PATIENCE_S).json()
        assert set(body["answers"]) == {"one", "two"}
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def test_a_folder_without_a_store_is_an_error(run: Run, tmp_path: Path) -> None:
    ended = run("serve", "--store", tmp_path / "none", "--port", 0)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "no store here" in ended.err


def test_a_port_that_is_taken_is_an_error(run: Run, built: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run("serve", "--store", built, "--port", taken.getsockname()[1])
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "cannot listen" in ended.err


def test_off_loopback_it_does_not_start_without_a_key(run: Run, built: Path) -> None:
    ended = run("serve", "--store", built, "--host", "0.0.0.0", "--port", 0)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "vecsv keys add" in ended.err


def test_a_file_of_keys_that_everybody_may_read_is_refused(run: Run, built: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    assert run("keys", "add", "page", "--scope", "read", "--file", keys).code == 0
    keys.chmod(0o644)
    ended = run("serve", "--store", built, "--keys", keys, "--port", 0)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "chmod 600" in ended.err


@pytest.mark.parametrize("words", [("--spoof-model", "none.onnx"), ("--tls-key", "k.pem"), ("--allow-origin", "*")])
def test_settings_that_cannot_be_used_are_an_error(run: Run, built: Path, words: tuple[str, str]) -> None:
    ended = run("serve", "--store", built, "--port", 0, *words)
    assert (ended.code, ended.err.count("\n")) == (2, 1)


def test_an_enrolment_key_that_is_not_there_is_an_error(
    run: Run, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The command sets it for the process, which here is this one.
    monkeypatch.setenv("VECSV_ENROLMENT_KEY_FILE", os.devnull)
    ended = run("serve", "--store", built, "--port", 0, "--enrolment-key", tmp_path / "none")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
