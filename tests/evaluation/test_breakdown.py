import numpy as np
import pytest

from vecsv.calibration.bootstrap import speaker_bootstrap
from vecsv.calibration.evaluate import evaluate
from vecsv.errors import UsageError
from vecsv.evaluation import breakdown
from vecsv.evaluation.breakdown import Breakdown, Part, break_down
from vecsv.evaluation.scoring import ScoredTrials, Side

SPEAKERS = np.arange(60) // 6
DEVICES = ["phone", "headset", None]


def broken_down(trials: ScoredTrials, column: str, *, threshold: float, seed: int = 0) -> Breakdown:
    return break_down(trials, column, threshold=threshold, speakers=SPEAKERS, seed=seed)


@pytest.fixture(scope="module")
def trials() -> ScoredTrials:
    random = np.random.default_rng(4)
    sides = []
    for at in range(60):
        device = DEVICES[at % 3]
        speaker = f"speaker-{at // 6}"
        sides.append(Side(f"{at}.wav", speaker, {"speaker": speaker} | ({"device": device} if device else {})))
    first, second = np.triu_indices(60, 1)
    labels = first // 6 == second // 6
    scores = (random.normal(0.3, 0.1, first.size) + 0.3 * labels).astype(np.float32)
    return ScoredTrials(tuple(sides), first, second, labels, scores)


def rates(scores: list[float], labels: list[bool], threshold: float) -> tuple[float | None, float | None]:
    false = [score >= threshold for score, label in zip(scores, labels, strict=True) if not label]
    missed = [score < threshold for score, label in zip(scores, labels, strict=True) if label]
    return (sum(false) / len(false) if false else None), (sum(missed) / len(missed) if missed else None)


def check(part: Part, chosen: list[tuple[float, bool]], threshold: float) -> None:
    scores, labels = [score for score, _ in chosen], [label for _, label in chosen]
    assert (part.targets, part.non_targets) == (labels.count(True), labels.count(False))
    assert (part.fmr, part.fnmr) == pytest.approx(rates(scores, labels, threshold))
    if True in labels and False in labels:
        assert part.metrics == evaluate(np.float32(scores), np.array(labels))
    else:
        assert part.metrics is None


def test_a_part_holds_the_trials_both_sides_of_which_have_the_value(trials: ScoredTrials) -> None:
    parts = broken_down(trials, "device", threshold=0.5).parts
    assert [(part.kind, part.value) for part in parts] == [
        ("same", "headset"),
        ("same", "phone"),
        ("mixed", None),
        ("unknown", None),
    ]
    listed = list(zip(trials.first, trials.second, trials.scores.tolist(), trials.labels.tolist(), strict=True))
    devices = [(DEVICES[one % 3], DEVICES[other % 3], score, label) for one, other, score, label in listed]
    for part, device in zip(parts[:2], ("headset", "phone"), strict=True):
        check(part, [(score, label) for one, other, score, label in devices if one == other == device], 0.5)
    check(parts[2], [(score, label) for one, other, score, label in devices if one and other and one != other], 0.5)
    check(parts[3], [(score, label) for one, other, score, label in devices if not (one and other)], 0.5)


def test_the_parts_of_a_column_share_out_all_trials(trials: ScoredTrials) -> None:
    parts = broken_down(trials, "device", threshold=0.5).parts
    assert sum(part.targets + part.non_targets for part in parts) == len(trials.scores)


def test_of_a_speaker_the_non_targets_are_those_with_anybody_else(trials: ScoredTrials) -> None:
    parts = broken_down(trials, "speaker", threshold=0.45).parts
    assert [part.value for part in parts] == [f"speaker-{at}" for at in range(10)]
    listed = list(zip(trials.first, trials.second, trials.scores.tolist(), trials.labels.tolist(), strict=True))
    for at, part in enumerate(parts):
        check(part, [(score, label) for one, other, score, label in listed if at in (one // 6, other // 6)], 0.45)


def test_a_part_of_one_kind_says_which_kind_is_missing_and_keeps_the_other_rate(trials: ScoredTrials) -> None:
    only = trials.where((trials.first % 3 == 0) & (trials.second % 3 == 0) & ~trials.labels)
    (part,) = broken_down(only, "device", threshold=0.5).parts
    assert (part.metrics, part.fnmr, part.note) == (None, None, "no targets")
    assert part.fmr == pytest.approx(float((only.scores >= np.float32(0.5)).mean()))


def test_few_trials_are_said_to_be_few(trials: ScoredTrials) -> None:
    (part,) = broken_down(trials.where(trials.first == 0), "speaker", threshold=0.5).parts[:1]
    assert part.note == "too few: 5 targets"
    assert broken_down(trials, "device", threshold=0.5).parts[2].note is None


def test_few_speakers_are_few_however_many_trials_they_give(trials: ScoredTrials) -> None:
    parts = broken_down(trials.where(trials.second < 12), "device", threshold=0.5).parts
    assert [(part.speakers, part.intervals) for part in parts] == [(2, None)] * 4
    assert parts[2].note == "too few: 8 targets, 8 non-targets, 2 speakers"


def test_intervals_of_a_part_draw_its_speakers_again(trials: ScoredTrials) -> None:
    headset = broken_down(trials, "device", threshold=0.5, seed=3).parts[0]
    chosen = trials.where((trials.first % 3 == 1) & (trials.second % 3 == 1))
    people = SPEAKERS[chosen.first], SPEAKERS[chosen.second]
    assert headset.intervals == speaker_bootstrap(*people, chosen.scores, chosen.labels, seed=3)
    assert headset.speakers == 10


def test_a_column_of_very_many_parts_and_that_of_speakers_have_no_intervals(
    trials: ScoredTrials, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {part.intervals for part in broken_down(trials, "speaker", threshold=0.5).parts} == {None}
    monkeypatch.setattr(breakdown, "MOST_INTERVALS", 3)
    assert {part.intervals for part in broken_down(trials, "device", threshold=0.5).parts} == {None}


def test_an_unknown_column_is_an_error_that_names_those_there_are(trials: ScoredTrials) -> None:
    with pytest.raises(UsageError, match=r"no column 'language' \(there are: device, speaker\)"):
        broken_down(trials, "language", threshold=0.5)
    bare = ScoredTrials((Side("a", None, {}),) * 60, trials.first, trials.second, trials.labels, trials.scores)
    with pytest.raises(UsageError, match="give --manifest or --store"):
        broken_down(bare, "language", threshold=0.5)


def test_rejecting_all_is_null_in_json(trials: ScoredTrials) -> None:
    document = broken_down(trials, "device", threshold=float("inf")).to_json()
    assert document["threshold"] is None
    assert document["parts"][0]["fnmr"] == 1.0
