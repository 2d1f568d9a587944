from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsv.errors import TrainingError
from vecsv.training.data.classes import Classes

SPEAKERS = ("ann", "bob", "cai")


@pytest.mark.parametrize("new_speakers", [True, False])
def test_unchanged_voices_have_the_first_labels(new_speakers: bool) -> None:
    classes = Classes(SPEAKERS, (1.0, 0.9, 1.1), new_speakers)

    assert [classes.label(speaker, 0) for speaker in range(3)] == [0, 1, 2]
    assert classes.names()[:3] == list(SPEAKERS)
    assert classes.numbers == {"ann": 0, "bob": 1, "cai": 2}


def test_a_voice_at_another_speed_is_another_class() -> None:
    classes = Classes(SPEAKERS, (1.0, 0.9, 1.1), new_speakers=True)

    assert classes.count == 9
    assert sorted(classes.label(speaker, factor) for speaker in range(3) for factor in range(3)) == list(range(9))
    assert classes.names()[classes.label(1, 2)] == "bob, speed 1.1"
    assert len(set(classes.names())) == 9


def test_a_voice_at_another_speed_may_keep_its_class() -> None:
    classes = Classes(SPEAKERS, (1.0, 0.9, 1.1), new_speakers=False)

    assert classes.count == 3
    assert [classes.label(1, factor) for factor in range(3)] == [1, 1, 1]
    assert classes.names() == list(SPEAKERS)


@settings(max_examples=30)
@given(
    st.lists(st.text(), min_size=2, max_size=5, unique=True),
    st.lists(st.floats(0.5, 2.0).filter(lambda speed: speed != 1.0), max_size=4, unique=True),
    st.booleans(),
)
def test_classes_come_back_from_json(speakers: list[str], speeds: list[float], new_speakers: bool) -> None:
    classes = Classes(tuple(speakers), (1.0, *speeds), new_speakers)

    assert Classes.from_json(json.loads(json.dumps(classes.to_json()))) == classes


@pytest.mark.parametrize(
    ("speakers", "factors", "message"),
    [
        (("ann",), (1.0,), "1 speakers, but it takes two"),
        ((), (1.0,), "0 speakers"),
        (("ann", "ann"), (1.0,), "twice"),
        (SPEAKERS, (0.9, 1.0), "begin with 1"),
        (SPEAKERS, (), "begin with 1"),
        (SPEAKERS, (1.0, 0.9, 0.9), "different"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(
    speakers: tuple[str, ...], factors: tuple[float, ...], message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        Classes(speakers, factors)
