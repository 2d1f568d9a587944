"""Running what a foreign model asks for in a process of its own, with bounded memory and time.

A network may ask for more memory than there is, run for ever, or bring its runtime down; none of that may happen to the
process that a person waits for. The child is a module of this package run as a program: it reads a question as JSON
from standard input (`answer`) and writes what it found to standard output.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vecsv.errors import ModelError, VecsvError


def ask(module: str, question: Mapping[str, Any], *, where: str, time_limit_s: float, memory: int) -> dict[str, Any]:
    """Put a question to a module of vecsv in a process of its own.

    Parameters
    ----------
    module : str
        Its full name; run as a program it calls `answer`.
    question : mapping
        JSON values.
    where : str
        What to call the model in errors.
    time_limit_s : float
        Seconds after which the process is ended.
    memory : int
        Bytes of address space that it may use.

    Returns
    -------
    dict
        The answer.

    Raises
    ------
    ModelError
        When the process refused the model, ran out of time or memory, or broke down.
    """
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        # -P: a module of the working directory must not come before the ones that are meant.
        finished = subprocess.run(
            [sys.executable, "-P", "-m", module],
            input=json.dumps({"memory": memory, "question": dict(question)}),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=time_limit_s,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"its network ran for {time_limit_s:g} s without an end on a few seconds of sound", where=where
        ) from error
    try:
        found = json.loads(finished.stdout)
    except ValueError as error:
        raise ModelError(
            f"its network cannot be run: trying it ended with status {finished.returncode}, most likely for want of "
            "memory",
            where=where,
        ) from error
    if "refused" in found:
        raise ModelError(str(found["refused"]), where=where, hint=found.get("hint"))
    return dict(found)


def answer(find_out: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """Answer the question on standard input: what `ask` runs in the child.

    Parameters
    ----------
    find_out : callable
        Takes the question and gives the answer; what it raises becomes the refusal.
    """
    asked = json.load(sys.stdin)
    # What a runtime prints must not mix with the answer.
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _limit_memory(asked["memory"])
    try:
        found = dict(find_out(asked["question"]))
    except VecsvError as error:
        found = {"refused": error.what, "hint": error.hint}
    except MemoryError:
        found = {"refused": "its network needs more memory than any speaker model"}
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        found = {"refused": f"its network cannot be run: {(lines or [type(error).__name__])[0][:300]}"}
    with os.fdopen(output, "w", encoding="utf-8") as stream:
        json.dump(found, stream)


def _limit_memory(most: int) -> None:
    """Bound this process's address space, where the system can."""
    try:
        import resource
    except ImportError:
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    # Some systems know the limit and do not let it be set.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
