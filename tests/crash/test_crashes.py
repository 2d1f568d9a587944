"""A process that dies at one call: the store stays whole, nothing acknowledged is lost, and a second run completes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.operations import OPERATIONS
from tests.crash.states import course_of, require_completion, require_legal

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """The compiled shim; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.mark.usefixtures("_key")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_death_at_any_sync_rename_link_or_unlink_loses_nothing_acknowledged(
    ground: Path, tmp_path: Path, shim: Path | None, operation: str
) -> None:
    if shim is None and operation in {"enroll", "seal"}:
        pytest.skip("needs Linux and a C compiler, to die inside SQLite")
    # Without the shim, death strikes in Python only: at the fewer calls that vecsv makes itself.
    how, environment = ("python", {}) if shim is None else ("shim", {"LD_PRELOAD": str(shim)})
    command = [sys.executable, "-m", "tests.crash.dying", how, str(ground), str(tmp_path), operation]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    name, deaths = done.stdout.split()
    assert name == operation
    assert int(deaths) >= (4 if shim is None else 8)

    course = course_of(ground, operation, tmp_path)
    for at in range(1, int(deaths) + 1):
        store = tmp_path / operation / str(at)
        said = store.with_suffix(".said").read_text(encoding="utf-8").splitlines()
        require_legal(course, store, said)
        require_completion(course, ground, operation, store)
