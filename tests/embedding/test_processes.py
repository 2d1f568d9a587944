"""One process for each device: real processes, a real model, real deaths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.stores import write_speakers
from vecsv.arrays import Vectors
from vecsv.audio.windows import Kept, WindowRule
from vecsv.embedding.processes import DeviceProcesses, workers_of_each
from vecsv.embedding.run import EmbedSettings, embed_manifest
from vecsv.errors import AudioError, ModelError, VecsvError
from vecsv.models.protocol import Embedder, Prepared
from vecsv.store.parts import failed_rows
from vecsv.store.reader import Snapshot
from vecsv.store.schema import DESCRIPTION

ROOT = Path(__file__).resolve().parents[2]
DEVICES = ("cpu", "cpu")

# What children call has to be importable, so it stands at the top of this file.


def load(device: str) -> Embedder:
    return SpectralEmbedder()


def load_nothing(device: str) -> Embedder:
    raise ModelError("is damaged", where="model.onnx", hint="pull the model again")


class Mortal(SpectralEmbedder):
    """Takes its process with it when it is given its third batch."""

    batches = 0

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        self.batches += 1
        if self.batches == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed(prepared)


def load_mortal(device: str) -> Embedder:
    return Mortal()


def load_and_die(device: str) -> Embedder:
    os._exit(7)


def process_and_item(embedder: Embedder, item: int) -> tuple[int, int]:
    # The earlier an item, the longer it takes: what is done first must not come first.
    time.sleep(0.02 / (item + 1))
    return os.getpid(), item


def die_at_five(embedder: Embedder, item: int) -> int:
    if item == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def refuse(embedder: Embedder, item: int) -> int:
    raise AudioError("no-speech", "no speech was found in it", where="a.wav", hint="try another")


def stumble(embedder: Embedder, item: int) -> int:
    raise ZeroDivisionError("a defect")


def content(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = Snapshot.open(folder).table([*DESCRIPTION, "embedding"]).to_pylist()
    return rows


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = write_speakers(tmp_path / "audio", 4, 6)
    path.write_text(path.read_text() + "absent.wav\tann\nonly-one-column\n")
    return path


def test_results_come_in_the_order_of_the_items_from_all_processes() -> None:
    with DeviceProcesses(load, DEVICES, workers=2) as processes:
        results = list(processes.map(process_and_item, range(60)))
    assert [item for _, item in results] == list(range(60))
    pids = {pid for pid, _ in results}
    assert len(pids) == 2 and os.getpid() not in pids


def test_items_are_taken_only_a_bounded_number_ahead() -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    with DeviceProcesses(load, DEVICES) as processes:
        results = processes.map(process_and_item, endless())
        for _ in range(10):
            next(results)
        assert taken < 10 + 40


def test_nothing_to_do_gives_nothing() -> None:
    with DeviceProcesses(load, DEVICES) as processes:
        assert list(processes.map(process_and_item, [])) == []


def test_the_store_is_the_one_that_a_single_process_makes(manifest: Path, tmp_path: Path) -> None:
    settings = EmbedSettings(rows_per_shard=9, seconds_per_commit=1e6)
    alone = embed_manifest(manifest, tmp_path / "alone", SpectralEmbedder(), settings)
    with DeviceProcesses(load, DEVICES) as processes:
        among = embed_manifest(manifest, tmp_path / "among", processes.embedder, settings, devices=processes)
    assert (among.embedded, among.failed, among.audio_s) == (alone.embedded, alone.failed, alone.audio_s) == (24, 2, 24)
    assert content(tmp_path / "among") == content(tmp_path / "alone")
    ledgers = [failed_rows(Snapshot.open(tmp_path / name).failures()) for name in ("among", "alone")]
    assert ledgers[0] == ledgers[1]
    shards = [[part.sha256 for part in Snapshot.open(tmp_path / name).generation.shards] for name in ("among", "alone")]
    assert shards[0] == shards[1]


@pytest.mark.parametrize("kept", list(Kept))
def test_windows_are_cut_in_the_children_as_in_a_single_process(kept: Kept, manifest: Path, tmp_path: Path) -> None:
    settings = EmbedSettings(windows=WindowRule(0.6, 0.2, kept))
    alone = embed_manifest(manifest, tmp_path / "alone", SpectralEmbedder(), settings)
    with DeviceProcesses(load, DEVICES) as processes:
        among = embed_manifest(manifest, tmp_path / "among", processes.embedder, settings, devices=processes)
    assert among.embedded == alone.embedded == 24
    assert content(tmp_path / "among") == content(tmp_path / "alone")


def test_a_run_is_taken_up_where_it_stopped(manifest: Path, tmp_path: Path) -> None:
    embed_manifest(manifest, tmp_path / "store", SpectralEmbedder())
    rows = manifest.read_text()
    write_speakers(manifest.parent, ["zoe"], 1)
    manifest.write_text(rows + "zoe/000.wav\tzoe\n")
    with DeviceProcesses(load, DEVICES) as processes:
        again = embed_manifest(manifest, tmp_path / "store", processes.embedder, devices=processes)
    assert (again.embedded, again.embedded_before, again.failed, again.failed_before) == (1, 24, 0, 2)
    assert [row["row_id"] for row in content(tmp_path / "store")] == list(range(25))


def test_a_model_that_cannot_be_loaded_is_the_childs_error_in_the_parent() -> None:
    with pytest.raises(ModelError, match=r"model.onnx: is damaged \(pull the model again\)"):
        DeviceProcesses(load_nothing, DEVICES).__enter__()


def test_a_child_that_dies_while_loading_is_an_error_that_names_its_device() -> None:
    with pytest.raises(VecsvError, match=r"the process for cpu ended before its work was done \(exit code 7\)"):
        DeviceProcesses(load_and_die, DEVICES).__enter__()


def test_a_child_that_dies_at_work_is_an_error_and_what_was_done_is_there() -> None:
    done = []
    with DeviceProcesses(load, ["cpu"]) as processes:  # noqa: SIM117
        with pytest.raises(VecsvError, match=r"the process for cpu ended .*signal 9.*what was finished is kept"):
            done.extend(processes.map(die_at_five, range(100)))
    assert done == list(range(len(done))) and len(done) <= 5


def test_a_run_whose_child_dies_keeps_what_came_before_and_is_taken_up_by_the_next(tmp_path: Path) -> None:
    manifest = write_speakers(tmp_path / "audio", 8, 8)
    embed_manifest(manifest, tmp_path / "alone", SpectralEmbedder())
    expected = content(tmp_path / "alone")
    with DeviceProcesses(load_mortal, DEVICES) as processes:  # noqa: SIM117
        with pytest.raises(VecsvError, match="signal 9"):
            embed_manifest(manifest, tmp_path / "store", processes.embedder, devices=processes)
    kept = content(tmp_path / "store")
    assert len(kept) < len(expected) and kept == expected[: len(kept)]
    with DeviceProcesses(load, DEVICES) as processes:
        again = embed_manifest(manifest, tmp_path / "store", processes.embedder, devices=processes)
    assert again.embedded_before == len(kept)
    assert content(tmp_path / "store") == expected


def test_no_child_outlives_the_with_statement() -> None:
    with DeviceProcesses(load, DEVICES) as processes:
        pids = {pid for pid, _ in processes.map(process_and_item, range(20))}
    assert not any(alive(pid) for pid in pids)


def test_a_refusal_at_work_is_an_error_of_vecsv_and_a_defect_is_not() -> None:
    with DeviceProcesses(load, ["cpu"]) as processes, pytest.raises(VecsvError, match=r"a\.wav: no speech was found"):
        list(processes.map(refuse, [1]))
    with DeviceProcesses(load, ["cpu"]) as processes, pytest.raises(RuntimeError, match="ZeroDivisionError: a defect"):
        list(processes.map(stumble, [1]))


def test_cores_are_shared_among_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecsv.embedding.processes.usable_cores", lambda: 12)
    assert workers_of_each(["cpu", "cpu", "cpu"]) == 4
    # Half the threads wait for the GPU while the others prepare.
    assert workers_of_each(["cuda:0", "cuda:1"]) == 12
    assert workers_of_each(["cpu"] * 20) == 1


ENDLESS = """
import sys, time
from itertools import count
from tests.embedding.test_processes import DEVICES, DeviceProcesses, load, process_and_item
if __name__ == "__main__":
    with DeviceProcesses(load, DEVICES) as processes:
        for pid, item in processes.map(process_and_item, count()):
            print(pid, flush=True)
