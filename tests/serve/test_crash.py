"""A service that is killed, whose decoders are killed, and that is told to end: nothing it has answered for is lost."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fixtures.serving import Service, gone, happens
from tests.fixtures.stores import require_whole, strangers, traces
from tests.serve.conftest import SEEDS, talk, wav
from tests.serve.spectral import DELAY, MODULE
from vecsv.client import Client
from vecsv.client_answers import ServiceError, UnreachableServiceError
from vecsv.errors import UnknownSpeakerError

pytest.importorskip("httpx2")
pytest.importorskip("fastapi")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

KILLS = 3
CLIENTS = 3
CLIPS = [wav(talk("zoe", take, 3)) for take in range(3)]
ASKED = wav(talk("speaker-000", 9))
OPTIONS = ("--rate", "0", "--workers", "2")


class Load:
    """Clients that enrol people and compare recordings until nobody answers any more."""

    def __init__(self, url: str, round_: int) -> None:
        self.asked: set[str] = set()
        self.acknowledged: set[str] = set()
        self.problems: list[str] = []
        self.answers = 0
        self._url = url
        self._threads = [
            threading.Thread(target=self._enrol, args=(f"{round_}-{number}",)) for number in range(CLIENTS)
        ]
        self._threads.append(threading.Thread(target=self._verify))
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until all have seen that nobody answers."""
        for thread in self._threads:
            thread.join(120.0)
            assert not thread.is_alive()

    def _enrol(self, name: str) -> None:
        with Client(self._url, retries=0) as client:
            for turn in range(10_000):
                speaker = f"person-{name}-{turn}"
                self.asked.add(speaker)
                try:
                    answer = client.enrol(speaker, CLIPS)
                except UnreachableServiceError:
                    return
                except ServiceError as error:
                    self.problems.append(repr(error))
                    return
                if answer.added != len(CLIPS):
                    self.problems.append(f"{speaker}: {answer.added} of {len(CLIPS)} clips were added")
                self.acknowledged.add(speaker)

    def _verify(self) -> None:
        with Client(self._url, retries=0) as client:
            while True:
                try:
                    assert client.verify(ASKED, speaker="speaker-000").same is True
                    self.answers += 1
                except UnreachableServiceError:
                    return
                except ServiceError as error:
                    self.problems.append(repr(error))
                    return


def test_what_was_acknowledged_survives_kill_9_under_load_and_the_rest_is_whole_or_absent(stores: Path) -> None:
    generator = random.Random(6)
    named = [f"{name}={stores / name}" for name in SEEDS]
    asked: set[str] = set()
    acknowledged: set[str] = set()
    for kill in range(KILLS):
        service = Service(*named, options=OPTIONS, module=MODULE)
        children = service.children()
        assert len(children) >= 2
        load = Load(service.url, kill)
        assert happens(lambda load=load: len(load.acknowledged) >= 2 and load.answers > 0, 60.0)  # type: ignore[misc]
        time.sleep(generator.uniform(0.0, 0.3))
        service.kill()
        load.join()
        assert load.problems == []
        asked |= load.asked
        acknowledged |= load.acknowledged
        # Nobody is left behind who might still write, or hold memory.
        assert all(gone(child) for child in children)
        for name in SEEDS:
            require_whole(stores / name)

    with Service(*named, options=OPTIONS, module=MODULE) as service, service.client() as client:
        there = {person.speaker: person for person in client.speakers() if person.speaker.startswith("person-")}
        assert acknowledged <= there.keys() <= asked
        for speaker, person in there.items():
            counts = {name: count.enrolled for name, count in person.stores.items()}
            # Each store has all clips or none; where one has none, nobody was told that it had them.
            assert set(counts.values()) == {len(CLIPS)}, (speaker, counts)
            assert speaker not in acknowledged or counts.keys() == SEEDS.keys(), (speaker, counts)
        # What was cut off between two stores is completed by asking again.
        for speaker in sorted(asked - acknowledged):
            assert client.enrol(speaker, CLIPS).total == len(CLIPS)
            assert client.speaker(speaker).stores.keys() == SEEDS.keys()
        assert client.search(wav(talk("zoe", 9))).hits[0].speaker in there.keys() | asked


