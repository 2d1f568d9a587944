"""Dies, really, at each call of an operation in turn: ``python -m tests.crash.dying HOW GROUND SCRATCH OPERATION...``.

Starting Python a few hundred times would take minutes, so this process only imports, and forks a child for each
death. `HOW` is ``python`` (`os._exit` in place of a call of `tests.crash.faults.CALLS`) or ``shim`` (with ``shim.c``
preloaded: any such call, also those that SQLite makes in C). For each operation and each of its calls, the store it
leaves lies in ``SCRATCH/OPERATION/NUMBER``, and what it acknowledged in ``NUMBER.said`` beside it, a line each.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

# Imported before the forks, whose children then start at once; none of them starts a thread by being imported.
import faiss  # noqa: F401
import pyarrow.compute
import pyarrow.parquet  # noqa: F401
import webrtcvad  # noqa: F401

from tests.crash.faults import striking
from tests.crash.operations import OPERATIONS, prepare

DEAD = 97


def die_at_each_call(how: str, ground: Path, scratch: Path, operation: str) -> int:
    """Returns how many calls there were, and so how many deaths."""
    at = 0
    while True:
        at += 1
        store = scratch / operation / str(at)
        store.parent.mkdir(parents=True, exist_ok=True)
        prepare(ground, operation, store)
        child = os.fork()
        if child == 0:
            _die(how, at, ground, operation, store)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            return at - 1
        if status != DEAD:
            raise RuntimeError(f"{operation} ended with {status} instead of dying at call {at}")


def _die(how: str, at: int, ground: Path, operation: str, store: Path) -> None:
    said = os.open(store.with_suffix(".said"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def acknowledge(what: str) -> None:
        os.write(said, f"{what}\n".encode())

    status = 1
    try:
        if how == "shim":
            ctypes.CDLL(None).shim_arm(at)
            OPERATIONS[operation](ground, store, acknowledge)
        else:
            with striking(at, lambda: os._exit(DEAD)):
                OPERATIONS[operation](ground, store, acknowledge)
        status = 0
    except BaseException as error:
        sys.stderr.write(f"{operation}, call {at}: {error!r}\n")
    finally:
        sys.stderr.flush()
        os._exit(status)


def main() -> None:
    """Die as the command line says."""
    how, ground, scratch, *operations = sys.argv[1:]
    for operation in operations:
        calls = die_at_each_call(how, Path(ground), Path(scratch), operation)
        print(operation, calls, flush=True)


if __name__ == "__main__":
    main()
