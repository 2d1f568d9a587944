"""Calls from many threads, put together into few calls of a device that wants much at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vecsv.engines.limits import seconds_of
from vecsv.engines.protocol import Network


class CombiningNetwork:
    """A `vecsv.engines.protocol.Network` that runs what several threads ask for in one call.

    While one thread's call is on the device, what others ask for piles up; whichever of them gets the device next takes
    all of it along. Threads that prepare recordings are so kept apart from the one that feeds the device, without a
    queue to tune: the slower the device, the larger its calls.

    Parameters
    ----------
    network : Network
        What runs on the device. One call of it is given as much as its `in_flight_s` says, unless a single request is
        larger.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._waiting: deque[_Request] = deque()
        self._device = threading.Lock()

    @property
    def engine(self) -> str:
        """What runs it."""
        return self._network.engine

    @property
    def in_flight_s(self) -> float:
        """Seconds of audio that one call should be given."""
        return self._network.in_flight_s

    def run(self, inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Run recordings through the network, together with what other threads ask for at the time."""
        request = _Request(inputs)
        self._waiting.append(request)
        with self._device:
            while request.outcome is None:
                self._serve(self._taken())
        if isinstance(request.outcome, Exception):
            raise request.outcome
        return request.outcome

    def _taken(self) -> list[_Request]:
        """Requests for the next call, in the order they came; only called by the thread that has the device."""
        taken = [self._waiting.popleft()]
        seconds = taken[0].seconds
        while self._waiting and seconds + self._waiting[0].seconds <= self._network.in_flight_s:
            taken.append(self._waiting.popleft())
            seconds += taken[-1].seconds
        return taken

    def _serve(self, requests: list[_Request]) -> None:
        try:
            rows = self._network.run([one for request in requests for one in request.inputs])
        except Exception as error:
            if len(requests) == 1:
                requests[0].outcome = error
                return
            # What one thread asked for must not fail the others.
            for request in requests:
                self._serve([request])
            return
        first = 0
        for request in requests:
            request.outcome = rows[first : first + len(request.inputs)]
            first += len(request.inputs)


class _Request:
    """What one thread asks for, and in the end what came of it."""

    def __init__(self, inputs: Sequence[NDArray[np.float32]]) -> None:
        self.inputs = inputs
        self.seconds = sum(seconds_of(one.shape[0], one.ndim) for one in inputs)
        self.outcome: NDArray[np.float32] | Exception | None = None
