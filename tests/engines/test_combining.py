from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from vecsv.engines.combining import CombiningNetwork
from vecsv.errors import ModelError

Rows = NDArray[np.float32]


class Doubling:
    """A network whose first call waits until it is let go, so that others pile up behind it."""

    engine = "numpy, cuda:0, fp32"

    def __init__(self, in_flight_s: float) -> None:
        self.in_flight_s = in_flight_s
        self.calls: list[int] = []
        self.started, self.may_go_on = threading.Event(), threading.Event()

    def run(self, inputs: Sequence[Rows]) -> Rows:
        self.calls.append(len(inputs))
        self.started.set()
        assert self.may_go_on.wait(30)
        if any(np.isnan(one).any() for one in inputs):
            raise ModelError("not a number")
        return np.stack([2 * one[0] for one in inputs])


def one_second(value: float) -> Rows:
    return np.full((100, 3), value, np.float32)


def piled_up(network: Doubling, values: list[list[float]]) -> tuple[list[Rows | BaseException], list[int]]:
    """What each thread gets that asks while the first one's call is on the device, and how large the calls were."""
    combining = CombiningNetwork(network)

    def ask(asked: list[float]) -> Rows:
        return combining.run([one_second(value) for value in asked])

    with ThreadPoolExecutor(len(values)) as pool:
        futures = [pool.submit(ask, values[0])]
        assert network.started.wait(30)
        futures += [pool.submit(ask, asked) for asked in values[1:]]
        while len(combining._waiting) < len(values) - 1:
            threading.Event().wait(0.001)
        network.may_go_on.set()
        outcomes = [future.exception(30) or future.result() for future in futures]
    return outcomes, network.calls


def test_what_piles_up_goes_through_in_one_call_and_each_thread_gets_its_own() -> None:
    values = [[0.0], [1.0, 2.0], [3.0], [4.0, 5.0, 6.0]]
    outcomes, calls = piled_up(Doubling(1000.0), values)
    for asked, rows in zip(values, outcomes, strict=True):
        assert isinstance(rows, np.ndarray)
        np.testing.assert_array_equal(rows[:, 0], [2 * value for value in asked])
    assert calls == [1, 6]


def test_a_call_takes_no_more_than_the_device_wants() -> None:
    outcomes, calls = piled_up(Doubling(2.5), [[0.0], *[[float(value)] for value in range(1, 6)]])
    assert sorted(calls[1:], reverse=True) == [2, 2, 1]
    assert sorted(rows[0, 0] for rows in outcomes if isinstance(rows, np.ndarray)) == [0, 2, 4, 6, 8, 10]


def test_a_request_larger_than_the_device_wants_goes_alone() -> None:
    outcomes, calls = piled_up(Doubling(2.5), [[0.0], [1.0] * 9])
    assert calls == [1, 9]
    assert all(isinstance(rows, np.ndarray) for rows in outcomes)


def test_what_one_thread_asks_for_fails_for_that_thread_alone() -> None:
    outcomes, _ = piled_up(Doubling(1000.0), [[0.0], [1.0], [float("nan")], [3.0]])
    assert isinstance(outcomes[2], ModelError)
    assert [rows[0, 0] for rows in outcomes if isinstance(rows, np.ndarray)] == [0, 2, 6]


def test_it_is_the_network_it_combines() -> None:
    network = CombiningNetwork(Doubling(7.0))
    assert (network.engine, network.in_flight_s) == ("numpy, cuda:0, fp32", 7.0)


def test_a_failure_leaves_the_device_free_for_the_next() -> None:
    inner = Doubling(7.0)
    inner.may_go_on.set()
    network = CombiningNetwork(inner)
    with pytest.raises(ModelError):
        network.run([one_second(float("nan"))])
    assert network.run([one_second(2.0)])[0, 0] == 4.0
