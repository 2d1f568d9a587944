"""One queue for all that is to be embedded: bounded, in small batches, never in the way of the event loop.

Requests arrive on the event loop and are worked on by threads. A free thread takes what has arrived within a few
milliseconds, up to one batch of the model, and embeds it together; what is more than the queue holds is refused at
once, with a guess at when to try again that rests on how quick the models have been so far.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil

from vecsv.audio.activity import SAMPLE_RATE
from vecsv.audio.windows import WindowRule
from vecsv.embedding.recordings import EmbeddedRecording
from vecsv.embedding.windowed import rule_of
from vecsv.errors import UsageError, VecsvError
from vecsv.models.protocol import Embedder
from vecsv.serve.decoding import DecodedClip
from vecsv.serve.embedding_batch import Outcome, embed_together
from vecsv.serve.overload import Overloaded

__all__ = ["EmbeddingPool", "Overloaded"]

_SHORTEST_RETRY_S = 1.0
# How much the latest batch counts in the measured rate.
_NEWS = 0.2
# Batches of next to nothing say little about the rate.
_SHORTEST_MEASURED_S = 0.1

_Rows = list[list[Outcome]]


@dataclass(eq=False)
class _Request:
    clips: Sequence[DecodedClip]
    future: asyncio.Future[_Rows]
    loop: asyncio.AbstractEventLoop
    seconds: float
    arrived: float = field(default_factory=time.monotonic)
    abandoned: bool = False

    def settle(self, rows: _Rows | BaseException) -> None:
        """Hand over the result; called by a worker."""
        # A loop that has been closed meanwhile waits for nothing.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._settle, rows)

    def _settle(self, rows: _Rows | BaseException) -> None:
        if self.future.done():
            return
        if isinstance(rows, BaseException):
            self.future.set_exception(rows)
        else:
            self.future.set_result(rows)


class EmbeddingPool:
    """Embeds recordings for coroutines.

    Parameters
    ----------
    embedders : mapping of str to Embedder
        A model for each store, by the store's name. Stores whose models agree in fingerprint and windows share one.
    queue_limit : int
        Clips in the house, waiting or being worked on, beyond which more are refused. One request with more than this
        is taken when nothing else is there.
    window_ms : float
        How long the first clip of a batch waits for company, in milliseconds.
    workers : int
        Threads. On a CPU as many as cores, each model's engine using one thread; for a GPU one or two.
    on_batch : callable, optional
        Called from a worker with the number of clips and the seconds of audio of each batch that was embedded.

    Raises
    ------
    UsageError
        When there is no model, or one that takes another sampling rate than 16 kHz.
    """

    def __init__(
        self,
        embedders: Mapping[str, Embedder],
        *,
        queue_limit: int = 64,
        window_ms: float = 5.0,
        workers: int = 1,
        on_batch: Callable[[int, float], None] | None = None,
    ) -> None:
        if not embedders or workers < 1 or queue_limit < 1 or not window_ms >= 0:
            raise UsageError("an embedding pool needs a model, a worker, room for a clip and no negative window")
        for embedder in embedders.values():
            if embedder.sample_rate != SAMPLE_RATE:
                raise UsageError(f"{embedder.name} takes {embedder.sample_rate} Hz, clips have {SAMPLE_RATE} Hz")
        models: dict[tuple[str, WindowRule | None], Embedder] = {}
        for embedder in embedders.values():
            models.setdefault(_key(embedder), embedder)
        self._models = list(models.values())
        self._places = {name: list(models).index(_key(embedder)) for name, embedder in embedders.items()}
        self._limit = queue_limit
        self._window_s = window_ms / 1000
        self._batch_s = min(embedder.batch_s for embedder in self._models)
        self._on_batch = on_batch
        # Guards all that follows; held only for as long as it takes to move requests about.
        self._changed = threading.Condition()
        self._queue: deque[_Request] = deque()
        self._clips_in_house = 0
        self._seconds_in_house = 0.0
        self._cost: float | None = None
        self._free_workers = 0
        self._draining = self._stopped = False
        self._workers = [
            threading.Thread(target=self._work, name=f"vecsv embedding {number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._workers:
            thread.start()

    @property
    def depth(self) -> int:
        """Clips in the house: waiting, or being worked on."""
        return self._clips_in_house

    @property
    def limit(self) -> int:
        """Clips there is room for."""
        return self._limit

    def require_room(self, clips: int = 1) -> None:
        """Refuse work that would be refused by `submit`, before anything was done for it.

        Raises
        ------
        Overloaded
            When there is no room for so many clips, or the pool is being shut down.
        """
        with self._changed:
            if self._draining:
                raise Overloaded("the service is shutting down", retry_after_s=self._backlog_s())
            if self._clips_in_house and self._clips_in_house + clips > self._limit:
                raise Overloaded("too much is waiting to be embedded", retry_after_s=self._backlog_s())

    async def submit(self, clips: Sequence[DecodedClip]) -> dict[str, list[EmbeddedRecording | VecsvError]]:
        """Embed clips with every store's model.

        When the caller is cancelled, what has not been begun is never done.

        Parameters
        ----------
        clips : sequence of DecodedClip

        Returns
        -------
        dict of str to list
            For each store, what `vecsv.embedding.recordings` would give for files of these samples: the embedding, or
            why there is none, in the order of `clips`.

        Raises
        ------
        Overloaded
            At once, when there is no room.
        """
        if not clips:
            return {name: [] for name in self._places}
        loop = asyncio.get_running_loop()
        request = _Request(clips, loop.create_future(), loop, sum(clip.duration_s for clip in clips))
        with self._changed:
            self.require_room(len(clips))
            self._queue.append(request)
            self._count(request, 1)
            self._changed.notify_all()
        try:
            rows = await request.future
        except asyncio.CancelledError:
            self._abandon(request)
            raise
        checked = [[_expected(outcome) for outcome in row] for row in rows]
        return {name: list(checked[place]) for name, place in self._places.items()}

    async def drain(self, timeout_s: float) -> bool:
        """Take nothing more, finish what is there, and stop; what is not begun by then is refused.

        Returns
        -------
        bool
            Whether all was finished in time.
        """
        return await asyncio.to_thread(self.close, timeout_s)

    def close(self, timeout_s: float = 0.0) -> bool:
        """Do what `drain` does, blocking."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._draining = True
            self._changed.notify_all()
            finished = self._changed.wait_for(lambda: not self._clips_in_house, timeout_s)
            self._stopped = True
            left = list(self._queue)
            self._queue.clear()
            for request in left:
                self._count(request, -1)
                request.settle(Overloaded("the service is shutting down", retry_after_s=_SHORTEST_RETRY_S))
            self._changed.notify_all()
        for thread in self._workers:
            thread.join(max(deadline - time.monotonic(), 0.1))
        return finished

    def _abandon(self, request: _Request) -> None:
        with self._changed:
            request.abandoned = True
            if request in self._queue:
                self._queue.remove(request)
                self._count(request, -1)
                self._changed.notify_all()

    def _count(self, request: _Request, sign: int) -> None:
        self._clips_in_house += sign * len(request.clips)
        self._seconds_in_house += sign * request.seconds

    def _backlog_s(self) -> float:
        """How long what is in the house should take."""
        expected = 0.0 if self._cost is None else self._seconds_in_house * self._cost / len(self._workers)
        return max(expected, _SHORTEST_RETRY_S)

    def _work(self) -> None:
        while batch := self._next():
            results: Sequence[_Rows | Exception]
            try:
                results = self._embed(batch)
            except Exception as error:
                results = [error] * len(batch)
            with self._changed:
                for request in batch:
                    self._count(request, -1)
                self._changed.notify_all()
            for request, result in zip(batch, results, strict=True):
                request.settle(result)

    def _embed(self, batch: Sequence[_Request]) -> list[_Rows]:
        owners = [request for request in batch for _ in request.clips]
        clips = [clip for request in batch for clip in request.clips]
        begun = time.monotonic()
        rows = embed_together(self._models, clips, lambda place: not owners[place].abandoned)
        seconds = sum(request.seconds for request in batch)
        if not any(request.abandoned for request in batch):
            self._learn((time.monotonic() - begun) / max(seconds, _SHORTEST_MEASURED_S))
        if self._on_batch is not None:
            self._on_batch(len(clips), seconds)
        results, start = [], 0
        for request in batch:
            end = start + len(request.clips)
            results.append([row[start:end] for row in rows])
            start = end
        return results

    def _learn(self, cost: float) -> None:
        """Take into account how many seconds the latest batch took for each second of its audio."""
        with self._changed:
            self._cost = cost if self._cost is None else (1 - _NEWS) * self._cost + _NEWS * cost

    def _next(self) -> list[_Request]:
        """Wait for the next batch; empty when there will be none."""
        with self._changed:
            self._free_workers += 1
            try:
                while not self._stopped:
                    if not self._queue:
                        self._changed.wait()
                        continue
                    patience = self._queue[0].arrived + self._window_s - time.monotonic()
                    full = sum(request.seconds for request in self._queue) >= self._batch_s
                    if patience <= 0 or full or self._draining:
                        return self._take()
                    self._changed.wait(patience)
                return []
            finally:
                self._free_workers -= 1

    def _take(self) -> list[_Request]:
        """The oldest requests: a batch of them, but no more than this worker's share."""
        share = ceil(len(self._queue) / self._free_workers)
        batch = [self._queue.popleft()]
        seconds = batch[0].seconds
        while self._queue and len(batch) < share and seconds + self._queue[0].seconds <= self._batch_s:
            batch.append(self._queue.popleft())
            seconds += batch[-1].seconds
        return batch


def _key(embedder: Embedder) -> tuple[str, WindowRule | None]:
    # A model whose windows each have a row shares its fingerprint with the model that takes recordings whole.
    return embedder.fingerprint, rule_of(embedder)


def _expected(outcome: Outcome) -> EmbeddedRecording | VecsvError:
    if isinstance(outcome, EmbeddedRecording | VecsvError):
        return outcome
    raise outcome
