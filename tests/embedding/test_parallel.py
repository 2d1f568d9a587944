import itertools
import threading
import time

import pytest

from vecsv.embedding.parallel import map_in_order


def test_results_come_in_order_whoever_is_quicker() -> None:
    def slow_for_even(number: int) -> int:
        time.sleep(0.01 * (number % 2 == 0))
        return number

    assert list(map_in_order(slow_for_even, range(20), workers=4)) == list(range(20))


def test_an_endless_input_is_taken_only_a_few_ahead() -> None:
    numbers = itertools.count()
    results = map_in_order(lambda number: number, numbers, workers=2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert next(numbers) < 10


def test_an_error_in_the_work_reaches_the_caller_and_nothing_more_is_started() -> None:
    started: list[int] = []
    lock = threading.Lock()

    def fail_at_three(number: int) -> int:
        with lock:
            started.append(number)
        if number == 3:
            raise ValueError("three")
        return number

    with pytest.raises(ValueError, match="three"):
        list(map_in_order(fail_at_three, range(1000), workers=2))
    assert max(started) < 10
