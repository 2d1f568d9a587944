from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsv.errors import TrainingError
from vecsv.training.data.classes import Classes
from vecsv.training.data.recordings import Corpus, Recording
from vecsv.training.data.sampling import EpochPlan, Example

FACTORS = (1.0, 0.9, 1.1)


def corpus_of(lengths: list[tuple[str, float]]) -> Corpus:
    return Corpus.of(
        Recording(str(number), Path(str(number)), None, speaker, 16000, 0, round(16000 * length))
        for number, (speaker, length) in enumerate(lengths)
    )


def plan_of(
    corpus: Corpus, *, factors: tuple[float, ...] = FACTORS, new_speakers: bool = True, **options: object
) -> EpochPlan:
    classes = Classes(corpus.speakers, factors, new_speakers)
    return EpochPlan(corpus, classes, **({"crop_s": 3.0, "seed": 1, "epoch": 0} | options))


def examples(plan: EpochPlan) -> list[Example]:
    return [plan[position] for position in range(len(plan))]


def near(count: float, share: float) -> bool:
    """Whether a count is the whole number next below or above a share."""
    return abs(count - share) < 1 + 1e-9


corpora = (
    st.lists(st.tuples(st.sampled_from("abcdef"), st.floats(0.5, 30.0)), min_size=2, max_size=30)
    .map(corpus_of)
    .filter(lambda corpus: len(corpus.speakers) > 1)
)


@settings(max_examples=40)
@given(corpora, st.integers(1, 150), st.integers(0, 2**32), st.integers(0, 100))
def test_naturally_each_recording_gets_its_share(corpus: Corpus, crops: int, seed: int, epoch: int) -> None:
    drawn = examples(plan_of(corpus, crops=crops, seed=seed, epoch=epoch))

    assert len(drawn) == crops
    counts = Counter(example.recording for example in drawn)
    weights = [max(3.0, recording.duration_s) for recording in corpus.recordings]
    for number, weight in enumerate(weights):
        assert near(counts[number], crops * weight / sum(weights))


@settings(max_examples=40)
@given(corpora, st.integers(1, 150), st.integers(0, 2**32), st.integers(0, 100))
def test_balanced_each_speaker_gets_its_share_and_each_recording_its_part(
    corpus: Corpus, crops: int, seed: int, epoch: int
) -> None:
    drawn = examples(plan_of(corpus, sampling="balanced", crops=crops, seed=seed, epoch=epoch))

    recordings = corpus.recordings
    speakers = Counter(recordings[example.recording].speaker for example in drawn)
    counts = Counter(example.recording for example in drawn)
    totals: Counter[str] = Counter()
    for recording in recordings:
        totals[recording.speaker] += max(3.0, recording.duration_s)
    for number, recording in enumerate(recordings):
        share = crops / len(corpus.speakers)
        assert near(speakers[recording.speaker], share)
        assert near(counts[number], share * max(3.0, recording.duration_s) / totals[recording.speaker])


@settings(max_examples=40)
@given(corpora, st.integers(1, 150), st.sampled_from(["natural", "balanced"]), st.booleans())
def test_speeds_are_equally_often_also_within_a_speaker(
    corpus: Corpus, crops: int, sampling: str, new_speakers: bool
) -> None:
    drawn = examples(plan_of(corpus, crops=crops, sampling=sampling, new_speakers=new_speakers))

    speeds = Counter(example.factor for example in drawn)
    assert max(speeds[factor] for factor in range(3)) - min(speeds[factor] for factor in range(3)) <= 1
    for speaker in corpus.speakers:
        own = Counter(example.factor for example in drawn if corpus.recordings[example.recording].speaker == speaker)
        assert max(own[factor] for factor in range(3)) - min(own[factor] for factor in range(3)) <= 1


@settings(max_examples=20)
@given(corpora, st.booleans())
def test_labels_are_those_of_the_speaker_and_the_speed(corpus: Corpus, new_speakers: bool) -> None:
    plan = plan_of(corpus, new_speakers=new_speakers)

    for example in examples(plan):
        speaker = corpus.speakers.index(corpus.recordings[example.recording].speaker)
        assert example.label == speaker + (example.factor * len(corpus.speakers) if new_speakers else 0)


