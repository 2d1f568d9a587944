"""Work on several threads whose results come back in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from vecsv.engines.limits import usable_cores

__all__ = ["map_in_order", "usable_cores"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Apply `function` on `workers` threads; yield results in the order of `items`.

    Items are taken only a few ahead of the results, so an endless iterable is worked through in bounded memory. When
    the consumer stops early or an item raises, what is under way is finished and nothing more is started.

    Examples
    --------
    >>> list(map_in_order(lambda x: x * x, range(5), workers=2))
    [0, 1, 4, 9, 16]
    """
    executor = ThreadPoolExecutor(workers, thread_name_prefix="vecsv")
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(executor.submit(function, item))
            if len(waiting) > workers + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
