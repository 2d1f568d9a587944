"""One process for each device, all over the same plan.

The parent deals out work and puts the results back in order; a child has the model on its device and no more. Children
are started afresh (never forked: a CUDA context does not survive that), leave Ctrl-C to the parent, and end by
themselves when the parent is gone.
"""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vecsv.arrays import Vectors, Waveform
from vecsv.audio.activity import Activity
from vecsv.engines.limits import usable_cores
from vecsv.engines.protocol import EngineSettings
from vecsv.errors import ModelError, VecsvError
from vecsv.models import registry
from vecsv.models.protocol import Embedder, Prepared

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

Item = TypeVar("Item")
Result = TypeVar("Result")

# Items that wait in a child beyond those its threads have in hand: enough that it never waits for the parent.
_AHEAD: Final = 2
_ENDS_WITHIN_S: Final = 5.0


@dataclass(frozen=True)
class DistantEmbedder:
    """What the parent knows of the model that its children run; an `vecsv.models.protocol.Embedder` in name only."""

    name: str
    fingerprint: str
    dim: int
    sample_rate: int
    block_s: float
    batch_s: float
    engine: str
    reference_calibration: Mapping[str, Any] | None

    def prepare(self, waveform: Waveform, activity: Activity | None = None) -> Prepared:
        """Not here: always a RuntimeError."""
        raise RuntimeError("this model is in other processes")

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        """Not here: always a RuntimeError."""
        raise RuntimeError("this model is in other processes")


@dataclass(frozen=True)
class _Refusal:
    """A VecsvError on its way to the parent."""

    what: str
    where: str | None
    hint: str | None


@dataclass(frozen=True)
class _Breakdown:
    """A defect's traceback on its way to the parent."""

    report: str


@dataclass
class _Child:
    device: str
    process: SpawnProcess
    connection: Connection
    in_hand: set[int] = field(default_factory=set)

    def send(self, message: object) -> None:
        try:
            self.connection.send(message)
        except OSError as error:
            raise self.gone() from error

    def receive(self) -> Any:
        try:
            message = self.connection.recv()
        except (EOFError, OSError) as error:
            raise self.gone() from error
        if isinstance(message, _Refusal):
            raise ModelError(message.what, where=message.where, hint=message.hint)
        if isinstance(message, _Breakdown):
            raise RuntimeError(f"in the process for {self.device}:\n{message.report}")
        return message

    def gone(self) -> VecsvError:
        self.process.join(_ENDS_WITHIN_S)
        code = self.process.exitcode
        how = "it does not answer" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"
        return VecsvError(
            f"the process for {self.device} ended before its work was done ({how})",
            hint="what was finished is kept: give the same command again, if memory ran out with fewer devices",
        )


