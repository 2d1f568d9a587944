"""The states a store may be found in while an operation is under way, and checks that it is in one of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from tests.crash.operations import ERASED, OPERATIONS, prepare, run
from tests.fixtures.stores import Content, read_content, require_whole, strangers, traces
from vecsv.errors import StoreError
from vecsv.query.erase import UNDER_WAY
from vecsv.store.generation import latest
from vecsv.store.writing import RECEIPTS, writer

EMPTY = Content(rows=(), failures=(), indexed=None, calibrations={}, enrolments=())


@dataclass(frozen=True)
class Course:
    """What an operation does to a store when nothing comes in between.

    Attributes
    ----------
    states : tuple of Content or None
        Each state it commits, from the first to the last; None where there is no store yet.
    acknowledged : tuple of (str, int)
        What it acknowledges, and the place of the state it did so in.
    """

    states: tuple[Content | None, ...]
    acknowledged: tuple[tuple[str, int], ...]

    @property
    def final(self) -> Content:
        """The last state."""
        last = self.states[-1]
        assert last is not None
        return last


def course_of(ground: Path, operation: str, scratch: Path) -> Course:
    """Run an operation undisturbed on a copy of the ground's store, and note every state it commits."""
    store = scratch / "undisturbed"
    prepare(ground, operation, store)
    states: list[Content | None] = [content_of(store)]
    if states == [None]:
        # The first thing anything does is to make an empty store.
        states.append(EMPTY)
    acknowledged: list[tuple[str, int]] = []

    def note() -> None:
        found = read_content(store)
        before = states[-1]
        if operation == "erase" and before is not None:
            # Enrolments are a database of their own and go first; a mark then says that there is more to erase.
            states.append(replace(before, enrolments=found.enrolments))
        if found != states[-1]:
            states.append(found)

    def acknowledge(what: str) -> None:
        note()
        acknowledged.append((what, len(states) - 1))

    OPERATIONS[operation](ground, store, acknowledge)
    # What is left over at the end of a run is committed after the last word of it.
    if require_whole(store) != states[-1]:
        note()
    assert strangers(store) == []
    shutil.rmtree(store)
    return Course(tuple(states), tuple(acknowledged))


def content_of(store: Path) -> Content | None:
    """What a store holds; None where there is none."""
    return None if latest(store) is None else read_content(store)


def require_legal(course: Course, store: Path, acknowledged: list[str]) -> None:
    """Fail unless a store is whole, in one of the states it may be in, and holds all that was acknowledged."""
    found = None if latest(store) is None else require_whole(store)
    assert found in course.states
    promised = course.acknowledged[: len(acknowledged)]
    assert acknowledged == [what for what, _ in promised]
    assert course.states.index(found) >= max((state for _, state in promised), default=0)


def require_completion(course: Course, ground: Path, operation: str, store: Path) -> None:
    """Fail unless running the same command again leaves what an undisturbed run leaves, and nothing else."""
    try:
        run(ground, operation, store)
    except StoreError as error:
        # Cut off after its last step, an erasure has nothing left to complete, and says whom it cannot find.
        assert operation == "erase"
        assert "no speaker is called" in str(error)
        assert not (store / UNDER_WAY).exists()
        assert list((store / RECEIPTS).glob("*.json"))
    assert require_whole(store) == course.final
    if operation.endswith("enroll"):
        # Enrolling takes no turn among the writers, so it leaves the tidying to the next one.
        with writer(store):
            pass
    assert strangers(store) == []
    if operation == "erase":
        before = course.states[0]
        assert before is not None
        theirs = [row["embedding"] for row in before.rows if row["speaker"] == ERASED]
        theirs += [one[-1] for one in before.enrolments if one[0] == ERASED]
        assert traces(store, [ERASED], theirs) == []
    if operation == "seal":
        before = course.states[0]
        assert before is not None
        paths = [one[2] for one in before.enrolments]
        assert len(paths) == 2
        assert traces(store, paths, [one[-1] for one in before.enrolments]) == []