def test_labels_count_the_classes_speakers_and_not_the_corpus_own() -> None:
    corpus = corpus_of([("bob", 3.0), ("cai", 3.0)])

    plan = EpochPlan(corpus, Classes(("ann", "bob", "cai")), crop_s=3.0, seed=0, epoch=0)

    assert sorted(example.label for example in examples(plan)) == [1, 2]


def test_a_speaker_that_is_no_class_is_refused() -> None:
    with pytest.raises(TrainingError, match='"cai" speaks in the recordings'):
        EpochPlan(corpus_of([("cai", 3.0)]), Classes(("ann", "bob")), crop_s=3.0, seed=0, epoch=0)


def test_an_unknown_sampling_is_refused() -> None:
    with pytest.raises(TrainingError, match="sampling is 'fair'"):
        plan_of(corpus_of([("ann", 3.0), ("bob", 3.0)]), sampling="fair")


def test_an_epoch_has_the_crops_that_the_recordings_hold() -> None:
    corpus = corpus_of([("ann", 9.0), ("ann", 8.9), ("bob", 1.0)])

    assert len(plan_of(corpus, factors=(1.0,))) == 3 + 2 + 1
    assert len(plan_of(corpus)) == 3 * 6
    assert len(plan_of(corpus, new_speakers=False)) == 6
    assert {example.recording for example in examples(plan_of(corpus, factors=(1.0,)))} == {0, 1, 2}


def test_a_plan_is_the_same_in_another_process() -> None:
    corpus = corpus_of([("ann", 9.0), ("ann", 4.0), ("bob", 1.0)])
    plan = plan_of(corpus, seed=3, epoch=2)
    script = (
        "from pathlib import Path\n"
        "from vecsv.training.data.classes import Classes\n"
        "from vecsv.training.data.recordings import Corpus, Recording\n"
        "from vecsv.training.data.sampling import EpochPlan\n"
        f"from pathlib import {type(corpus.recordings[0].path).__name__}\n"
        f"corpus = Corpus.of({corpus.recordings!r})\n"
        f"plan = EpochPlan(corpus, Classes(corpus.speakers, {FACTORS}), crop_s=3.0, seed=3, epoch=2)\n"
        "print([plan[position] for position in range(len(plan))])\n"
    )

    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert other.strip() == str(examples(plan))


def test_other_epochs_and_other_seeds_draw_other_crops_in_another_order() -> None:
    corpus = corpus_of([(speaker, 9.0) for speaker in "abcdefgh"])

    plans = [examples(plan_of(corpus, seed=seed, epoch=epoch)) for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))]

    seeds = {example.seed for plan in plans for example in plan}
    assert len(seeds) == sum(map(len, plans))
    orders = [tuple(example.recording for example in plan) for plan in plans]
    assert len(set(orders)) == 4


def test_where_shares_are_no_whole_numbers_the_rest_is_drawn_evenly() -> None:
    corpus = corpus_of([(f"speaker{number}", 3.0) for number in range(10)])
    counts: Counter[int] = Counter()

    for epoch in range(300):
        counts.update(example.recording for example in examples(plan_of(corpus, crops=3, epoch=epoch)))

    # Of 900 crops 90 each; the standard deviation of a count is 7.9.
    assert min(counts[number] for number in range(10)) > 55
    assert max(counts.values()) < 125


def test_less_than_a_crop_is_drawn_as_often_as_its_share_says() -> None:
    corpus = corpus_of([("ann", 12.0), ("bob", 3.0)])

    drawn = Counter(plan_of(corpus, crops=1, epoch=epoch)[0].recording for epoch in range(300))

    # A fifth of 300; the standard deviation is 6.9.
    assert 60 - 35 < drawn[1] < 60 + 35


def test_neighbours_in_an_epoch_are_no_neighbours_in_the_corpus() -> None:
    corpus = corpus_of([(f"speaker{number:03d}", 9.0) for number in range(300)])

    order = [example.recording for example in examples(plan_of(corpus, factors=(1.0,)))]

    # All crops of a recording together, or in the corpus' order, would be 1 and 600 out of 899.
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.15
    assert sum(first == second for first, second in pairwise(order)) < 20


@pytest.mark.parametrize("position", [-1, 6])
def test_a_position_beyond_the_epoch_is_refused(position: int) -> None:
    plan = plan_of(corpus_of([("ann", 9.0), ("bob", 9.0)]), factors=(1.0,))

    with pytest.raises(IndexError):
        plan[position]
