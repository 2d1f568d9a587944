"""Several clients and several servers at once over one store: nobody is lost, nobody comes back, nobody sees a half."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from filelock import FileLock

from tests.fixtures.serving import Service, happens
from tests.fixtures.stores import read_enrolments, require_whole
from tests.serve.conftest import SPEAKERS, talk, wav
from tests.serve.spectral import MODULE
from vecsv.client import Client
from vecsv.client_answers import BusyServiceError
from vecsv.errors import UnknownSpeakerError, VecsvError
from vecsv.store.writing import LOCK

httpx2 = pytest.importorskip("httpx2")
pytest.importorskip("fastapi")

OPTIONS = ("--rate", "0", "--workers", "2")
ZOE = [wav(talk("zoe", take, 3)) for take in range(8)]


@pytest.fixture
def store(stores: Path) -> Path:
    """One store."""
    return stores / "default"


@pytest.fixture
def service(store: Path) -> Iterator[Service]:
    """A service over it."""
    with Service(store, options=OPTIONS, module=MODULE) as started:
        yield started


def all_at_once(*work: Callable[[], object]) -> list[object]:
    """Do all at the same moment; gives what each gave, or its error."""
    results: list[object] = [None] * len(work)
    barrier = threading.Barrier(len(work))

    def run(place: int) -> None:
        barrier.wait()
        try:
            results[place] = work[place]()
        except VecsvError as error:
            results[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120.0)
        assert not thread.is_alive()
    return results


def test_two_clients_enrol_one_speaker_at_once(service: Service, store: Path) -> None:
    with service.client() as ann, service.client() as bob:
        for attempt in range(5):
            name = f"zoe-{attempt}"
            answers = all_at_once(
                lambda name=name: ann.enrol(name, ZOE[:4]).added,  # type: ignore[misc]
                lambda name=name: bob.enrol(name, ZOE[4:]).added,  # type: ignore[misc]
            )
            assert answers == [4, 4]
            assert ann.speaker(name).enrolled == 8
            hashes = [row for row in read_enrolments(store) if row[0] == name]
            assert len(hashes) == len(set(hashes)) == 8
    require_whole(store)


def test_two_clients_enrol_the_same_clips_of_one_speaker_at_once(service: Service, store: Path) -> None:
    with service.client() as ann, service.client() as bob:
        for attempt in range(5):
            name = f"zoe-{attempt}"
            found = all_at_once(
                lambda name=name: ann.enrol(name, ZOE[:5]),  # type: ignore[misc]
                lambda name=name: bob.enrol(name, ZOE[2:7]),  # type: ignore[misc]
            )
            added = [answer.added for answer in found]  # type: ignore[attr-defined]
            already = [answer.already for answer in found]  # type: ignore[attr-defined]
            # Each clip is there once, and was counted as new once, by whoever came first.
            assert sorted(added) == [2, 5]
            assert sorted(already) == [0, 3]
            assert ann.speaker(name).enrolled == 7


def test_whoever_is_erased_is_in_no_answer_to_a_search_that_began_after_the_receipt(
    service: Service, store: Path
) -> None:
    erased = [f"speaker-{number:03d}" for number in range(4)]
    asked = wav(talk("speaker-000", 9))
    stop = threading.Event()
    receipts: dict[str, float] = {}
    answers: list[tuple[float, set[str]]] = []
    problems: list[str] = []

    def search() -> None:
        with service.client() as client:
            while not stop.is_set():
                begun = time.monotonic()
                try:
                    hits = client.search(asked, top_k=SPEAKERS + 1).hits
                except VecsvError as error:
                    problems.append(repr(error))
                    return
                answers.append((begun, {hit.speaker for hit in hits}))

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with service.client() as client:
            client.enrol("zoe", ZOE)
            for speaker in (*erased, "zoe"):
                time.sleep(0.1)
                client.erase(speaker)
                receipts[speaker] = time.monotonic()
            time.sleep(0.3)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert problems == []
    everybody = {f"speaker-{number:03d}" for number in range(SPEAKERS)}
    for begun, found in answers:
        assert not {speaker for speaker, at in receipts.items() if at <= begun} & found
        # Those who stay are found by every search, also by one that an erasure met.
        assert everybody - set(erased) <= found <= everybody | {"zoe"}
    seen = {frozenset(found) for _, found in answers}
    assert len(seen) >= 3, "the erasures did not meet any searches"
    require_whole(store)


def test_two_servers_over_one_store_give_the_same_answers_at_once(store: Path) -> None:
    asked = wav(talk("zoe", 9, 3))
    with (
        Service(store, options=OPTIONS, module=MODULE) as first,
        Service(store, options=OPTIONS, module=MODULE) as second,
        first.client() as here,
        second.client() as there,
    ):
        assert here.enrol("zoe", ZOE[:3]).total == 3
        assert there.search(asked).hits[0].speaker == "zoe"
        assert there.enrol("zoe", ZOE[2:5]).already == 1
        assert here.speaker("zoe").enrolled == 5
        assert here.verify(asked, speaker="zoe").score == there.verify(asked, speaker="zoe").score
        there.erase("zoe")
        with pytest.raises(UnknownSpeakerError):
            here.verify(asked, speaker="zoe")
        here.erase("speaker-000")
        assert "speaker-000" not in {person.speaker for person in there.speakers()}
        assert "speaker-000" not in {hit.speaker for hit in there.search(asked, top_k=50).hits}
        assert all_at_once(lambda: here.enrol("zoe", ZOE[:4]).added, lambda: there.enrol("zoe", ZOE[4:]).added) == [
            4,
            4,
        ]
        assert here.speaker("zoe").enrolled == there.speaker("zoe").enrolled == 8
        assert here.speakers() == there.speakers()
    require_whole(store)


def test_while_another_process_writes_an_erasure_is_put_off_and_all_else_goes_on(service: Service, store: Path) -> None:
    with service.client() as client, Client(service.url, retries=20) as patient:
        lock = FileLock(store / LOCK)
        with lock:
            with pytest.raises(BusyServiceError) as caught:
                client.erase("speaker-000")
            assert caught.value.retry_after_s >= 1
            assert client.verify(ZOE[0], speaker="speaker-000").same is False
            assert client.enrol("zoe", ZOE[:2]).added == 2
            assert client.ready()
            erasing = threading.Thread(target=patient.erase, args=("speaker-000",))
            erasing.start()
        erasing.join(60.0)
        with pytest.raises(UnknownSpeakerError):
            client.speaker("speaker-000")


def test_clients_that_hang_up_leave_nothing_behind(service: Service, store: Path) -> None:
    address = urlsplit(service.url)
    body = multipart("clip", ZOE[0])
    head = (
        f"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    for sent in (len(head), len(head) + len(body) // 2, len(head) + len(body)):
        for _ in range(20):
            with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
                connection.sendall((head + body)[:sent])
    with service.client() as client:

        def is_idle() -> bool:
            return bool(httpx2.get(f"{service.url}/readyz").json()["queued"] == 0)

        assert happens(is_idle, 30.0)
        assert client.search(ZOE[0]).hits
    assert not [line for line in service.said if "Traceback" in line]


def multipart(name: str, content: bytes) -> bytes:
    """A form with one file, as it is sent."""
    return (
        f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="a.wav"\r\n\r\n'.encode()
        + content
        + b"\r\n--x--\r\n"
    )


def test_one_speakers_erasure_and_enrolment_at_once_leave_all_clips_or_none(service: Service, store: Path) -> None:
    with service.client() as ann, service.client() as bob:
        for attempt in range(5):
            name = f"zoe-{attempt}"
            ann.enrol(name, ZOE[:2])
            enrolled, _ = all_at_once(
                lambda name=name: ann.enrol(name, ZOE[2:5]).total,  # type: ignore[misc]
                lambda name=name: bob.erase(name),  # type: ignore[misc]
            )
            assert enrolled in {3, 5}
            left = [row for row in read_enrolments(store) if row[0] == name]
            # Erased before the enrolment, or after it.
            assert len(left) == (3 if enrolled == 3 else 0)
    require_whole(store)
