"""Every limit of the service, crossed over real HTTP: what is answered, and that it goes on afterwards."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile

from tests.fixtures.serving import ROOT, Service, happens
from tests.fixtures.sounds import noise, tone
from tests.fixtures.stores import read_enrolments
from tests.serve.conftest import RATE, StartService, talk, wav
from tests.serve.spectral import DELAY, MODULE
from vecsv.arrays import Waveform
from vecsv.client import Client
from vecsv.client_answers import BusyServiceError, ClipsRefusedError, KeyRefusedError, ServiceError
from vecsv.errors import UnknownSpeakerError
from vecsv.serve.keys import add_key, remove_key

httpx2 = pytest.importorskip("httpx2")
pytest.importorskip("fastapi")

UPLOAD_MB = 0.4
DURATION_S = 10
CLIP = wav(talk("speaker-000", 9))
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def store(made_stores: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of this module's service."""
    folder = tmp_path_factory.mktemp("limits") / "store"
    shutil.copytree(made_stores / "default", folder)
    return folder


@pytest.fixture(scope="module")
def service(store: Path) -> Iterator[Service]:
    """A service with small limits."""
    options = ("--max-upload", str(UPLOAD_MB), "--max-duration", str(DURATION_S), "--rate", "0")
    with Service(store, options=options, module=MODULE) as started:
        yield started


@pytest.fixture
def caller(service: Service) -> Iterator[Client]:
    """A client that tries once."""
    with service.client() as made:
        yield made
        # Whatever a test did, the service goes on.
        assert made.verify(CLIP, CLIP).same is True


def refused(client: Client, **recordings: object) -> ServiceError:
    """The error that a comparison ends with."""
    with pytest.raises(ServiceError) as caught:
        client.verify(CLIP, recordings["second"])  # type: ignore[arg-type]
    return caught.value


def flac(waveform: Waveform) -> bytes:
    """A recording that is compressed."""
    file = io.BytesIO()
    soundfile.write(file, waveform, RATE, format="FLAC")
    return file.getvalue()


def with_rumble(waveform: Waveform) -> Waveform:
    """Speech beside a machine that is louder, and too low to be taken for speech."""
    return waveform + tone(waveform.size / RATE, hertz=20.0, level=0.15)


def clipped(waveform: Waveform) -> Waveform:
    """Speech that was recorded much too loud."""
    return np.clip(30 * waveform, -1.0, 1.0)


# The size of a request and of a recording.


