from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.engines.batching import BatchLimits, plan_batches

LENGTHS = st.lists(st.integers(0, 60), max_size=60)
LIMITS = st.builds(
    BatchLimits, items=st.integers(1, 12), size=st.integers(1, 300), waste=st.floats(0, 0.99, exclude_max=True)
)


@given(LENGTHS, LIMITS, st.booleans())
def test_every_input_is_in_exactly_one_batch(lengths: list[int], limits: BatchLimits, pads: bool) -> None:
    batches = plan_batches(lengths, limits, pads=pads)
    assert sorted(position for batch in batches for position in batch.positions) == list(range(len(lengths)))


@given(LENGTHS, LIMITS, st.booleans())
def test_no_batch_exceeds_its_limits(lengths: list[int], limits: BatchLimits, pads: bool) -> None:
    for batch in plan_batches(lengths, limits, pads=pads):
        padded = batch.length * len(batch.positions)
        real = sum(lengths[position] for position in batch.positions)
        assert batch.length == max(lengths[position] for position in batch.positions)
        assert 1 <= len(batch.positions) <= limits.items
        assert padded <= limits.size or len(batch.positions) == 1
        assert padded - real <= limits.waste * padded


@given(LENGTHS, LIMITS)
def test_without_padding_only_equal_lengths_share_a_batch(lengths: list[int], limits: BatchLimits) -> None:
    for batch in plan_batches(lengths, limits, pads=False):
        assert {lengths[position] for position in batch.positions} == {batch.length}


@given(st.lists(st.integers(1, 60), max_size=60), st.booleans())
def test_equal_lengths_keep_their_order_and_fill_their_batches(lengths: list[int], pads: bool) -> None:
    batches = plan_batches([7] * len(lengths), BatchLimits(items=4, size=1000), pads=pads)
    assert [position for batch in batches for position in batch.positions] == list(range(len(lengths)))
    assert all(len(batch.positions) == 4 for batch in batches[:-1])


def test_like_lengths_share_a_batch_and_unlike_ones_do_not() -> None:
    batches = plan_batches([100, 10, 95, 11, 99], BatchLimits(items=8, size=10_000, waste=0.1), pads=True)
    assert [batch.positions for batch in batches] == [(0, 4, 2), (3, 1)]


def test_the_longest_come_first() -> None:
    lengths = [batch.length for batch in plan_batches([3, 9, 5, 7], BatchLimits(items=1, size=100), pads=True)]
    assert lengths == [9, 7, 5, 3]


@pytest.mark.parametrize("wrong", [{"items": 0}, {"size": 0}, {"waste": 1.0}, {"waste": -0.1}])
def test_limits_that_cannot_be_kept_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a batch takes"):
        BatchLimits(**{"items": 1, "size": 1, "waste": 0.0, **wrong})
