"""Work that blocks, kept off the event loop: a few threads, and no more waiting for them than is reasonable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from vecsv.serve.overload import Overloaded

Result = TypeVar("Result")

_RETRY_S = 2.0


class Threads:
    """Threads for work that blocks.

    Parameters
    ----------
    what : str
        What they do, as a client is told when all are busy.
    workers : int
    limit : int
        Calls that may run or wait at once.
    """

    def __init__(self, what: str, *, workers: int, limit: int) -> None:
        self._what = what
        self._limit = limit
        self._inside = 0
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix=f"vecsv {what}")

    async def run(self, work: Callable[[], Result]) -> Result:
        """Do the work in a thread.

        Raises
        ------
        Overloaded
            At once, when too much waits already.
        """
        if self._inside >= self._limit:
            raise Overloaded(f"too much is waiting for the {self._what}", retry_after_s=_RETRY_S)
        # Only the event loop's thread counts, and a cancelled call counts until its thread is free.
        self._inside += 1
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        future.add_done_callback(self._leave)
        return await future

    def _leave(self, future: asyncio.Future[Result]) -> None:
        self._inside -= 1

    def close(self) -> None:
        """Let what runs end, and drop what waits."""
        self._executor.shutdown(wait=True, cancel_futures=True)
