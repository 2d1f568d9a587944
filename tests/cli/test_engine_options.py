"""``--engine``, ``--device`` and ``--precision``, where a command takes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run
from vecsv.store.reader import Snapshot
from vecsv.store.schema import DESCRIPTION

Recordings = dict[str, list[Path]]


@pytest.fixture
def manifest(recordings: Recordings, tmp_path: Path) -> Path:
    path = tmp_path / "few.tsv"
    path.write_text("".join(f"{one}\t{name}\n" for name, all_ in recordings.items() for one in all_[:2]))
    return path


@pytest.fixture
def pair(recordings: Recordings) -> list[Path]:
    return next(iter(recordings.values()))[:2]


def vectors(store: Path) -> np.ndarray:
    return np.array(Snapshot.open(store).table(["embedding"]).column(0).to_pylist())


def engine_of(store: Path) -> str:
    import pyarrow.parquet as pq

    (shard,) = (store / "embeddings").glob("*.parquet")
    return str(pq.read_schema(shard).metadata[b"vecsv.engine"].decode())


def test_verify_says_what_ran(run: Run, pair: list[Path], tmp_path: Path) -> None:
    shown = run("verify", *pair, "--store", tmp_path / "none", "--json").json["engine"]
    assert shown.startswith("onnxruntime ") and shown.endswith(", cpu, fp32")


@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_every_engine_gives_the_score_that_onnx_runtime_gives(
    engine: str, run: Run, pair: list[Path], tmp_path: Path
) -> None:
    pytest.importorskip(engine)
    words = ("verify", *pair, "--store", tmp_path / "none", "--json", "--engine")
    mine, theirs = (run(*words, name).json for name in ("onnxruntime", engine))
    assert theirs["engine"].startswith(f"{engine} ")
    assert theirs["score"] == pytest.approx(mine["score"], abs=1e-5)


def test_bf16_is_openvinos_and_each_shard_says_so(run: Run, manifest: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    stores = [tmp_path / "fp32", tmp_path / "bf16"]
    for store in stores:
        outcome = run("embed", "--manifest", manifest, "--store", store, "--precision", store.name, "--json")
        assert outcome.json["engine"] == engine_of(store)
    assert "onnxruntime" in engine_of(stores[0])
    assert engine_of(stores[1]).startswith("openvino ") and engine_of(stores[1]).endswith(", bf16")
    exact, near = map(vectors, stores)
    assert (exact * near).sum(axis=1).min() > 1 - 1e-3
    assert abs(exact - near).max() > 1e-6


def test_several_devices_make_the_same_store(run: Run, manifest: Path, tmp_path: Path) -> None:
    for name in ("cpu", "cpu,cpu"):
        outcome = run("embed", "--manifest", manifest, "--store", tmp_path / name, "--device", name)
        assert outcome.code == 0
        assert "engine onnxruntime" in " ".join(outcome.out.split())
    alone, among = (Snapshot.open(tmp_path / name) for name in ("cpu", "cpu,cpu"))
    columns = [*DESCRIPTION, "embedding"]
    assert among.table(columns).to_pylist() == alone.table(columns).to_pylist()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--engine", "tensorflow"], "there is no engine 'tensorflow' (engines: auto, onnxruntime, openvino, torch)"),
        (["--device", "tpu"], "there is no device 'tpu'"),
        (["--device", "cuda:x"], "there is no device 'cuda:x'"),
        (["--precision", "int4"], "there is no precision 'int4' (precisions: fp32, bf16, fp16)"),
        (["--precision", "fp16"], "fp16 is for GPUs"),
        (["--engine", "onnxruntime", "--precision", "bf16"], "ONNX Runtime does not compute in bf16 here"),
    ],
)
@pytest.mark.parametrize("command", ["embed", "verify", "search", "enroll", "eval"])
def test_what_cannot_be_is_one_line_that_says_what_can(
    command: str, words: list[str], says: str, run: Run, built: Path, manifest: Path, pair: list[Path], tmp_path: Path
) -> None:
    trials = tmp_path / "trials.txt"
    trials.write_text(f"1 {pair[0]} {pair[1]}\n")
    given = {
        "embed": ["--manifest", manifest, "--store", tmp_path / "new"],
        "verify": [*pair, "--store", tmp_path / "new"],
        "search": [pair[0], "--store", built],
        "enroll": [pair[0], "--speaker", "zoe", "--store", tmp_path / "new"],
        "eval": ["--trials", trials],
    }
    outcome = run(command, *given[command], *words)
    assert outcome.code == 2
    assert says in outcome.err and outcome.err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_several_devices_are_for_embedding_alone(run: Run, pair: list[Path], tmp_path: Path) -> None:
    outcome = run("verify", *pair, "--store", tmp_path / "none", "--device", "cpu,cpu")
    assert outcome.code == 2
    assert "several devices are for embedding a manifest (name one with --device)" in outcome.err


@pytest.mark.parametrize("words", [["--engine", "openvino"], ["--device", "auto"], ["--precision", "bf16"]])
def test_pairs_of_a_store_need_no_engine(words: list[str], run: Run, built: Path) -> None:
    outcome = run("eval", "--store", built, *words)
    assert outcome.code == 2
    assert f"{words[0]} does not go with pairs of a store" in outcome.err
