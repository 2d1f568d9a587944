from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vecsv.errors import TrainingError
from vecsv.training.schedule import Patience, learning_rate, margin

peak, final = 2e-3, 2e-5


@st.composite
def lengths(draw: st.DrawFn) -> tuple[int, int]:
    """Steps in all and on the way up."""
    total = draw(st.integers(1, 200_000))
    return total, draw(st.integers(0, total - 1))


def rate(step: int, total: int, warm_up: int) -> float:
    return learning_rate(step, total=total, warm_up=warm_up, peak=peak, final=final)


# The learning rate.


@given(lengths())
def test_the_rate_peaks_at_the_end_of_the_warm_up_and_ends_at_the_final_one(lengths: tuple[int, int]) -> None:
    total, warm_up = lengths
    highest = max(warm_up - 1, 0)
    assert rate(highest, total, warm_up) == pytest.approx(peak, rel=1e-12)
    if total - 1 > highest:
        assert rate(total - 1, total, warm_up) == pytest.approx(final, rel=1e-9)
        assert rate(total + 1000, total, warm_up) == pytest.approx(final, rel=1e-9)


@given(lengths(), st.data())
def test_the_rate_rises_and_then_falls_between_nothing_and_its_peak(
    lengths: tuple[int, int], data: st.DataObject
) -> None:
    total, warm_up = lengths
    step = data.draw(st.integers(0, total))
    now, following = rate(step, total, warm_up), rate(step + 1, total, warm_up)
    assert 0.0 < now <= peak * (1 + 1e-12)
    if step + 1 < warm_up:
        assert now < following
    else:
        assert now >= following
        assert now >= final * (1 - 1e-12)


@given(lengths(), st.data())
def test_the_warm_up_is_straight(lengths: tuple[int, int], data: st.DataObject) -> None:
    total, warm_up = lengths
    assume(warm_up > 0)
    step = data.draw(st.integers(0, warm_up - 1))
    assert rate(step, total, warm_up) * warm_up == pytest.approx(peak * (step + 1), rel=1e-12)


@given(lengths(), st.data())
def test_the_way_down_is_half_a_cosine(lengths: tuple[int, int], data: st.DataObject) -> None:
    """Two steps as far from its middle on either side have the mean of peak and final rate between them."""
    total, warm_up = lengths
    highest = max(warm_up - 1, 0)
    step = data.draw(st.integers(highest, total - 1))
    mirrored = highest + total - 1 - step
    assume(total - 1 > highest)
    assert rate(step, total, warm_up) + rate(mirrored, total, warm_up) == pytest.approx(peak + final, rel=1e-9)
    expected = final + (peak - final) * math.cos(math.pi / 2 * (step - highest) / (total - 1 - highest)) ** 2
    assert rate(step, total, warm_up) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("total", "warm_up"), [(10, 10), (10, 200), (0, 0)])
def test_a_training_that_never_warms_up_is_refused(total: int, warm_up: int) -> None:
    with pytest.raises(TrainingError, match=f"warm_up_steps is {warm_up}, but the whole training has only {total}"):
        rate(0, total, warm_up)


# The margin.


@given(st.floats(0.0, 1e3), st.floats(0.0, 1e3), st.floats(0.0, 2e3), st.floats(0.0, 1.5))
def test_the_margin_is_nothing_before_and_whole_after(begin: float, length: float, epoch: float, full: float) -> None:
    now = margin(epoch, full=full, warm_up=(begin, begin + length))
    assert 0.0 <= now <= full
    if epoch >= begin + length:
        assert now == full
    elif epoch <= begin:
        assert now == 0.0
    else:
        assert now * length == pytest.approx(full * (epoch - begin), rel=1e-6, abs=1e-9)


@given(st.floats(0.0, 100.0), st.floats(0.0, 100.0), st.floats(0.0, 50.0), st.floats(0.0, 50.0))
def test_the_margin_never_shrinks(one: float, other: float, begin: float, length: float) -> None:
    now, later = (margin(epoch, full=0.2, warm_up=(begin, begin + length)) for epoch in sorted((one, other)))
    assert now <= later


@pytest.mark.parametrize(("epoch", "expected"), [(0.0, 0.0), (1.99, 0.0), (2.0, 0.3), (2.5, 0.3)])
def test_a_warm_up_without_length_is_a_step(epoch: float, expected: float) -> None:
    assert margin(epoch, full=0.3, warm_up=(2.0, 2.0)) == expected


def test_without_a_warm_up_the_margin_is_whole_at_once() -> None:
    assert margin(0.0, full=0.3, warm_up=(0.0, 0.0)) == 0.3


# Patience.


def followed(limit: int, errors: list[float]) -> list[Patience]:
    states = [Patience(limit)]
    for epoch, error in enumerate(errors):
        states.append(states[-1].after(epoch, error))
    return states


@given(st.integers(0, 6), st.lists(st.one_of(st.integers(0, 5).map(float), st.just(math.nan)), max_size=15))
def test_patience_knows_the_first_best_epoch_and_how_long_ago_it_was(limit: int, errors: list[float]) -> None:
    for done, state in enumerate(followed(limit, errors)):
        past = [(error, epoch) for epoch, error in enumerate(errors[:done]) if not math.isnan(error)]
        best = min(past, default=(None, None))
        assert (state.best, state.best_epoch) == best
        assert state.waited == (done if best[1] is None else done - 1 - best[1])
        assert state.improved == (best[1] is not None and best[1] == done - 1)
        assert state.exhausted == (limit > 0 and state.waited >= limit)


def test_patience_ends_after_as_many_epochs_as_it_has() -> None:
    exhausted = [state.exhausted for state in followed(5, [0.5, 0.4, 0.4, 0.41, 0.5, 0.4, 0.6, 0.1])]
    assert exhausted.index(True) == 7


def test_patience_without_a_limit_never_ends() -> None:
    assert not any(state.exhausted for state in followed(0, [0.5] * 50))


def test_a_stored_patience_goes_on_where_it_was() -> None:
    states = followed(3, [0.5, 0.4, 0.45, 0.44])
    for state in states:
        assert Patience(**json.loads(json.dumps(asdict(state), allow_nan=False))) == state
