from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.calibration.populations import Blocks, Groups, Population, draw_distinct, ranges

codes = st.lists(st.integers(0, 4), min_size=1, max_size=16)


@given(codes)
def test_blocks_are_runs_of_equal_keys(keys: list[int]) -> None:
    ordered = np.sort(np.array(keys))
    blocks = Blocks.of(ordered)
    for position, key in enumerate(ordered):
        assert (ordered[blocks.begin[position] : blocks.end[position]] == key).all()
        assert np.count_nonzero(ordered == key) == blocks.end[position] - blocks.begin[position]
    assert blocks.bounds.tolist() == [*np.unique(blocks.begin), len(keys)]


@given(codes, st.data())
def test_groups_count_and_skip_their_members(group: list[int], data: st.DataObject) -> None:
    groups = Groups(np.array(group))
    position = data.draw(st.integers(0, len(group) - 1))
    bound = data.draw(st.integers(0, len(group)))
    at = np.array([position]), np.array([bound])
    members = [k for k, code in enumerate(group) if code == group[position]]
    assert groups.before(*at).tolist() == [sum(k < bound for k in members)]
    assert groups.at_or_after(*at).tolist() == [sum(k >= bound for k in members)]
    others = [k for k in range(bound, len(group)) if k not in members]
    for rank, place in enumerate(others):
        assert groups.skip(*at, np.array([rank])).tolist() == [place]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=14), st.booleans(), st.data())
def test_a_population_numbers_exactly_its_pairs(
    content: list[tuple[int, int]], with_groups: bool, data: st.DataObject
) -> None:
    content = sorted(content)
    first = np.array([key for key, _ in content])
    second = np.array([group for _, group in content])
    population = Population.between(
        Blocks.of(first).end, np.full(first.size, first.size), Groups(second) if with_groups else None
    )
    members = [
        (i, j)
        for i, j in itertools.combinations(range(first.size), 2)
        if first[i] != first[j] and not (with_groups and second[i] == second[j])
    ]
    left_out = data.draw(st.lists(st.sampled_from(members), unique=True)) if members else []
    if left_out:
        population = population.without(*np.array(left_out).T)
    expected = [pair for pair in members if pair not in left_out]
    assert len(population) == len(expected)
    i, j = population.pairs(np.arange(len(population)))
    assert list(zip(i.tolist(), j.tolist(), strict=True)) == expected
    bounds = Blocks.of(first).bounds
    for size, (low, high) in zip(population.sizes(bounds), itertools.pairwise(bounds), strict=True):
        assert size == sum(low <= pair[0] < high for pair in expected)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=8), st.integers(0, 2**32))
def test_draws_are_distinct_and_as_many_of_each_stratum_as_wanted(strata: list[tuple[int, int]], seed: int) -> None:
    sizes = np.array([max(pair) for pair in strata])
    wanted = np.array([min(pair) for pair in strata])
    drawn = draw_distinct(np.random.default_rng(seed), sizes, wanted)
    assert (np.diff(drawn) > 0).all()
    strata_of = np.searchsorted(np.cumsum(sizes), drawn, side="right")
    assert np.array_equal(np.bincount(strata_of, minlength=sizes.size), wanted)


@pytest.mark.parametrize("wanted", [2, 3, 4])
def test_every_subset_is_as_likely_as_any_other(wanted: int) -> None:
    from scipy.special import chdtrc

    subsets = dict.fromkeys(itertools.combinations(range(6), wanted), 0)
    random = np.random.default_rng(11)
    for _ in range(120 * len(subsets)):
        drawn = draw_distinct(random, np.array([4, 6, 3]), np.array([2, wanted, 3]))
        subsets[tuple(int(number) - 4 for number in drawn if 4 <= number < 10)] += 1
    counts = np.array(list(subsets.values()))
    assert chdtrc(counts.size - 1, counts.size * counts.var() / counts.mean()) > 1e-3


def test_a_few_of_very_many_are_drawn() -> None:
    drawn = draw_distinct(np.random.default_rng(3), np.array([10**15]), np.array([1000]))
    assert drawn.size == 1000
    assert drawn.max() > 9 * 10**14


def test_ranges_of_no_length_leave_nothing() -> None:
    assert ranges(np.array([5, 7]), np.array([0, 2])).tolist() == [7, 8]