def test_a_request_that_announces_too_much_is_refused_before_its_body_is_read(service: Service, caller: Client) -> None:
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(
            b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            b"Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = connection.makefile("rb").read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert PROBLEM.encode() in head
    assert json.loads(body)["type"] == "urn:vecsv:problem:too-large"
    assert "send" in json.loads(body)["hint"]


def test_a_request_that_announces_nothing_is_refused_when_it_has_grown_too_large(
    service: Service, caller: Client
) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="clip"; filename="a.wav"\r\n\r\n'
        # Four hundred times what is allowed, and a hundred times what is read to be polite.
        for _ in range(16_000):
            sent += 10_000
            yield bytes(10_000)

    # Whether the answer arrives or the connection is gone hangs on when the client looks.
    try:
        response = httpx2.post(
            f"{service.url}/v1/search",
            content=endless(),
            headers={"Content-Type": "multipart/form-data; boundary=x"},
            timeout=60,
        )
    except httpx2.TransportError:
        pass
    else:
        assert response.status_code == 413
        assert response.headers["content-type"] == PROBLEM
    assert sent < 100_000_000


def test_a_request_a_little_too_large_is_told_so(service: Service, caller: Client) -> None:
    pieces = [b'--x\r\nContent-Disposition: form-data; name="clip"; filename="a.wav"\r\n\r\n', bytes(1_000_000)]
    response = httpx2.post(
        f"{service.url}/v1/search",
        content=iter(pieces),
        headers={"Content-Type": "multipart/form-data; boundary=x"},
        timeout=60,
    )
    assert response.status_code == 413
    assert response.headers["content-type"] == PROBLEM
    assert response.json()["type"] == "urn:vecsv:problem:too-large"


def test_a_recording_that_is_too_large_is_refused_by_its_name(caller: Client, tmp_path: Path) -> None:
    large = tmp_path / "large.wav"
    large.write_bytes(wav(noise(1.1 * UPLOAD_MB * 1e6 / 2 / RATE)))
    error = refused(caller, second=large)
    assert (error.status, error.kind, error.where) == (413, "too-large", "large.wav")
    # In a request that may bring many, one of them must not take the others' share.
    with pytest.raises(ClipsRefusedError) as caught:
        caller.enrol("zoe", [CLIP, large])
    assert [clip.reasons for clip in caught.value.clips] == [(), ("too-large",)]


def test_a_recording_that_is_too_long_is_refused(caller: Client) -> None:
    # As FLAC, silence is small however long it is.
    long = flac(np.zeros(round((DURATION_S + 1) * RATE), np.float32))
    assert len(long) < UPLOAD_MB * 1e6
    error = refused(caller, second=long)
    assert (error.status, error.kind) == (422, "too-long")


def test_a_recording_that_takes_too_long_to_decode_is_refused(store: Path) -> None:
    options = ("--max-decode", "0.0005", "--rate", "0")
    with Service(store, options=options, module=MODULE) as service, service.client() as client:
        for _ in range(3):
            assert (refused(client, second=CLIP).status, refused(client, second=CLIP).kind) == (422, "too-slow")
        assert client.ready()


@pytest.mark.parametrize(("clips", "status", "kind"), [(21, 422, "invalid"), (100, 413, "too-many-parts")])
def test_too_many_recordings_at_once_are_refused(caller: Client, clips: int, status: int, kind: str) -> None:
    with pytest.raises(ServiceError) as caught:
        caller.enrol("zoe", [b"RIFF"] * clips)
    assert (caught.value.status, caught.value.kind) == (status, kind)


# More requests than there is room for.


def test_when_the_queue_is_full_others_are_told_when_to_come_back_and_then_get_their_answer(store: Path) -> None:
    options = ("--queue", "2", "--workers", "1", "--batch-window", "0", "--rate", "0")
    with (
        Service(store, options=options, module=MODULE, environment={DELAY: "0.8"}) as service,
        service.client() as impatient,
        service.client(retries=20) as patient,
    ):
        answers: list[object] = []
        threads = [threading.Thread(target=lambda: answers.append(patient.verify(CLIP, CLIP).same)) for _ in range(5)]
        for thread in threads:
            thread.start()

        def is_full() -> bool:
            return not impatient.ready()

        assert happens(is_full, 20.0)
        with pytest.raises(BusyServiceError) as caught:
            # More than one try: between two requests there may be room for a moment.
            for _ in range(50):
                impatient.verify(CLIP, CLIP)
        assert caught.value.status == 503
        assert caught.value.kind == "busy"
        assert caught.value.retry_after_s >= 1
        for thread in threads:
            thread.join()
        assert answers == [True] * 5
        assert impatient.ready()


def test_who_asks_too_often_is_told_when_to_come_back(store: Path) -> None:
    with (
        Service(store, options=("--rate", "5"), module=MODULE) as service,
        service.client() as client,
    ):
        for _ in range(5):
            client.calibration()
        with pytest.raises(BusyServiceError) as caught:
            client.calibration()
        assert (caught.value.status, caught.value.kind) == (429, "rate")
        assert 1 <= caught.value.retry_after_s <= 12
        # Those who watch over the service are not counted.
        assert client.ready()


# Keys.


def test_a_request_needs_a_key_that_is_known_and_good_for_it(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    scopes = ("read", "enrol", "admin")
    keys = {scope: add_key(file, scope, [scope])[1] for scope in scopes}
    calls: dict[str, list[Callable[[Client], object]]] = {
        "read": [
            lambda client: client.verify(CLIP, CLIP),
            lambda client: client.search(CLIP),
            lambda client: client.speakers(),
            lambda client: client.speaker("speaker-000"),
            lambda client: client.calibration(),
        ],
        "enrol": [lambda client: client.enrol("zoe", [CLIP])],
        "admin": [lambda client: client.erase("zoe"), lambda client: client.metrics()],
    }
    with Service(store, options=("--keys", str(file)), module=MODULE) as service:
        assert httpx2.get(f"{service.url}/v1/speakers").headers["www-authenticate"].startswith("Bearer")
        for key in (None, "vecsv_wrong", keys["read"][:-1], keys["read"] + "x"):
            with service.client(key) as client:
                assert client.ready()
                for call in (one for several in calls.values() for one in several):
                    with pytest.raises(KeyRefusedError) as caught:
                        call(client)
                    assert (caught.value.status, caught.value.kind) == (401, "no-key")
        for scope in scopes:
            with service.client(keys[scope]) as client:
                for wanted, several in calls.items():
                    for call in several:
                        if scope == wanted:
                            call(client)
                        else:
                            with pytest.raises(KeyRefusedError) as caught:
                                call(client)
                            assert (caught.value.status, caught.value.kind) == (403, "scope")
        with service.client(keys["read"]) as client:
            remove_key(file, "read")
            with pytest.raises(KeyRefusedError):
                client.speakers()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost.example.org"])
def test_off_the_loopback_it_does_not_start_without_keys(store: Path, tmp_path: Path, host: str) -> None:
    empty = tmp_path / "keys.json"
    add_key(empty, "gone", ["read"])
    remove_key(empty, "gone")
    for options in ([], ["--keys", str(empty)]):
        done = subprocess.run(
            [sys.executable, "-m", MODULE, "serve", "--store", str(store), "--host", host, "--port", "0", *options],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "keys" in done.stderr or "cannot listen" in done.stderr
        assert "serving" not in done.stderr


# Recordings that will not do.


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "empty"),
        (b"this is no recording", "not-audio"),
        (flac(talk("zoe", 0, 3))[:20_000], "truncated"),
        (wav(np.zeros(3 * RATE, np.float32)), "silent"),
        (wav(tone(3.0)), "steady"),
        (wav(talk("zoe", 0, 1)[: RATE // 10]), "too-short"),
        (wav(np.concatenate([talk("zoe", 0, 1)[: RATE // 3], np.zeros(2 * RATE, np.float32)])), "too-short"),
        (wav(clipped(talk("zoe", 0, 3))), "clipped"),
        (wav(with_rumble(np.concatenate([np.zeros(2 * RATE, np.float32), talk("zoe", 0, 2)]))), "noisy"),
        (wav(talk("speaker-004", 0, 3)), "unlike-the-others"),
    ],
)
def test_nobody_is_enrolled_with_a_recording_that_will_not_do(
    caller: Client, store: Path, bad: bytes, reason: str
) -> None:
    good = [wav(talk("zoe", take, 3)) for take in (1, 2, 3)]
    with pytest.raises(ClipsRefusedError) as caught:
        caller.enrol("zoe", [good[0], bad, *good[1:]])
    verdicts = caught.value.clips
    assert reason in verdicts[1].reasons
    assert verdicts[1].details
    assert [verdicts[place].accepted for place in (0, 2, 3)] == [True] * 3
    assert read_enrolments(store) == ()


@pytest.mark.parametrize("bad", [b"", b"this is no recording", wav(np.zeros(3 * RATE, np.float32))])
def test_nothing_is_compared_or_searched_with_what_is_no_recording(caller: Client, bad: bytes) -> None:
    assert refused(caller, second=bad).status == 422
    with pytest.raises(ServiceError) as caught:
        caller.search(bad)
    assert caught.value.status == 422


# Names.


def test_whoever_is_not_known_is_not_found(caller: Client) -> None:
    for ask in (caller.speaker, caller.erase, lambda name: caller.verify(CLIP, speaker=name)):
        with pytest.raises(UnknownSpeakerError) as caught:
            ask("nobody")
        assert caught.value.status == 404  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "C:\\x", "%2e%2e%2f", "a/../b", "~root"])
def test_a_speakers_name_is_never_a_path(caller: Client, store: Path, name: str) -> None:
    before = files_around(store)
    assert caller.enrol(name, [wav(talk("zoe", take, 3)) for take in (1, 2)]).added == 2
    assert caller.speaker(name).speaker == name
    caller.verify(CLIP, speaker=name)
    caller.erase(name)
    grown = files_around(store) - before
    assert all(path.parent.name == "receipts" or path.name.startswith("enrolments.sqlite") for path in grown)


@pytest.mark.parametrize("name", ["x" * 201, "a\nb", "\x00", "   ", "\x7f"])
def test_what_is_no_name_is_refused(caller: Client, store: Path, name: str) -> None:
    for ask in (
        caller.speaker,
        caller.erase,
        lambda name: caller.enrol(name, [CLIP]),
        lambda name: caller.verify(CLIP, speaker=name),
    ):
        with pytest.raises(ServiceError) as caught:
            ask(name)
        assert caught.value.status == 422
    assert read_enrolments(store) == ()


@pytest.mark.parametrize("times", [0, 8])
def test_a_files_name_is_never_opened(caller: Client, service: Service, tmp_path: Path, times: int) -> None:
    there = tmp_path / "there.wav"
    there.write_bytes(CLIP)
    name = "../" * times + str(there).lstrip("/") if times else str(there)
    for content in (b"", b"no recording at all"):
        response = httpx2.post(f"{service.url}/v1/search", files={"clip": (name, content)}, timeout=60)
        assert response.status_code == 422
        assert response.json()["clip"].replace("\\", "") in {name, name[:100]}
    response = httpx2.post(f"{service.url}/v1/search", files={"clip": ("../../../../etc/passwd", CLIP)}, timeout=60)
    assert response.json()["clip"]["name"] == "../../../../etc/passwd"
    assert "root:" not in response.text


def test_no_file_is_opened_that_a_client_names(client: StartService) -> None:
    opened: list[str] = []
    listening = True

    def listen(event: str, arguments: tuple[object, ...]) -> None:
        if listening and event in {"open", "os.listdir", "os.remove", "os.rename", "os.mkdir", "subprocess.Popen"}:
            opened.append(str(arguments[0]))

    here = client()
    # There is no way to take it away again.
    sys.addaudithook(listen)
    try:
        name = "../../secret/passwd-of-nobody"
        here.post("/v1/search", files={"clip": (name, CLIP)})
        here.post("/v1/verify", files={"first": (name, CLIP)}, data={"speaker": name})
        here.post("/v1/speakers/..%2Fpasswd-of-nobody/enrollments", files={"clips": (name, CLIP)})
        here.get("/v1/speakers/..%2Fpasswd-of-nobody")
        here.delete("/v1/speakers/..%2Fpasswd-of-nobody")
    finally:
        listening = False
    assert opened, "nothing was heard at all"
    assert not [path for path in opened if "nobody" in path]


def files_around(store: Path) -> set[Path]:
    """All files in the store's folder and beside it."""
    return {path for path in store.parent.rglob("*") if path.is_file()}
