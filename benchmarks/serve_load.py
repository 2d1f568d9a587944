"""A service under load: how quick it is, how close to the library called directly, whether it forgets anything.

    python benchmarks/serve_load.py --minutes 5 [--speech ../shared/speech] [--clients 8]

A real `vecsv serve` in a process of its own is asked by concurrent clients "are these two the same person?", about real
recordings (those of ``dev.tsv``) or synthetic voices made on the spot. Every score is held against the library's own.
In turn with that the library embeds the same recordings in batch, so that both meet the same machine. Clients run on
the same cores as the service; what processor time each side takes is shown, which other programs on the machine
disturb least.

Then the service is killed with SIGKILL while clients enrol people, started again over the same store, and asked for
everybody whose enrolment it had answered for; a few times.

It ends with 1 when a request failed, a score was wrong, an acknowledged enrolment is gone or one is there by half, or
when memory grew by more than 10% after the first minute.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.fixtures.serving import Service
from tests.fixtures.voices import make_corpus
from vecsv.api import Store
from vecsv.client import Client
from vecsv.client_answers import ClipsRefusedError, UnreachableServiceError
from vecsv.embedding.run import embed_manifest
from vecsv.errors import VecsvError
from vecsv.manifest import ManifestRow, read_manifest
from vecsv.models.protocol import Embedder
from vecsv.store.reader import Snapshot
from vecsv.store.schema import vectors_of

MOST_GROWTH: Final = 1.10
_SCORES_AGREE_WITHIN: Final = 2e-3
_SHORTEST_S: Final = 2.0
_LONGEST_S: Final = 20.0
_PAIRS: Final = 400
_SERVICE_TURN_S: Final = 60.0
_LIBRARY_TURN_S: Final = 12.0
_SERVICE_OPTIONS: Final = ("--rate", "0", "--queue", "256")


@dataclass(frozen=True)
class Recording:
    """A file, who speaks in it, and its length in seconds."""

    path: Path
    speaker: str
    seconds: float


@dataclass(frozen=True)
class Question:
    """Two recordings, and the score that the library gives them."""

    first: Recording
    second: Recording
    score: float

    @property
    def seconds(self) -> float:
        """Seconds of audio that are sent."""
        return self.first.seconds + self.second.seconds


@dataclass
class Tally:
    """What the clients saw; shared by their threads."""

    latencies: list[float] = field(default_factory=list)
    audio_s: float = 0.0
    errors: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, seconds: float, audio_s: float) -> None:
        """Count an answer."""
        with self.lock:
            self.latencies.append(seconds)
            self.audio_s += audio_s

    def failed(self, what: str) -> None:
        """Count a failure."""
        with self.lock:
            self.errors.append(what)


class MemoryWatch:
    """Takes down, once a second while the service works, the resident memory of the server and of its children."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._working = threading.Event()
        self._stop = threading.Event()
        self.samples: list[tuple[float, int, int]] = []
        self._seconds = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def work(self, working: bool) -> None:
        """Say whether the service is working; time passes only then."""
        (self._working.set if working else self._working.clear)()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(1.0):
            now = time.monotonic()
            if self._working.is_set():
                self._seconds += now - last
                children = sum(resident_bytes(pid) for pid in self._service.children())
                self.samples.append((self._seconds, resident_bytes(self._service.pid), children))
            last = now


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 where there is none."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def processor_s(pid: int) -> float:
    """Processor time of a process and of the children it has reaped, in seconds."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def service_processor_s(service: Service) -> float:
    """Processor time of the server and of its decoders so far, in seconds."""
    return sum(processor_s(pid) for pid in (service.pid, *service.children()))


def material(speech: Path | None, folder: Path) -> Path:
    """A manifest of recordings of several speakers, several of each."""
    if speech is None:
        return make_corpus(folder / "voices", speakers=12, utterances=8, seed=3)
    rows = [row for row in read_manifest(speech / "dev.tsv") if isinstance(row, ManifestRow)]
    lines = [f"{row.path.resolve()}\t{row.speaker}\n" for row in rows]
    manifest = folder / "dev.tsv"
    manifest.write_text("".join(lines), encoding="utf-8")
    return manifest


def questions_of(store: Path, seed: int) -> tuple[list[Recording], list[Question]]:
    """The recordings of a store that are neither very short nor very long, and pairs of them, half of one speaker."""
    found: list[Recording] = []
    vectors = []
    columns = ["path", "speaker", "duration_s", "embedding"]
    for table in Snapshot.open(store).iterate(columns):
        rows = table.select(columns[:3]).to_pylist()
        for row, vector in zip(rows, vectors_of(table.column("embedding")), strict=True):
            if _SHORTEST_S <= row["duration_s"] <= _LONGEST_S:
                found.append(Recording(Path(row["path"]), row["speaker"], row["duration_s"]))
                vectors.append(vector)
    generator = random.Random(seed)
    pairs = list(combinations(range(len(found)), 2))
    same = [pair for pair in pairs if found[pair[0]].speaker == found[pair[1]].speaker]
    other = [pair for pair in pairs if found[pair[0]].speaker != found[pair[1]].speaker]
    chosen = generator.sample(same, min(_PAIRS // 2, len(same))) + generator.sample(other, min(_PAIRS // 2, len(other)))
    generator.shuffle(chosen)
    return found, [Question(found[i], found[j], float(np.sum(vectors[i] * vectors[j]))) for i, j in chosen]


def ask_for(seconds: float, url: str, questions: Sequence[Question], clients: int, tally: Tally) -> float:
    """Have clients ask one question after another; gives how long it took."""
    begun = time.monotonic()
    ends = begun + seconds

    def ask(number: int) -> None:
        generator = random.Random(number)
        with Client(url, retries=0, timeout_s=120.0) as client:
            while time.monotonic() < ends:
                question = generator.choice(questions)
                started = time.monotonic()
                try:
                    answer = client.verify(question.first.path, question.second.path)
                except VecsvError as error:
                    tally.failed(str(error))
                    continue
                tally.answered(time.monotonic() - started, question.seconds)
                if abs(answer.score - question.score) > _SCORES_AGREE_WITHIN:
                    names = f"{question.first.path.name}, {question.second.path.name}"
                    tally.failed(f"{names}: score {answer.score:.4f}, the library's is {question.score:.4f}")

    in_threads(ask, clients)
    return time.monotonic() - begun


def in_threads(work: Callable[[int], None], count: int) -> None:
    """Call `work` with 0, 1, ... in threads, and wait for them."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def embed_for(seconds: float, manifest: Path, audio_s: float, embedder: Embedder) -> list[float]:
    """Embed all of a manifest in batch, again and again; gives the seconds of audio a second of each time."""
    rates: list[float] = []
    ends = time.monotonic() + seconds
    while not rates or time.monotonic() < ends:
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            embed_manifest(manifest, Path(folder), embedder)
            rates.append(audio_s / (time.monotonic() - started))
    return rates


