"""The client against a small server that says what it is told to: what is sent, sent again, and made of answers."""

from __future__ import annotations

import dataclasses
import io
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import vecsv
from vecsv import client as client_module
from vecsv import client_answers
from vecsv.client import Client
from vecsv.client_answers import (
    BusyServiceError,
    ClipsRefusedError,
    EraseAnswer,
    FoundSpeaker,
    KeyRefusedError,
    Person,
    ServiceError,
    UnreachableServiceError,
    read,
)
from vecsv.errors import AudioError, MissingDependencyError, UnknownSpeakerError, UsageError, VecsvError

pytest.importorskip("httpx2")

CLIP = {
    "name": "a.wav",
    "duration_s": 2,
    "speech_s": 1.5,
    "snr_db": None,
    "clipped": 0.0,
    "peak": 0.5,
    "verdicts": ["noisy"],
}
SEARCHED = {
    "speaker": "ann",
    "agree": True,
    "answers": {"default": {"model": "m", "fingerprint": "f", "threshold": None, "threshold_fpir": None}
    | {"gallery_size": None, "searched": 3, "warnings": []}
    | {"hits": [{"rank": 1, "speaker": "ann", "score": 0.9, "passes": None, "utterance": "u", "enrolled": True}
    | {"segment": 0, "offset_s": 0.0, "duration_s": None}]}},
    "clip": CLIP,
    "replay": {"checked": False, "spoof_score": None, "note": "replay not checked"},
    "request_id": "r1",
}  # fmt: skip
DROPPED = "dropped"


@dataclass
class Seen:
    """A request as the server saw it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Scripted:
    """A server that gives answers in turn, the last of them for ever: (status, JSON or text, headers), or DROPPED."""

    answers: list[Any]
    seen: list[Seen] = field(default_factory=list)
    url: str = ""

    def next(self) -> Any:
        """The answer that is due."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


Start = Callable[..., Scripted]


