from pathlib import Path

import pytest

from tests.store.rows import unit_vectors
from vecsv.audio.decode import Clip
from vecsv.query.ask import Query, SearchResult
from vecsv.query.search import Hit
from vecsv.query.several import Sightings, Verdict, side_by_side
from vecsv.query.thresholds import given
from vecsv.query.verify import Side, Verification, compare

ONE = Side("a.wav", unit_vectors(1))
QUERY = Query(Clip(Path("a.wav")), "a.wav")


def says(same: bool | None) -> Verification:
    threshold = None if same is None else given(-2.0 if same else 2.0)
    answer = compare(ONE, ONE, threshold, model="m", fingerprint="f")
    assert answer.same is same
    return answer


def found(speaker: str | None, passes: bool | None = True) -> SearchResult:
    hits = () if speaker is None else (Hit(1, speaker, 0.9, "u", "p", 0, enrolled=False, passes=passes),)
    return SearchResult(QUERY, hits)


@pytest.mark.parametrize(
    ("answers", "agree", "same", "undecided"),
    [
        ((True, True), True, True, False),
        ((False, False), True, False, False),
        ((True, False), False, None, False),
        ((True, None), False, None, True),
        ((None, None), False, None, True),
        ((True, True, False), False, None, False),
    ],
)
def test_a_verdict_is_what_all_stores_say(
    answers: tuple[bool | None, ...], agree: bool, same: bool | None, undecided: bool
) -> None:
    verdict = Verdict({str(number): says(one) for number, one in enumerate(answers)})
    assert (verdict.agree, verdict.same, verdict.undecided) == (agree, same, undecided)


@pytest.mark.parametrize(
    ("answers", "agree", "speaker"),
    [
        ((found("ann"), found("ann")), True, "ann"),
        ((found("ann"), found("ann", passes=False)), True, None),
        ((found("ann"), found("ann", passes=None)), True, None),
        ((found("ann"), found("ben")), False, None),
        ((found("ann"), found(None)), False, None),
        ((found(None), found(None)), False, None),
    ],
)
def test_stores_agree_on_the_closest_speaker_and_decide_where_each_lets_it_pass(
    answers: tuple[SearchResult, ...], agree: bool, speaker: str | None
) -> None:
    sightings = Sightings({str(number): one for number, one in enumerate(answers)})
    assert (sightings.agree, sightings.speaker) == (agree, speaker)


def test_results_are_joined_query_by_query() -> None:
    left, right = [found("ann"), found("ben")], [found("eve"), found("ben")]
    joined = side_by_side({"left": left, "right": right})
    assert [list(one.answers) for one in joined] == [["left", "right"]] * 2
    assert [one.agree for one in joined] == [False, True]
    assert joined[1].answers["right"] is right[1]
