"""Every hostile file is refused in one line, runs nothing, takes little memory and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.models.hostile import CASES

ROOT = Path(__file__).resolve().parents[2]

# Address space, most of it taken by Python, NumPy, ONNX and their threads' stacks; the files claim terabytes.
MEMORY = 3 * 2**29
PROCESSOR_SECONDS = 100

# In one process, so that Python starts once; a crash of one case would fail all.
DRIVER = """
import contextlib, io, json, os, resource, sys, traceback
from pathlib import Path

memory, seconds, base = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
from tests.models.hostile import CASES
from vecsv.cli.app import main

paths = {}
for number, (name, case) in enumerate(CASES.items()):
    folder = base / str(number)
    folder.mkdir()
    paths[name] = case.write(folder, base / f"ran-{number}")
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
found = {}
for number, (name, case) in enumerate(CASES.items()):
    os.environ["VECSV_CACHE"] = str(base / f"cache-{number}")
    sys.argv = ["vecsv", "models", "add", str(paths[name]), "--name", "mine", *case.options]
    out, err = io.StringIO(), io.StringIO()
    code = "none"
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        except BaseException:
            code = traceback.format_exc()
    models = base / f"cache-{number}" / "models"
    found[name] = {
        "code": code,
        "out": out.getvalue(),
        "err": err.getvalue(),
        "path": str(paths[name]),
        "ran": (base / f"ran-{number}").exists(),
        "left": sorted(os.listdir(models)) if models.is_dir() else [],
    }
escaped = [str(path) for path in base.rglob("*escaped*")]
print(json.dumps({"cases": found, "escaped": escaped, "torch": "torch" in sys.modules}))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the command line said to each case."""
    base = tmp_path_factory.mktemp("hostile")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    finished = subprocess.run(
        [sys.executable, "-c", DRIVER, str(MEMORY), str(PROCESSOR_SECONDS), str(base)],
        cwd=ROOT,
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_in_one_clear_line_and_leaves_nothing(name: str, said: Any) -> None:
    found = said["cases"][name]
    assert found["code"] == 2, found
    lines = found["err"].splitlines()
    # What was recognised may be told before.
    assert all(line.startswith("vecsv: recognised ") for line in lines[:-1])
    assert lines[-1].startswith("vecsv: ")
    assert CASES[name].words in lines[-1]
    assert len(lines[-1]) < 600
    assert found["path"] in lines[-1]
    assert found["out"] == ""
    assert not found["ran"]
    assert found["left"] == []


def test_no_file_was_written_outside_its_place(said: Any) -> None:
    assert said["escaped"] == []


def test_pytorch_had_no_part_in_it(said: Any) -> None:
    assert not said["torch"]


def test_the_code_in_the_files_would_run_elsewhere(tmp_path: Path) -> None:
    import pickle
    import zipfile

    marker = tmp_path / "ran"
    path = CASES["reduce ex, zip"].write(tmp_path, marker)
    with zipfile.ZipFile(path) as archive:
        pickle.loads(archive.read("weights/data.pkl"))
    assert marker.exists()