@pytest.fixture
def scripted() -> Iterator[Start]:
    """`scripted(answer, ...)` starts a server."""
    servers = []

    def start(*answers: Any) -> Scripted:
        script = Scripted(list(answers))

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                script.seen.append(Seen(self.command, self.path, dict(self.headers), self.body()))
                due = script.next()
                if due == DROPPED:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, content, *headers = due
                text = content if isinstance(content, str) else json.dumps(content)
                self.send_response(status)
                for name, value in (headers[0] if headers else {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def body(self) -> bytes:
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            do_GET = do_POST = do_DELETE = answer  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        return script

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that clients would have waited."""
    found: list[float] = []
    monkeypatch.setattr(client_module, "_sleep", found.append)
    return found


def problem(kind: str, detail: str = "something is wrong", **members: Any) -> dict[str, Any]:
    """A problem as the service tells it."""
    return {"type": f"urn:vecsv:problem:{kind}", "detail": detail, "request_id": "r9", **members}


@pytest.mark.parametrize("status", [429, 503])
def test_a_request_there_was_no_room_for_is_sent_again_whole_when_the_service_says(
    scripted: Start, waits: list[float], tmp_path: Path, status: int
) -> None:
    (tmp_path / "a.wav").write_bytes(b"0123456789" * 20_000)
    service = scripted((status, problem("busy"), {"Retry-After": "7"}), (200, SEARCHED))
    with Client(service.url) as client:
        assert client.search(tmp_path / "a.wav").speaker == "ann"
    assert waits == [7.0]
    assert len(service.seen) == 2
    for one in service.seen:
        assert one.body.count(b"0123456789") == 20_000
        assert b'filename="a.wav"' in one.body
        assert str(tmp_path).encode() not in one.body


def test_sending_again_has_an_end(scripted: Start, waits: list[float]) -> None:
    service = scripted((503, problem("busy", hint="send it again in 2 s"), {"Retry-After": "2"}))
    with Client(service.url, retries=3) as client, pytest.raises(BusyServiceError) as caught:
        client.search(b"clip")
    assert len(service.seen) == 4
    assert waits == [2.0] * 3
    assert caught.value.retry_after_s == 2.0
    assert caught.value.status == 503
    assert caught.value.request_id == "r9"
    assert str(caught.value) == "something is wrong (send it again in 2 s)"


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "3600"}, {"Retry-After": "soon"}])
def test_nobody_waits_for_long_or_without_being_told_to(
    scripted: Start, waits: list[float], headers: dict[str, str]
) -> None:
    service = scripted((503, problem("busy"), headers))
    with Client(service.url) as client, pytest.raises(BusyServiceError):
        client.search(b"clip")
    assert len(service.seen) == 1
    assert waits == []


@pytest.mark.parametrize("ask", [lambda client: client.enrol("ann", [b"clip"]), lambda client: client.erase("ann")])
def test_what_may_have_been_done_is_not_asked_for_twice(
    scripted: Start, waits: list[float], ask: Callable[[Client], object]
) -> None:
    service = scripted(DROPPED)
    with Client(service.url) as client, pytest.raises(UnreachableServiceError, match="no answer") as caught:
        ask(client)
    assert len(service.seen) == 1
    assert waits == []
    assert caught.value.status is None


def test_what_changes_nothing_is_asked_for_again_when_the_answer_breaks_off(
    scripted: Start, waits: list[float]
) -> None:
    service = scripted(DROPPED, DROPPED, (200, {}))
    with Client(service.url) as client:
        assert client.calibration() == {}
    assert len(service.seen) == 3
    assert waits == sorted(waits)
    assert len(waits) == 2


def test_a_service_that_is_not_there_yet_is_tried_again_also_with_recordings(
    scripted: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        free = f"http://127.0.0.1:{held.getsockname()[1]}"
        waits: list[float] = []
        monkeypatch.setattr(client_module, "_sleep", waits.append)
        with Client(free, retries=2) as client:
            assert client.ready() is False
            with pytest.raises(UnreachableServiceError, match="check that vecsv serve runs there"):
                client.enrol("ann", [b"clip"])
    assert len(waits) == 2


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (401, "no-key", KeyRefusedError),
        (403, "scope", KeyRefusedError),
        (404, "unknown-speaker", UnknownSpeakerError),
        (404, "not-found", ServiceError),
        (422, "no-speech", ServiceError),
        (413, "too-large", ServiceError),
        (500, "defect", ServiceError),
    ],
)
def test_a_refusal_is_an_error_with_what_the_service_said(
    scripted: Start, status: int, kind: str, expected: type[VecsvError]
) -> None:
    service = scripted((status, problem(kind, "what is wrong", hint="what to do", clip="a.wav")))
    with Client(service.url) as client, pytest.raises(expected) as caught:
        client.verify(b"clip", speaker="ann")
    error = caught.value
    assert isinstance(error, ServiceError)
    assert (error.status, error.kind, error.request_id, error.hint) == (status, kind, "r9", "what to do")
    assert str(error) == "a.wav: what is wrong (what to do)"
    assert error.problem["detail"] == "what is wrong"
    assert isinstance(error, UnknownSpeakerError) == (kind == "unknown-speaker")


def test_a_refused_enrolment_says_what_was_wrong_with_each_recording(scripted: Start) -> None:
    clips = [
        {"name": "a.wav", "accepted": True, "reasons": [], "details": [], "speech_s": 3},
        {"name": "b.wav", "accepted": False, "reasons": ["noisy"], "details": ["much noise"], "snr_db": 2.5},
    ]
    service = scripted((422, problem("refused-clips", clips=clips)))
    with Client(service.url) as client, pytest.raises(ClipsRefusedError) as caught:
        client.enrol("ann", [b"1", b"2"])
    good, bad = caught.value.clips
    assert (good.accepted, good.speech_s, good.snr_db) == (True, 3.0, None)
    assert (bad.accepted, bad.reasons, bad.snr_db) == (False, ("noisy",), 2.5)


@pytest.mark.parametrize("answer", [(200, "<h1>hello</h1>"), (200, [1, 2]), (200, {"speaker": "ann"})])
def test_an_answer_of_something_else_is_an_error_of_one_line(scripted: Start, answer: Any) -> None:
    service = scripted(answer)
    with Client(service.url) as client, pytest.raises(ServiceError, match="not what a vecsv service gives") as caught:
        client.speaker("ann")
    assert "\n" not in str(caught.value)


def test_a_refusal_of_something_between_is_an_error_of_one_line(scripted: Start) -> None:
    service = scripted((502, "<html>\nBad Gateway\n</html>"))
    with Client(service.url) as client, pytest.raises(ServiceError, match="answered 502 Bad Gateway") as caught:
        client.speakers()
    assert caught.value.status == 502


def test_a_key_is_shown_to_the_service_alone(scripted: Start) -> None:
    elsewhere = scripted((200, {}))
    service = scripted((307, "", {"Location": f"{elsewhere.url}/v1/calibration"}))
    with Client(service.url, "vecsv_secret") as client:
        with pytest.raises(ServiceError, match="307"):
            client.calibration()
        assert "secret" not in repr(client)
    assert service.seen[0].headers["Authorization"] == "Bearer vecsv_secret"
    assert elsewhere.seen == []


@pytest.mark.parametrize("speaker", ["ann", "Zoë 李雷", "a?b#c%2Fd", "a+b&c=d;e", ".", "..", "../../etc/passwd", "/"])
def test_names_of_any_kind_come_through(scripted: Start, speaker: str) -> None:
    found = {"speaker": speaker, "utterances": 1, "enrolled": 0, "speech_s": 1.5, "percent": 15, "stores": {}}
    service = scripted((200, found))
    with Client(service.url) as client:
        assert client.speaker(speaker) == Person(speaker, 1, 0, 1.5, 15, {})
    assert unquote(service.seen[0].path) == f"/v1/speakers/{speaker}"
    assert service.seen[0].path.count("/") == 3


@pytest.mark.parametrize("speaker", ["", "\ud800"])
def test_what_is_no_name_is_refused_before_anything_is_sent(scripted: Start, speaker: str) -> None:
    service = scripted((200, {}))
    with Client(service.url) as client:
        for ask in (client.speaker, client.erase, lambda name: client.enrol(name, [b"clip"])):
            with pytest.raises(UsageError, match="name"):
                ask(speaker)
    assert service.seen == []


def test_recordings_are_paths_bytes_or_open_files(scripted: Start, tmp_path: Path) -> None:
    path = tmp_path / "monday.wav"
    path.write_bytes(b"of a path")
    file = io.BytesIO(b"of a file")
    file.read(3)
    service = scripted((200, {**SEARCHED, "clip": CLIP}))
    with Client(service.url) as client:
        for recording in (path, str(path), b"of bytes", file):
            client.search(recording, top_k=3, level="utterance")
    bodies = [one.body for one in service.seen]
    for body, content in zip(bodies, (b"of a path", b"of a path", b"of bytes", b"of a file"), strict=True):
        assert b"\r\n\r\n" + content + b"\r\n" in body
        assert b'name="top_k"\r\n\r\n3\r\n' in body
        assert b'name="level"\r\n\r\nutterance\r\n' in body


def test_a_file_that_is_not_there_is_named_and_nothing_is_sent(scripted: Start, tmp_path: Path) -> None:
    service = scripted((200, {}))
    with Client(service.url) as client, pytest.raises(AudioError, match=r"none\.wav: No such file") as caught:
        client.verify(tmp_path / "none.wav", b"clip")
    assert caught.value.code == "unreadable"
    assert service.seen == []


def test_a_comparison_wants_a_recording_or_a_speaker(scripted: Start) -> None:
    with Client(scripted((200, {})).url) as client:
        with pytest.raises(UsageError, match="one of the two"):
            client.verify(b"clip")
        with pytest.raises(UsageError, match="one of the two"):
            client.verify(b"clip", b"clip", speaker="ann")
        with pytest.raises(UsageError, match="in a list"):
            client.enrol("ann", "a.wav")


def test_everybody_is_listed_page_by_page(scripted: Start) -> None:
    def page(*names: str) -> Any:
        people = [
            {"speaker": name, "utterances": 0, "enrolled": 1, "speech_s": 1.0, "percent": 1, "stores": {}}
            for name in names
        ]
        return 200, {"speakers": people, "total": 3, "offset": 0, "limit": 2, "wanted_speech_s": 10, "request_id": ""}

    service = scripted(page("ann", "bob"), page("cy"))
    with Client(service.url) as client:
        assert [one.speaker for one in client.speakers()] == ["ann", "bob", "cy"]
    assert [one.path for one in service.seen] == [f"/v1/speakers?offset={n}&limit=1000" for n in (0, 2)]


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a", "http://", "http://[::1", "http://a?b", "", "file:///a"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="no service's address"):
        Client(url)


@pytest.mark.parametrize("key", ["", "a b", "a\n", "ключ"])
def test_what_is_no_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(UsageError, match="vecsv keys add") as caught:
        Client("http://127.0.0.1:8000", key)
    assert not key or key not in str(caught.value)


def test_an_address_may_have_a_path_of_its_own(scripted: Start) -> None:
    service = scripted((200, {}))
    with Client(f"{service.url}/voices/") as client:
        client.calibration()
    assert service.seen[0].path == "/voices/v1/calibration"


def test_many_threads_may_share_one(scripted: Start) -> None:
    service = scripted((200, SEARCHED))
    answers = []
    with Client(service.url) as client:
        threads = [
            threading.Thread(target=lambda: answers.extend(client.search(b"clip").speaker for _ in range(10)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert answers == ["ann"] * 80


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'vecsv\[client\]'"):
        vecsv.Client("http://127.0.0.1:8000")


def test_what_a_newer_service_says_besides_is_passed_over_and_kept() -> None:
    document = {"speaker": "ann", "receipts": {}, "request_id": "r1", "since": 3}
    answer = read(EraseAnswer, document)
    assert answer == EraseAnswer(request_id="r1", document={}, speaker="ann", receipts={})
    assert answer.document["since"] == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [("rank", "1"), ("rank", True), ("rank", 1.5), ("score", None), ("score", "0.9"), ("passes", 1), ("speaker", None)],
)
def test_a_member_of_another_kind_is_named(name: str, value: object) -> None:
    (hit,) = SEARCHED["answers"]["default"]["hits"]  # type: ignore[index]
    assert read(FoundSpeaker, hit).score == 0.9
    with pytest.raises(ServiceError, match=rf"FoundSpeaker\.{name}"):
        read(FoundSpeaker, {**hit, name: value})


PAIRS = {
    "SentClip": "Clip",
    "Receipt": "ReceiptAnswer",
    **{
        name: name
        for name in (
            "KnownSpeaker",
            "Replay",
            "StoreAnswer",
            "VerifyAnswer",
            "FoundSpeaker",
            "StoreHits",
            "SearchAnswer",
            "StoreCount",
            "EnrolAnswer",
            "PersonInStore",
            "Person",
            "SpeakersAnswer",
            "EraseAnswer",
            "ThresholdInfo",
            "SearchThresholdInfo",
            "ScoreHistogram",
            "CalibrationInfo",
        )
    },
}


@pytest.mark.parametrize("ours", sorted(PAIRS))
def test_the_client_knows_every_member_that_the_service_describes(ours: str) -> None:
    schemas = pytest.importorskip("vecsv.serve.schemas")
    theirs = getattr(schemas, PAIRS[ours])
    known = {one.name for one in dataclasses.fields(getattr(client_answers, ours))} - {"document"}
    assert known == set(theirs.model_fields)


@pytest.mark.parametrize("ours", sorted(PAIRS))
def test_the_client_reads_the_examples_of_the_description(ours: str) -> None:
    schemas = pytest.importorskip("vecsv.serve.schemas")
    examples = (getattr(schemas, PAIRS[ours]).model_config.get("json_schema_extra") or {}).get("examples", [])
    for example in examples:
        kind = getattr(client_answers, ours)
        found = read(kind, example)
        for one in dataclasses.fields(kind):
            if one.name in example and not isinstance(example[one.name], dict | list):
                assert getattr(found, one.name) == example[one.name]
