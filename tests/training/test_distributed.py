from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from tests.training.corpora import write_corpus  # noqa: E402
from vecsv.training.records import read_history  # noqa: E402
from vecsv.training.state import load_state  # noqa: E402

# BatchNorms that learn would see half a batch each; frozen, two processes compute what one does.
_TRAINING = """
import sys
from pathlib import Path
import torch
from tests.training.corpora import small_config
from vecsv.training.run import prepared
from vecsv.training.settings import TrainSettings

torch.set_num_threads(1)
manifest, dev, out = map(Path, sys.argv[1:])
config = small_config(
    augmentation={"speed": {}, "gain": {}, "spectrum": {}},
    run={"epochs": 2, "frozen_norms": True},
    data={"epoch_crops": 40, "held_out": "utterances"},
)
wanted = TrainSettings(config=config, manifest=manifest, dev=dev, out=out, name="ours", workers=0, device="cpu")
with prepared(wanted) as run:
    run.learn()
"""


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _trained(processes: int, manifest: Path, dev: Path, out: Path) -> Path:
    shared = {**os.environ, "VECSV_CACHE": str(out.parent / "cache"), "OMP_NUM_THREADS": "1"}
    if processes > 1:
        port = str(_free_port())
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(processes)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _TRAINING, str(manifest), str(dev), str(out)],
            env=shared | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    for process in started:
        _, complaint = process.communicate(timeout=200)
        assert process.returncode == 0, complaint
    return out


def test_two_processes_learn_what_one_does_when_norms_are_frozen(tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "corpus", speakers=range(6), takes=4)
    dev = write_corpus(tmp_path / "dev", speakers=range(6, 9), takes=3)
    one, two = (_trained(count, manifest, dev, tmp_path / f"run{count}") for count in (1, 2))
    for ours, theirs in zip(read_history(one), read_history(two), strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)
        assert ours.accuracy == theirs.accuracy
        assert ours.dev_eer == pytest.approx(theirs.dev_eer, abs=1e-6)
        assert ours.held_out_accuracy == theirs.held_out_accuracy
    first, second = load_state(one), load_state(two)
    assert first is not None and second is not None
    assert first.step == second.step == 10
    for name, tensor in first.learner.items():
        # What is added to all scores of a channel is lost in their softmax: nothing but rounding moves it.
        if name == "network.attention.scores.bias":
            continue
        assert torch.allclose(tensor, second.learner[name], atol=1e-3), name