def measure_load(
    service: Service,
    questions: Sequence[Question],
    audio_s: float,
    in_batch: Callable[[float], list[float]],
    given: argparse.Namespace,
) -> bool:
    """Ask and embed in turns, print the figures; says whether all was well."""
    tally, warm, asked_s, busy_s, client_s, library_s = Tally(), Tally(), 0.0, 0.0, 0.0, 0.0
    rates: list[float] = []
    shares: list[float] = []
    watch = MemoryWatch(service)
    ask_for(2.0, service.url, questions, given.clients, warm)
    total = given.minutes * 60
    while asked_s < total - 0.5:
        watch.work(True)
        before, own, audio = service_processor_s(service), time.process_time(), tally.audio_s
        took = ask_for(min(_SERVICE_TURN_S, total - asked_s), service.url, questions, given.clients, tally)
        busy_s += service_processor_s(service) - before
        client_s += time.process_time() - own
        watch.work(False)
        own = time.process_time()
        turn = in_batch(min(_LIBRARY_TURN_S, total / 5))
        library_s += time.process_time() - own
        rates += turn
        shares.append((tally.audio_s - audio) / took / statistics.median(turn))
        asked_s += took
        print(f"  {asked_s:4.0f} s: {len(tally.latencies)} answers, {len(tally.errors)} errors", flush=True)
    watch.stop()
    latencies = np.sort(tally.latencies)
    library = statistics.median(rates)
    served = tally.audio_s / asked_s
    by_processor = tally.audio_s / busy_s, audio_s * len(rates) / library_s
    growth, slope, sizes = memory_growth(watch.samples)
    seconds = np.quantile(latencies, [0.5, 0.9, 0.99]) if len(latencies) else [float("nan")] * 3
    table(
        [
            ("clients at once", f"{given.clients}"),
            ("asked for", f"{asked_s:.0f} s"),
            ("answers", f"{len(latencies):,}"),
            ("errors", f"{len(tally.errors)}"),
            ("requests a second", f"{len(latencies) / asked_s:.1f}"),
            ("latency p50, p90, p99", ", ".join(f"{1000 * one:.0f} ms" for one in seconds)),
            ("seconds of audio a second", f"{served:.0f}"),
            ("the library's, in batch", f"{library:.0f} (rounds: {', '.join(f'{one:.0f}' for one in rates)})"),
            ("share of the library's", f"{statistics.median(shares):.0%} (turns: {_percents(shares)})"),
            ("seconds a processor second", f"{by_processor[0]:.0f} service, {by_processor[1]:.0f} library"),
            ("share of the library's by that", f"{by_processor[0] / by_processor[1]:.0%}"),
            ("processors busy", f"{busy_s / asked_s:.2f} service, {client_s / asked_s:.2f} clients"),
            ("memory", f"{sizes[0] / 2**20:.0f} MiB server at most, {sizes[1] / 2**20:.0f} MiB decoders"),
            ("memory, slope", f"{slope / 2**20:+.2f} MiB a minute after the first"),
            ("memory, growth", f"{growth - 1:+.1%} after the first minute (at most {MOST_GROWTH - 1:.0%})"),
        ]
    )
    for error in tally.errors[:5]:
        print(f"  error: {error}")
    return not tally.errors and not warm.errors and growth <= MOST_GROWTH and len(latencies) > 0