"""


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], set[int]]]:
    """A parent in its own process group that works without end, and the processes of its children."""
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdout is not None
    pids: set[int] = set()
    while len(pids) < 2:
        line = parent.stdout.readline()
        assert line, parent.stderr.read() if parent.stderr else ""
        pids.add(int(line))
    # Its output is read on, or it would stop at a full pipe.
    threading.Thread(target=parent.stdout.read, daemon=True).start()
    yield parent, pids
    parent.kill()
    parent.wait()


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone_within(pids: set[int], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while any(alive(pid) for pid in pids):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks /proc who is alive")
class TestEnds:
    def test_children_of_a_killed_parent_leave(self, endless: tuple[subprocess.Popen[str], set[int]]) -> None:
        parent, pids = endless
        assert all(alive(pid) for pid in pids)
        parent.kill()
        assert gone_within(pids, 30)

    def test_ctrl_c_ends_parent_and_children(self, endless: tuple[subprocess.Popen[str], set[int]]) -> None:
        parent, pids = endless
        # As a terminal does it: to the whole group.
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.wait(30) != 0
        assert gone_within(pids, 30)
        assert parent.stderr is not None
        # One traceback, the parent's own: children do not interrupt themselves.
        assert parent.stderr.read().count("KeyboardInterrupt") == 1