def test_an_erasure_that_was_cut_off_is_completed_by_asking_again(stores: Path) -> None:
    store = stores / "default"
    generator = random.Random(7)
    for speaker in ("speaker-000", "speaker-001", "speaker-002"):
        service = Service(store, options=OPTIONS, module=MODULE)

        def erase(speaker: str = speaker, url: str = service.url) -> None:
            with Client(url, retries=0) as client, suppress(UnreachableServiceError):
                client.erase(speaker)

        thread = threading.Thread(target=erase)
        thread.start()
        time.sleep(generator.uniform(0.0, 0.15))
        service.kill()
        thread.join()
        require_whole(store)
        with Service(store, options=OPTIONS, module=MODULE) as again, again.client() as client:
            with suppress(UnknownSpeakerError):
                client.erase(speaker)
            with pytest.raises(UnknownSpeakerError):
                client.speaker(speaker)
            assert speaker not in {person.speaker for person in client.speakers()}
        assert require_whole(store)
        assert traces(store, [speaker]) == []
    assert strangers(store) == []


@pytest.mark.parametrize("strike", [signal.SIGKILL, signal.SIGSTOP])
def test_a_decoder_that_is_killed_or_hangs_costs_at_most_its_request(stores: Path, strike: signal.Signals) -> None:
    options = (*OPTIONS, "--max-decode", "2")
    with (
        Service(stores / "default", options=options, module=MODULE) as service,
        service.client() as client,
    ):
        for _ in range(3):
            for child in service.children():
                os.kill(child, strike)
            refusals = []
            for _ in range(4):
                try:
                    assert client.verify(ASKED, ASKED).same is True
                except ServiceError as error:
                    refusals.append(error)
            # A decoder that died idle is not missed; one that hangs is found out by its first request.
            assert len(refusals) <= 2
            assert {error.status for error in refusals} <= {422}
            assert {error.kind for error in refusals} <= {"too-slow", "decoder-crashed"}
            assert client.verify(ASKED, ASKED).same is True
        assert client.ready()
        children = service.children()
    assert all(gone(child) for child in children)


def test_told_to_end_it_finishes_what_it_has_accepted_and_takes_nothing_more(stores: Path) -> None:
    service = Service(stores / "default", options=(*OPTIONS, "--workers", "1"), module=MODULE, environment={DELAY: "2"})
    answers: list[object] = []
    with service, service.client() as client:
        children = service.children()

        def enrol() -> None:
            with service.client() as other:
                answers.append(other.enrol("zoe", CLIPS).added)

        threads = [
            threading.Thread(target=enrol),
            threading.Thread(target=lambda: answers.append(client.verify(ASKED, ASKED).same)),
        ]
        for thread in threads:
            thread.start()

        assert happens(lambda: _clips_in_the_house(service) == 5, 20.0)
        service.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert service.end() == 0
    assert sorted(map(str, answers)) == ["3", "True"]
    assert all(gone(child) for child in children)
    with pytest.raises(UnreachableServiceError), service.client() as late:
        late.speakers()
    with Service(stores / "default", options=OPTIONS, module=MODULE) as again, again.client() as client:
        assert client.speaker("zoe").enrolled == 3


def _clips_in_the_house(service: Service) -> float:
    with service.client() as client:
        lines = client.metrics().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith("vecsv_queue_clips "))


def test_a_restart_loses_nothing(stores: Path) -> None:
    with Service(stores / "default", options=OPTIONS, module=MODULE) as service, service.client() as client:
        client.enrol("zoe", CLIPS)
        before = client.speakers()
        verified = client.verify(wav(talk("zoe", 8, 3)), speaker="zoe").score
        assert service.end() == 0
    with Service(stores / "default", options=OPTIONS, module=MODULE) as service, service.client() as client:
        assert client.speakers() == before
        assert client.verify(wav(talk("zoe", 8, 3)), speaker="zoe").score == verified