def _percents(shares: Sequence[float]) -> str:
    return ", ".join(f"{share:.0%}" for share in shares)


def memory_growth(samples: Sequence[tuple[float, int, int]]) -> tuple[float, float, tuple[int, int]]:
    """Growth after the first minute as a factor, slope in bytes a minute, the server's most and the children's median.

    Of a run of less than five minutes the first fifth takes the place of the first minute. A child that is just being
    started looks as large as the server for a moment, so that a most of children would say nothing.
    """
    seconds = np.array([one[0] for one in samples])
    totals = np.array([one[1] + one[2] for one in samples], np.float64)
    settled = min(60.0, 0.2 * seconds[-1])
    width = max(5.0, 0.1 * seconds[-1])
    after = seconds >= settled
    base = float(np.median(totals[after & (seconds < settled + width)]))
    end = float(np.median(totals[seconds > seconds[-1] - width]))
    slope = float(np.polyfit(seconds[after], totals[after], 1)[0]) * 60
    children = int(statistics.median(one[2] for one in samples))
    return end / base, slope, (max(one[1] for one in samples), children)


def enrollable(url: str, recordings: Sequence[Recording]) -> list[list[Path]]:
    """Pairs of recordings of one speaker that the service takes for an enrolment."""
    by_speaker: dict[str, list[Recording]] = {}
    for one in recordings:
        by_speaker.setdefault(one.speaker, []).append(one)
    taken = []
    with Client(url, retries=0) as client:
        for number, several in enumerate(by_speaker.values()):
            for pair in zip(several[::2], several[1::2], strict=False):
                paths = [one.path for one in pair]
                try:
                    client.enrol(f"trial-{number}", paths)
                except ClipsRefusedError:
                    continue
                client.erase(f"trial-{number}")
                taken.append(paths)
    return taken