class DeviceProcesses:
    """A model on several devices; a context manager that starts and ends its processes.

    Parameters
    ----------
    load : callable
        Loads the model on a device; picklable, and called in the children.
    devices : sequence of str
        One process each; a device may be named twice.
    workers : int
        Threads of each process.

    Attributes
    ----------
    embedder : DistantEmbedder
        What runs; its engine names every engine that takes part.

    Raises
    ------
    ModelError
        On entering, when a child cannot load the model.
    VecsvError
        When a child ends before its work is done.
    """

    embedder: DistantEmbedder

    def __init__(self, load: Callable[[str], Embedder], devices: Sequence[str], *, workers: int = 1) -> None:
        if not devices:
            raise ValueError("no devices")
        self._load = load
        self._devices = devices
        self._workers = workers
        self._children: list[_Child] = []

    def __enter__(self) -> DeviceProcesses:
        """Start the processes and wait until each has the model."""
        context = get_context("spawn")
        try:
            for device in self._devices:
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_serve,
                    args=(theirs, self._load, device, self._workers),
                    name=f"vecsv {device}",
                    # Should nothing else end it, the interpreter's own exit does.
                    daemon=True,
                )
                process.start()
                # Only the child may hold its end, or its death would not show.
                theirs.close()
                self._children.append(_Child(device, process, ours))
            known: list[DistantEmbedder] = [child.receive() for child in self._children]
        except BaseException:
            self._end()
            raise
        engines = sorted({one.engine for one in known})
        first = known[0]
        self.embedder = DistantEmbedder(**{**vars(first), "engine": "; ".join(engines)})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes."""
        self._end()

    def map(self, work: Callable[[Embedder, Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Do work on whichever device is free.

        Parameters
        ----------
        work : callable
            Called with the child's model and an item, by its threads; picklable, as are items and results.
        items : iterable
            Taken a bounded number ahead of the results.

        Yields
        ------
        object
            Results in the order of `items`.
        """
        for child in self._children:
            child.send(work)
        source = enumerate(items)
        depth = self._workers + _AHEAD
        most_ahead = 4 * depth * len(self._children)
        finished: dict[int, Result] = {}
        taken, following, more = 0, 0, True
        while True:
            # The child with least to do comes first.
            for child in sorted(self._children, key=lambda one: len(one.in_hand)):
                while more and len(child.in_hand) < depth and taken - following < most_ahead:
                    pair = next(source, None)
                    if pair is None:
                        more = False
                        break
                    child.send(pair)
                    child.in_hand.add(pair[0])
                    taken += 1
            if following == taken:
                return
            ready = wait([child.connection for child in self._children])
            for child in self._children:
                if child.connection in ready:
                    number, result = child.receive()
                    child.in_hand.discard(number)
                    finished[number] = result
            while following in finished:
                yield finished.pop(following)
                following += 1

    def _end(self) -> None:
        for child in self._children:
            # A child whose connection is closed leaves at once, whatever it is doing.
            child.connection.close()
        for child in self._children:
            child.process.join(_ENDS_WITHIN_S)
            if child.process.is_alive():
                child.process.kill()
                child.process.join()
        self._children = []


def load_on(folder: Path, settings: EngineSettings, device: str) -> Embedder:
    """Load a bundle on a device, to be called by one thread for each core."""
    return registry.load(folder, replace(settings, device=device, threads=1))


def workers_of_each(devices: Sequence[str]) -> int:
    """Threads of each process: its share of the cores, twice that where a GPU computes."""
    share = max(1, usable_cores() // len(devices))
    return share if "cpu" in devices else 2 * share


def _serve(connection: Connection, load: Callable[[str], Embedder], device: str, workers: int) -> None:
    """What a child does."""
    # Ctrl-C reaches all processes of a terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbox: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_read, args=(connection, inbox), daemon=True).start()
    try:
        embedder = load(device)
        connection.send(_described(embedder))
    except Exception as error:
        connection.send(_report(error))
        return
    work: Callable[[Embedder, Any], Any] = inbox.get()
    sending = threading.Lock()

    def do(number: int, item: object) -> None:
        try:
            message: object = number, work(embedder, item)
        except Exception as error:
            message = _report(error)
        with sending:
            connection.send(message)

    with ThreadPoolExecutor(workers, thread_name_prefix="vecsv") as threads:
        while True:
            threads.submit(do, *inbox.get())


def _read(connection: Connection, inbox: SimpleQueue[Any]) -> None:
    """Take messages off the pipe, so that the parent never waits to send; leave when the parent is gone."""
    while True:
        try:
            inbox.put(connection.recv())
        except (EOFError, OSError):
            os._exit(0)


def _described(embedder: Embedder) -> DistantEmbedder:
    return DistantEmbedder(
        embedder.name,
        embedder.fingerprint,
        embedder.dim,
        embedder.sample_rate,
        embedder.block_s,
        embedder.batch_s,
        embedder.engine,
        embedder.reference_calibration,
    )


def _report(error: Exception) -> _Refusal | _Breakdown:
    if isinstance(error, VecsvError):
        return _Refusal(error.what, error.where, error.hint)
    return _Breakdown("".join(traceback.format_exception(error)))
