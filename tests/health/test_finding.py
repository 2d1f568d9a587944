from __future__ import annotations

import pytest

from vecsv.health.finding import at_least, at_most, failed, skipped


@pytest.mark.parametrize(("value", "outcome"), [(0.9, "pass"), (1.0, "pass"), (1.1, "fail"), (float("nan"), "fail")])
def test_a_figure_may_reach_its_upper_limit_but_not_pass_it(value: float, outcome: str) -> None:
    assert at_most("x", value, 1.0, "").outcome == outcome


@pytest.mark.parametrize(("value", "outcome"), [(0.9, "fail"), (1.0, "pass"), (1.1, "pass"), (float("nan"), "fail")])
def test_a_figure_has_to_reach_its_lower_limit(value: float, outcome: str) -> None:
    assert at_least("x", value, 1.0, "").outcome == outcome


def test_what_json_cannot_say_is_left_out() -> None:
    assert at_most("x", float("inf"), 1.0, "").value is None
    assert at_most("x", float("nan"), 1.0, "").value is None
    assert at_most("x", 2.0, 1.0, "").value == 2.0


def test_outcomes_without_a_figure_say_why() -> None:
    assert (skipped("x", "no torch").outcome, skipped("x", "no torch").measured) == ("skipped", "no torch")
    assert (failed("x", "broken").outcome, failed("x", "broken").measured) == ("fail", "broken")
