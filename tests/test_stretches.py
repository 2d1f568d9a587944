import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vecsv.rttm import Turn
from vecsv.stretches import Stretch, stretches_by_speaker, union, without

TICKS = 24
span = st.tuples(st.integers(0, TICKS - 1), st.integers(1, 8)).map(lambda s: (float(s[0]), float(min(sum(s), TICKS))))
spans = st.lists(span, max_size=10)


def ticks(given: list[tuple[float, float]]) -> NDArray[np.bool_]:
    """Which of the unit steps of time are covered."""
    covered = np.zeros(TICKS, np.bool_)
    for start, end in given:
        covered[int(start) : int(end)] = True
    return covered


def is_tidy(given: list[tuple[float, float]]) -> bool:
    return all(start < end for start, end in given) and all(
        before[1] <= after[0] for before, after in itertools.pairwise(given)
    )


@given(spans)
def test_a_union_covers_the_same_time_in_spans_that_are_apart(given: list[tuple[float, float]]) -> None:
    joined = union(given)
    assert np.array_equal(ticks(joined), ticks(given))
    assert all(before[1] < after[0] for before, after in itertools.pairwise(joined))


@given(spans, spans)
def test_what_is_left_is_the_difference_tick_by_tick(
    given: list[tuple[float, float]], holes: list[tuple[float, float]]
) -> None:
    left = without(union(given), union(holes))
    assert np.array_equal(ticks(left), ticks(given) & ~ticks(holes))
    assert is_tidy(left)


turn = st.tuples(st.sampled_from("xyz"), st.integers(1, 2), span)


@given(st.lists(turn, min_size=1, max_size=8))
def test_each_speaker_is_heard_where_nobody_else_speaks(given: list[tuple[str, int, tuple[float, float]]]) -> None:
    turns = [Turn(line, "a", channel, *own, name) for line, (name, channel, own) in enumerate(given)]
    found = stretches_by_speaker(turns, shortest_s=1.0)
    assert set(found) == {name for name, _, _ in given}
    stereo = len({channel for _, channel, _ in given}) > 1
    for name, heard in found.items():
        for channel in (1, 2) if stereo else (None,):
            there = [one for one in given if channel is None or one[1] == channel]
            own = ticks([where for speaker, _, where in there if speaker == name])
            others = ticks([where for speaker, _, where in there if speaker != name])
            shown = ticks([(one.start_s, one.end_s) for one in heard.stretches if one.channel == channel])
            assert np.array_equal(shown, own if heard.overlapped else own & ~others)


def test_short_rests_are_dropped() -> None:
    turns = [Turn(1, "a", 1, 0.0, 2.0, "x"), Turn(2, "a", 1, 0.1, 1.0, "y"), Turn(3, "a", 1, 4.0, 5.0, "y")]
    found = stretches_by_speaker(turns, shortest_s=0.2)
    assert found["x"].stretches == (Stretch(None, 1.0, 2.0),)
    assert found["y"].stretches == (Stretch(None, 4.0, 5.0),)


def test_two_channels_do_not_overlap() -> None:
    turns = [Turn(1, "a", 1, 0.0, 2.0, "x"), Turn(2, "a", 2, 0.0, 2.0, "y")]
    found = stretches_by_speaker(turns, shortest_s=0.2)
    assert [one.stretches for one in found.values()] == [(Stretch(1, 0.0, 2.0),), (Stretch(2, 0.0, 2.0),)]