def survive_kills(store: Path, recordings: Sequence[Recording], given: argparse.Namespace) -> bool:
    """Kill the service while people are enrolled, start it again, look for them; says whether all was well."""
    generator = random.Random(1)
    lost: list[str] = []
    halves: list[str] = []
    errors: list[str] = []
    acknowledged: dict[str, int] = {}
    tried: set[str] = set()
    lock = threading.Lock()
    with Service(store, options=_SERVICE_OPTIONS) as service:
        pairs = enrollable(service.url, recordings)
    for kill in range(given.kills):
        service = Service(store, options=_SERVICE_OPTIONS)
        stop = threading.Event()

        def enrol(number: int, url: str = service.url, kill: int = kill, stop: threading.Event = stop) -> None:
            with Client(url, retries=0) as client:
                for turn in range(10**6):
                    if stop.is_set():
                        return
                    clips = pairs[(number * 7 + turn) % len(pairs)]
                    speaker = f"load-{kill}-{number}-{turn}"
                    with lock:
                        tried.add(speaker)
                    try:
                        answer = client.enrol(speaker, clips)
                    except UnreachableServiceError:
                        return
                    except VecsvError as error:
                        with lock:
                            errors.append(str(error))
                        return
                    with lock:
                        acknowledged[speaker] = answer.added

        threads = [threading.Thread(target=enrol, args=(number,)) for number in range(given.clients)]
        for thread in threads:
            thread.start()
        time.sleep(generator.uniform(2.0, 5.0))
        service.kill()
        stop.set()
        for thread in threads:
            thread.join()
        with Service(store, options=_SERVICE_OPTIONS) as again, again.client() as client:
            there = {person.speaker: person.enrolled for person in client.speakers()}
        lost += [speaker for speaker, clips in acknowledged.items() if there.get(speaker) != clips]
        halves += [speaker for speaker in tried if there.get(speaker, 0) not in {0, 2}]
    unanswered = tried - acknowledged.keys()
    table(
        [
            ("kills (SIGKILL) under load", f"{given.kills}"),
            ("enrolments acknowledged", f"{len(acknowledged)}"),
            ("of them gone afterwards", f"{len(set(lost))}"),
            ("not acknowledged", f"{len(unanswered)}, of which {len(unanswered & there.keys())} are there"),
            ("there by half", f"{len(set(halves))}"),
            ("other errors", f"{len(errors)}"),
        ]
    )
    for error in errors[:5]:
        print(f"  error: {error}")
    return not lost and not halves and not errors and bool(acknowledged)


def table(rows: Sequence[tuple[str, str]]) -> None:
    """Print names and values."""
    width = max(len(name) for name, _ in rows)
    print()
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
    print(flush=True)


def main() -> None:
    """Measure, print, and end with 1 when something was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, help="folder with dev.tsv; by default synthetic voices are made")
    parser.add_argument("--minutes", type=float, default=5.0, help="how long the service is asked")
    parser.add_argument("--clients", type=int, default=8, help="how many ask at once")
    parser.add_argument("--kills", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="serve-load-") as scratch:
        folder = Path(scratch)
        store = Store(folder / "store")
        store.embed(material(given.speech, folder))
        store.build_index()
        store.calibrate()
        recordings, questions = questions_of(store.folder, seed=0)
        batch = folder / "batch.tsv"
        batch.write_text("".join(f"{one.path}\t{one.speaker}\n" for one in recordings), encoding="utf-8")
        audio_s = sum(one.seconds for one in recordings)
        print(f"{len(questions)} questions about {len(recordings)} recordings, {audio_s / 60:.1f} minutes", flush=True)
        with Service(store.folder, options=_SERVICE_OPTIONS) as service:
            embedder = store.embedder()
            well = measure_load(
                service, questions, audio_s, lambda seconds: embed_for(seconds, batch, audio_s, embedder), given
            )
            status = service.end()
            print(f"told to end, it ended with {status}")
        well = survive_kills(store.folder, recordings, given) and well and status == 0
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
