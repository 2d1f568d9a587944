"""The service as a process of its own, and what a page did while it was looked at."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import IO
from urllib.parse import urlsplit

import numpy as np
import soundfile

STARTS_WITHIN_S = 90
ENDS_WITHIN_S = 30


@contextmanager
def serving(*options: str | Path) -> Iterator[str]:
    """Run ``vecsv serve`` on a free port of the loopback; gives its address."""
    command = [sys.executable, "-m", "vecsv", "serve", "--port", "0", *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", env=environment
    )
    lines: Queue[str] = Queue()
    assert process.stdout is not None
    reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
    reader.start()
    try:
        yield _address(lines)
    finally:
        process.terminate()
        try:
            process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()


def _read(stream: IO[str], lines: Queue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def _address(lines: Queue[str]) -> str:
    """What the service says of where it is."""
    said = []
    while True:
        try:
            line = lines.get(timeout=STARTS_WITHIN_S)
        except Empty:
            raise AssertionError("the service did not say where it is:\n" + "".join(said)) from None
        assert line, "the service ended:\n" + "".join(said)
        said.append(line)
        found = re.search(r"serving at (https?://\S+)", line)
        if found:
            return found[1]


@dataclass
class Watch:
    """What a page asked for and complained of.

    Attributes
    ----------
    origin : str
        The service's.
    refusals : set of int
        Statuses the test expects; a browser complains of each.
    complaints : list of str
        Errors and warnings of the console, defects of the page, and breaches of its content policy.
    elsewhere : list of str
        Addresses of other origins it asked.
    """

    origin: str
    refusals: set[int] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def heard(self, kind: str, text: str) -> None:
        """Note what the console says."""
        refused = re.search(r"the server responded with a status of (\d+)", text)
        if kind in {"error", "warning"} and not (refused and int(refused[1]) in self.refusals):
            self.complaints.append(f"{kind}: {text}")

    def asked(self, url: str) -> None:
        """Note a request."""
        if not url.startswith(("blob:", "data:")) and origin_of(url) != self.origin:
            self.elsewhere.append(url)


def origin_of(url: str) -> str:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True)
class Microphone:
    """The file that the browser takes for a microphone; it is opened anew for each recording."""

    file: Path

    def hear(self, *recordings: Path) -> float:
        """Let these recordings be what is said next, one after the other, then silence; gives their length in s."""
        parts, rate = [], 0
        for recording in recordings:
            samples, rate = soundfile.read(recording, dtype="float32")
            parts.append(samples)
        spoken = np.concatenate(parts)
        soundfile.write(self.file, spoken, rate, "PCM_16", format="WAV")
        return len(spoken) / rate
