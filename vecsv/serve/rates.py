"""How many requests a minute one caller may send."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    tokens: float
    seen: float


class TokenBuckets:
    """A bucket of tokens for each caller: full at first, emptied by requests, filled evenly by time.

    For one thread, or one event loop. Several processes count each for itself.

    Parameters
    ----------
    per_minute : int
        How many requests fit into a full bucket, and how many a minute refills.
    capacity : int
        How many callers are remembered; beyond that, those forgotten are the ones who have not asked for longest.
    clock : callable
        Seconds.

    Examples
    --------
    >>> now = 0.0
    >>> buckets = TokenBuckets(2, clock=lambda: now)
    >>> [buckets.take("ann") for _ in range(3)]
    [0.0, 0.0, 30.0]
    """

    def __init__(self, per_minute: int, *, capacity: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._full = float(per_minute)
        self._per_second = per_minute / 60.0
        self._capacity = capacity
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        """How many callers are remembered."""
        return len(self._buckets)

    def take(self, caller: str) -> float:
        """Take a token for a request.

        Returns
        -------
        float
            0 when there was one, otherwise how many seconds until there is.
        """
        now = self._clock()
        bucket = self._buckets.pop(caller, None) or _Bucket(self._full, now)
        bucket.tokens = min(self._full, bucket.tokens + (now - bucket.seen) * self._per_second)
        bucket.seen = now
        self._buckets[caller] = bucket
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        if bucket.tokens < 1.0:
            return (1.0 - bucket.tokens) / self._per_second
        bucket.tokens -= 1.0
        return 0.0
