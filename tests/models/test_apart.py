from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vecsv.errors import ModelError
from vecsv.models import apart

LIMITS: dict[str, Any] = {"time_limit_s": 60.0, "memory": 4 << 30}
ABSENT = {"folder": "/absent"}


def test_what_breaks_down_is_an_error_of_ours() -> None:
    with pytest.raises(ModelError, match=r"^given: its network cannot be run: trying it ended with status 1"):
        apart.ask("vecsv.models.absent", {}, where="given", **LIMITS)


def test_what_is_refused_there_is_refused_here() -> None:
    with pytest.raises(ModelError, match=r"^given: cannot be read: No such file or directory$"):
        apart.ask("vecsv.models.selftest", ABSENT, where="given", **LIMITS)


def test_time_is_bounded() -> None:
    with pytest.raises(ModelError, match=r"^given: its network ran for 0.001 s without an end"):
        apart.ask("vecsv.models.selftest", ABSENT, where="given", time_limit_s=0.001, memory=4 << 30)


def test_memory_is_bounded(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    with (tmp_path / "bundle.json").open("wb") as file:
        file.truncate(2**29)
    question = {"folder": str(tmp_path)}
    with pytest.raises(ModelError, match=r"^given: its network needs more memory"):
        apart.ask("vecsv.models.selftest", question, where="given", time_limit_s=60.0, memory=2**28)


def test_a_module_of_the_working_directory_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numpy.py").write_text("raise SystemExit(7)")
    with pytest.raises(ModelError, match="No such file or directory"):
        apart.ask("vecsv.models.selftest", ABSENT, where="given", **LIMITS)
