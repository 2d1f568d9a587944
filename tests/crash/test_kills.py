"""Kill -9 at random moments, twenty times, and go on: nothing is lost, nothing comes twice, readers see wholes only."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.crash.writer import SETTINGS
from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.sounds import noise, write
from tests.fixtures.stores import read_content, require_whole, strangers, write_speakers
from vecsv.embedding.run import embed_manifest
from vecsv.store.generation import latest
from vecsv.store.reader import Snapshot, read_consistently
from vecsv.store.schema import vectors_of

ROOT = Path(__file__).parents[2]
KILLS = 20


class Reader:
    """Opens a store over and over while others write, and takes down every state that was not whole."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._stop = threading.Event()
        self.looks = 0
        self.problems: list[str] = []

    def look(self) -> None:
        """Look until told to stop."""
        rows_before = 0
        while not self._stop.is_set():
            time.sleep(0.02)
            if latest(self._store) is None:
                continue
            try:
                rows = read_consistently(self._store, self._read)
            except Exception as error:
                self.problems.append(repr(error))
                continue
            if rows < rows_before:
                self.problems.append(f"{rows} rows after {rows_before}")
            rows_before = rows
            self.looks += 1

    def _read(self, snapshot: Snapshot) -> int:
        tables = list(snapshot.iterate(["row_id", "utt_id", "embedding"]))
        row_ids = [row_id for table in tables for row_id in table.column("row_id").to_pylist()]
        utt_ids = {utt_id for table in tables for utt_id in table.column("utt_id").to_pylist()}
        lengths = [float(abs(vectors_of(table.column("embedding")) ** 2).sum(1).min()) for table in tables]
        if row_ids != list(range(snapshot.generation.next_row_id)) or len(utt_ids) != len(row_ids):
            self.problems.append(f"generation {snapshot.generation.number} has rows {row_ids}")
        if any(not 0.999 < length < 1.001 for length in lengths):
            self.problems.append(f"generation {snapshot.generation.number} has vectors of length {min(lengths)}")
        if snapshot.failures().num_rows != snapshot.generation.failed_rows:
            self.problems.append(f"generation {snapshot.generation.number} has another ledger")
        return len(row_ids)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look in a thread beside the block."""
        thread = threading.Thread(target=self.look)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


def _corpus(folder: Path) -> Path:
    """280 recordings of 20 speakers, with bad ones, bad rows and an id that comes twice among them."""
    manifest = write_speakers(folder, 20, 14)
    rows = manifest.read_text(encoding="utf-8").splitlines()
    (folder / "speaker-003" / "005.wav").write_bytes(b"")
    (folder / "speaker-011" / "001.wav").write_text("this is no recording\n", encoding="utf-8")
    write(folder / "speaker-015" / "002.wav", noise(1.0, rms=1e-4))
    rows[100:100] = ["nowhere/000.wav\tnobody", "a row of one column", rows[7]]
    rows.append(rows[200])
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return manifest


def _run_and_kill(command: list[str], generator: random.Random) -> int:
    """Start a writer and kill it at a random moment after it has started; returns its exit status."""
    # Unbuffered on this side too, so that a line is here when it was said.
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(1 + generator.randrange(2)):
            process.stdout.readline()
        time.sleep(generator.uniform(0.0, 0.06))
        process.send_signal(signal.SIGKILL)
        process.stdout.read()
    return process.returncode


def test_a_run_killed_twenty_times_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    manifest = _corpus(tmp_path / "corpus")
    undisturbed = tmp_path / "undisturbed"
    embed_manifest(manifest, undisturbed, SpectralEmbedder(), SETTINGS)
    store = tmp_path / "store"
    generator = random.Random(7)
    command = [sys.executable, "-m", "tests.crash.writer", str(manifest), str(store)]
    reader = Reader(store)
    left_over = 0
    with reader.looking():
        for kill in range(KILLS):
            # Every fourth strikes in the midst of a commit for certain, and leaves a file that has no name yet.
            amid_commit = [str(generator.randrange(2, 12))] if kill % 4 == 3 else []
            if amid_commit:
                status = subprocess.run([*command, *amid_commit], cwd=ROOT, capture_output=True, check=False).returncode
            else:
                status = _run_and_kill(command, generator)
            assert status == -signal.SIGKILL, "the run came to its end before it could be killed"
            left_over += bool(store.is_dir() and latest(store) and strangers(store))
        last = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert left_over > 0
    assert reader.problems == []
    assert reader.looks > KILLS

    assert require_whole(store) == read_content(undisturbed)
    assert len(read_content(store).failures) == 7
    assert strangers(store) == []


def test_the_command_line_killed_and_repeated_ends_as_undisturbed(
    voices: Path, tmp_path: Path, ge2e_folder: Path
) -> None:
    rows = (voices / "train.tsv").read_text(encoding="utf-8").splitlines()[:40]
    manifest = tmp_path / "some.tsv"
    manifest.write_text("".join(f"{voices}/{row}\n" for row in rows), encoding="utf-8")
    command = [sys.executable, "-m", "vecsv", "embed", "--model", str(ge2e_folder), "--manifest", str(manifest)]
    undisturbed, store = tmp_path / "undisturbed", tmp_path / "store"
    started = time.monotonic()
    subprocess.run([*command, "--store", str(undisturbed)], cwd=ROOT, check=True, capture_output=True)
    took = time.monotonic() - started
    generator = random.Random(11)
    killed = 0
    for share in (0.35, 0.6, 0.8, 0.95):
        with subprocess.Popen([*command, "--store", str(store)], cwd=ROOT, stderr=subprocess.PIPE) as process:
            time.sleep(took * share * generator.uniform(0.9, 1.0))
            process.send_signal(signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
        if latest(store) is not None:
            require_whole(store)
    assert killed >= 2
    last = subprocess.run([*command, "--store", str(store)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert require_whole(store) == read_content(undisturbed)
    assert strangers(store) == []
