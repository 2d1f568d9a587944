"""What a cold start imports: that is what a person waits for. Times are measured in benchmarks, never here."""

import json
import subprocess
import sys
from pathlib import Path

HEAVY = {"torch", "torchaudio", "transformers", "openvino", "scipy", "pandas", "onnx", "sklearn"}


def imported_by(*words: str) -> set[str]:
    """Top-level packages a command line has imported when it ends."""
    script = (
        "import atexit, json, sys\n"
        "names = lambda: sorted({name.partition('.')[0] for name in sys.modules})\n"
        "atexit.register(lambda: sys.stderr.write('\\n' + json.dumps(names())))\n"
        f"sys.argv = ['vecsv', *{list(words)!r}]\n"
        "from vecsv.cli.app import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return set(json.loads(done.stderr.splitlines()[-1]))


def two_recordings(voices: Path) -> list[str]:
    return [str(path) for path in sorted(voices.rglob("*.wav"))[:2]]


def test_help_imports_nothing_heavy() -> None:
    assert not imported_by("--help") & (HEAVY | {"numpy", "pyarrow", "onnxruntime", "faiss", "soundfile", "yaml"})


def test_verify_imports_no_torch_no_faiss_and_no_arrow(voices: Path, ge2e_folder: Path, tmp_path: Path) -> None:
    found = imported_by("verify", *two_recordings(voices), "--store", str(tmp_path))
    assert "onnxruntime" in found
    assert not found & (HEAVY | {"faiss", "pyarrow"})


def test_the_whole_way_runs_without_torch(voices: Path, ge2e_folder: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    first, _ = two_recordings(voices)
    for words in (
        ["embed", "--manifest", str(voices / "train.tsv"), "--store", store],
        ["index", "build", "--store", store],
        ["calibrate", "--store", store],
        ["search", first, "--store", store],
        ["enroll", "--speaker", "zoe", first, "--store", store],
        ["verify", first, "--speaker", "zoe", "--store", store],
        ["erase", "--speaker", "zoe", "--yes", "--store", store],
    ):
        assert not imported_by(*words) & {"torch", "torchaudio", "transformers", "openvino"}, words
