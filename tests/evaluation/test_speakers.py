import numpy as np
import pytest

from vecsv.errors import TrialListError
from vecsv.evaluation.scoring import ScoredTrials, Side
from vecsv.evaluation.speakers import speaker_codes


def trials(speakers: list[str | None], pairs: list[tuple[int, int, bool]]) -> ScoredTrials:
    first, second, labels = (np.array(column) for column in zip(*pairs, strict=True))
    sides = tuple(Side(f"side-{at}", speaker, {}) for at, speaker in enumerate(speakers))
    return ScoredTrials(sides, first, second, labels, np.zeros(len(pairs), np.float32))


def partition(speakers: list[str | None], pairs: list[tuple[int, int, bool]]) -> set[frozenset[int]]:
    codes, _ = speaker_codes(trials(speakers, pairs))
    return {frozenset(np.flatnonzero(codes == code).tolist()) for code in codes}


def test_known_speakers_are_taken_as_they_are() -> None:
    pairs = [(0, 1, True), (0, 2, False)]
    assert partition(["ann", "ann", "bob", "ann"], pairs) == {frozenset({0, 1, 3}), frozenset({2})}


def test_unknown_speakers_follow_from_chains_of_targets() -> None:
    pairs = [(0, 1, True), (2, 1, True), (0, 3, False), (3, 4, False)]
    assert partition([None] * 5, pairs) == {frozenset({0, 1, 2}), frozenset({3}), frozenset({4})}


def test_a_target_ties_an_unknown_side_to_a_known_speaker() -> None:
    assert partition(["ann", None, "ann", "bob"], [(0, 1, True), (2, 3, False)]) == {
        frozenset({0, 1, 2}),
        frozenset({3}),
    }


@pytest.mark.parametrize(("pair", "claim"), [((0, 1, True), "one speaker"), ((0, 2, False), "two speakers")])
def test_a_label_against_the_manifest_is_an_error_with_its_line(pair: tuple[int, int, bool], claim: str) -> None:
    given = trials(["ann", "bob", "ann"], [(0, 2, True), pair])
    with pytest.raises(TrialListError, match=rf"trials\.txt, line 9: the label says {claim}, but side-0 is of ann"):
        speaker_codes(given, np.array([4, 9]), where="trials.txt")


def test_non_targets_that_contradict_the_targets_are_marked() -> None:
    _, contradicted = speaker_codes(trials([None] * 3, [(0, 1, True), (1, 2, True), (0, 2, False)]))
    assert contradicted.tolist() == [False, False, True]
