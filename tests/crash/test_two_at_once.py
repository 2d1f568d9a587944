"""Two processes on one store: one writer at a time, enrolments side by side, readers undisturbed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.crash.operations import ERASED
from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.sounds import write
from tests.fixtures.stores import read_content, read_enrolments, require_whole, speak, strangers, write_speakers
from vecsv.audio.decode import Clip
from vecsv.embedding.run import embed_manifest
from vecsv.errors import StoreBusyError
from vecsv.index.build import build_index
from vecsv.query.ask import Query, SearchResult, ask
from vecsv.query.erase import erase
from vecsv.query.search import Level

ROOT = Path(__file__).parents[2]


def test_a_second_writer_is_refused_at_once_while_the_first_goes_on_unharmed(tmp_path: Path) -> None:
    manifest = write_speakers(tmp_path / "corpus", 8, 20)
    store = tmp_path / "store"
    command = [sys.executable, "-m", "tests.crash.writer", str(manifest), str(store)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "started\n"
        assert int(first.stdout.readline()) > 0
        # Stopped, so that it is in the midst of its work for as long as the others try.
        first.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(StoreBusyError, match="another vecsv process is writing"):
                embed_manifest(manifest, store, SpectralEmbedder())
            with pytest.raises(StoreBusyError):
                build_index(store)
            refused = subprocess.run(
                [sys.executable, "-m", "vecsv", "erase", "--yes", "--speaker", "speaker-000", "--store", str(store)],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
        finally:
            first.send_signal(signal.SIGCONT)
        assert refused.returncode == 2
        assert refused.stderr.startswith(f"vecsv: {store}: another vecsv process is writing to this store")
        assert refused.stderr.count("\n") == 1
        assert refused.stdout == ""
        first.stdout.read()
    assert first.returncode == 0

    alone = tmp_path / "alone"
    embed_manifest(manifest, alone, SpectralEmbedder())
    assert require_whole(store) == read_content(alone)
    assert strangers(store) == []


_ENROL = """
import sys
from pathlib import Path
from tests.fixtures.embedders import SpectralEmbedder
from vecsv.audio.decode import Clip
from vecsv.query.enroll import enroll
store, *recordings = map(Path, sys.argv[1:])
print("ready", flush=True)
sys.stdin.readline()
for recording in recordings:
    enroll(store, SpectralEmbedder(), "ann", [Clip(recording)], [recording.name])
"""


def test_two_processes_enrolling_one_speaker_at_once_both_survive_even_in_a_new_store(tmp_path: Path) -> None:
    recordings = [write(tmp_path / f"{take}.wav", speak("ann", take)) for take in range(6)]
    for attempt in range(3):
        store = tmp_path / f"store-{attempt}"
        halves = [recordings[:3], recordings[3:]]
        both = [
            subprocess.Popen(
                [sys.executable, "-c", _ENROL, str(store), *map(str, half)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for half in halves
        ]
        for process in both:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for process in both:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in both:
            _, complaint = process.communicate(timeout=60)
            assert process.returncode == 0, complaint
        require_whole(store)
        assert len(read_enrolments(store)) == len(recordings)


def test_a_search_during_an_erasure_gets_a_whole_answer(ground: Path, tmp_path: Path) -> None:
    queries = [
        Query(Clip(write(tmp_path / f"query-{number}.wav", speak(f"speaker-{number:03d}", 99))), str(number))
        for number in range(4)
    ]
    answers: list[list[SearchResult]] = []
    problems: list[BaseException] = []
    store = tmp_path / "store"
    stop = threading.Event()

    def search() -> None:
        while not stop.is_set():
            try:
                answers.append(ask(store, SpectralEmbedder(), queries, top_k=4, level=Level.SPEAKER, workers=1))
            except BaseException as error:
                problems.append(error)
                return

    shutil.copytree(ground / "store", store)
    reader = threading.Thread(target=search)
    reader.start()
    try:
        for speaker in (ERASED, "speaker-003"):
            time.sleep(0.1)
            erase(store, speaker)
            build_index(store)
        time.sleep(0.1)
    finally:
        stop.set()
        reader.join()
    assert problems == []
    everybody = [f"speaker-{number:03d}" for number in range(4)]
    seen = set()
    for answer in answers:
        assert all(result.error is None for result in answer)
        # Everybody who is there is found, all of one state: the erased are missing from all four results or from none.
        (found,) = {tuple(sorted(hit.speaker for hit in result.hits)) for result in answer}
        seen.add(found)
        assert found in {tuple(everybody), tuple(x for x in everybody if x != ERASED), ("speaker-000", "speaker-002")}
        for number, result in enumerate(answer):
            if everybody[number] in found:
                assert result.hits[0].speaker == everybody[number]
    assert len(seen) >= 2
