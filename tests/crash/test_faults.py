"""A disk that fails at one call: the store stays whole, the error is one line, and running again completes."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.crash.faults import failing
from tests.crash.operations import OPERATIONS, prepare, run
from tests.crash.states import course_of, require_completion, require_legal
from vecsv.errors import VecsvError


def _calls(ground: Path, operation: str, store: Path) -> int:
    prepare(ground, operation, store)
    with failing(0, errno.EIO) as striker:
        run(ground, operation, store)
    return striker.calls


# Enrolling in a store that is there already, and sealing, go through SQLite alone, whose calls are in C: see
# test_crashes.py.
@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in {"enroll", "seal"}])
def test_a_fault_at_any_sync_rename_or_link_leaves_a_whole_store_and_a_second_run_completes(
    ground: Path, tmp_path: Path, operation: str
) -> None:
    course = course_of(ground, operation, tmp_path)
    calls = _calls(ground, operation, tmp_path / "counted")
    assert calls >= 4
    for at in range(1, calls + 1):
        store = tmp_path / str(at)
        prepare(ground, operation, store)
        acknowledged: list[str] = []
        with failing(at, (errno.EIO, errno.ENOSPC)[at % 2]) as striker:
            try:
                OPERATIONS[operation](ground, store, acknowledged.append)
            except VecsvError as error:
                assert "\n" not in str(error)
            else:
                # Only what adds nothing to a finished operation may fail unnoticed.
                assert acknowledged == [what for what, _ in course.acknowledged]
        assert striker.calls >= at
        require_legal(course, store, acknowledged)
        require_completion(course, ground, operation, store)
