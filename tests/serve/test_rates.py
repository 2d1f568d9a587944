"""Token buckets against what they promise, and within bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.serve.rates import TokenBuckets


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_requests_are_let_through_and_the_next_is_told_when_to_come_back() -> None:
    clock = Clock()
    buckets = TokenBuckets(6, clock=clock)
    assert [buckets.take("ann") for _ in range(6)] == [0.0] * 6
    assert buckets.take("ann") == pytest.approx(10.0)
    clock.now += 4.0
    assert buckets.take("ann") == pytest.approx(6.0)
    clock.now += 6.01
    assert buckets.take("ann") == 0.0
    assert buckets.take("ann") > 0.0


def test_callers_do_not_share_a_bucket() -> None:
    buckets = TokenBuckets(1, clock=Clock())
    assert [buckets.take(caller) for caller in ("ann", "ben", "cem")] == [0.0, 0.0, 0.0]
    assert buckets.take("ben") > 0.0


@given(
    st.integers(1, 30),
    st.lists(st.floats(0.0, 20.0, allow_nan=False), max_size=80),
)
def test_whatever_the_pauses_no_more_pass_than_a_full_bucket_and_what_time_adds(
    per_minute: int, pauses: list[float]
) -> None:
    clock = Clock()
    buckets = TokenBuckets(per_minute, clock=clock)
    passed = 0
    for pause in pauses:
        clock.now += pause
        wait = buckets.take("ann")
        passed += wait == 0.0
        # Who waits as long as told is let through: no wait is longer than one token takes.
        assert 0.0 <= wait <= 60.0 / per_minute + 1e-9
    assert passed <= per_minute + (clock.now - 1000.0) * per_minute / 60.0 + 1e-6


def test_memory_is_bounded_and_those_who_asked_last_are_remembered() -> None:
    buckets = TokenBuckets(1, capacity=100, clock=Clock())
    buckets.take("busy")
    for number in range(5000):
        buckets.take(f"stranger {number}")
        if number % 50 == 0:
            assert buckets.take("busy") > 0.0
    assert len(buckets) == 100
