from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.errors import ModelError
from vecsv.models.ge2e import WINDOWING
from vecsv.models.windows import POOLING, Pooling, Windowing

GOLDEN = json.loads(Path(__file__).with_name("windows_golden.json").read_text(encoding="utf-8"))
HOP = 160


def test_windows_are_those_of_the_public_package() -> None:
    found = [[samples, len(WINDOWING.starts(samples=samples, hop=HOP))] for samples, _ in GOLDEN["samples_windows"]]
    assert found == GOLDEN["samples_windows"]


@pytest.mark.parametrize(
    "wrong",
    [Windowing(160, 78, 0.75), Windowing(160, 76, 0.75), Windowing(161, 77, 0.75), Windowing(160, 77, 0.74)],
)
def test_no_neighbouring_rule_gives_the_public_package_s_windows(wrong: Windowing) -> None:
    found = [[samples, len(wrong.starts(samples=samples, hop=HOP))] for samples, _ in GOLDEN["samples_windows"]]
    assert found != GOLDEN["samples_windows"]


rules = st.integers(1, 200).flatmap(
    lambda frames: st.builds(Windowing, st.just(frames), st.integers(1, frames), st.floats(0.01, 1.0))
)


@given(rule=rules, samples=st.integers(1, 100_000), hop=st.integers(1, 320))
def test_windows_are_evenly_spaced_and_the_last_is_covered_enough_unless_it_is_alone(
    rule: Windowing, samples: int, hop: int
) -> None:
    starts = rule.starts(samples=samples, hop=hop)
    assert starts == [rule.step * place for place in range(len(starts))]
    if len(starts) > 1:
        assert samples - starts[-1] * hop >= rule.min_coverage * rule.frames * hop


@given(rule=rules, samples=st.integers(1, 100_000), hop=st.integers(1, 320))
def test_all_whole_windows_of_a_recording_are_there(rule: Windowing, samples: int, hop: int) -> None:
    starts = set(rule.starts(samples=samples, hop=hop))
    whole = (samples - rule.frames * hop) // (rule.step * hop) + 1 if samples >= rule.frames * hop else 0
    assert starts >= {rule.step * place for place in range(whole)}


def test_rules_survive_a_round_trip_through_json_text() -> None:
    assert Windowing.from_json(json.loads(json.dumps(WINDOWING.to_json()))) == WINDOWING
    assert Pooling.from_json(json.loads(json.dumps(POOLING.to_json()))) == POOLING


@pytest.mark.parametrize("values", [{}, {"frames": 160}, {"frames": "many", "step": 77, "min_coverage": 0.75}])
def test_json_that_is_no_windowing_rule_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="windowing"):
        Windowing.from_json(values)


@pytest.mark.parametrize("values", [(160, 0, 0.75), (160, 161, 0.75), (160, 77, 0.0), (160, 77, 1.1)])
def test_an_impossible_rule_is_refused(values: tuple[int, int, float]) -> None:
    with pytest.raises(ModelError, match="impossible windowing"):
        Windowing(*values)


@pytest.mark.parametrize(
    "change", [{"windows": "max"}, {"blocks": "mean"}, {"block_s": 0.0}, {"block_s": True}, {"x": 1}]
)
def test_another_pooling_is_refused_because_this_version_has_only_one(change: dict[str, object]) -> None:
    with pytest.raises(ModelError, match="not known to this version"):
        Pooling.from_json({**POOLING.to_json(), **change})


def test_blocks_may_be_of_another_length() -> None:
    assert Pooling.from_json({**POOLING.to_json(), "block_s": 30}) == Pooling(block_s=30.0)
