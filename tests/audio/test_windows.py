import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.arrays import Waveform
from vecsv.audio.windows import Kept, WindowRule, cut
from vecsv.errors import UsageError

lengths_and_hops = st.integers(1, 24).flatmap(lambda length: st.tuples(st.just(length), st.integers(1, length)))
block_sizes = st.lists(st.integers(0, 40), max_size=8)


def expected_windows(samples: int, length: int, hop: int) -> list[tuple[int, int]]:
    """The rule as it stands in the documentation, looked at one start after the other: first sample and size."""
    found = []
    for start in range(0, samples, hop):
        size = min(start + length, samples) - start
        covers_half = size >= length / 2
        before_ends = start - hop + length
        has_something_new = start + size > before_ends
        if start == 0 or (covers_half and has_something_new):
            found.append((start, size))
    return found


@given(block_sizes, lengths_and_hops)
def test_windows_are_those_of_the_rule_however_the_stream_is_cut(sizes: list[int], rule: tuple[int, int]) -> None:
    length, hop = rule
    recording = np.arange(sum(sizes), dtype=np.float32)
    borders = list(itertools.accumulate(sizes, initial=0))
    blocks = [recording[start:end] for start, end in itertools.pairwise(borders)]
    found = list(cut(blocks, length, hop))
    assert [(start, window.size) for start, window in found] == expected_windows(recording.size, length, hop)
    for start, window in found:
        assert np.array_equal(window, recording[start : start + window.size])


@given(st.integers(1, 200), lengths_and_hops)
def test_at_most_half_a_window_less_one_is_left_out(samples: int, rule: tuple[int, int]) -> None:
    length, hop = rule
    found = [(start, window.size) for start, window in cut([np.zeros(samples, np.float32)], length, hop)]
    covered = max(start + size for start, size in found)
    assert samples - covered < length / 2
    assert all(size == length for _, size in found[:-1])
    assert all(later - start == hop for (start, _), (later, _) in itertools.pairwise(found))


def test_the_end_that_the_last_window_holds_already_makes_no_other() -> None:
    assert [start for start, _ in cut([np.zeros(6, np.float32)], 6, 3)] == [0]
    assert [(start, window.size) for start, window in cut([np.zeros(7, np.float32)], 6, 3)] == [(0, 6), (3, 4)]


def test_a_recording_shorter_than_half_a_window_is_one_short_window() -> None:
    assert [(start, window.size) for start, window in cut([np.zeros(2, np.float32)], 6, 3)] == [(0, 2)]
    assert list(cut([], 6, 3)) == []


def test_no_more_than_a_window_and_a_block_are_held() -> None:
    taken = 0

    def blocks() -> Iterator[Waveform]:
        nonlocal taken
        for _ in range(50):
            taken += 1000
            yield np.zeros(1000, np.float32)

    for start, window in cut(blocks(), 16, 8):
        assert taken - start <= 1000 + 16
        kept = window if window.base is None else window.base
        assert isinstance(kept, np.ndarray)
        assert kept.size <= 1000 + 16


@pytest.mark.parametrize(("length", "hop"), [(0.1, 0.05), (3.0, 0.0), (3.0, 3.1), (float("nan"), 1.0), (3.0, 1e-5)])
def test_rules_that_make_no_sense_are_refused(length: float, hop: float) -> None:
    with pytest.raises(UsageError):
        WindowRule(length, hop)


@pytest.mark.parametrize("kept", list(Kept))
def test_a_rule_reads_back_as_it_was_written(kept: Kept) -> None:
    rule = WindowRule(2.5, 0.75, kept)
    assert WindowRule.from_json(rule.to_json()) == rule
