from __future__ import annotations

import itertools
import tracemalloc
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.calibration.pairs import PairSample, PairTally, sample_pairs
from vecsv.errors import CalibrationError, UsageError

Pair = tuple[int, int]


@dataclass(frozen=True)
class Row:
    """One utterance."""

    speaker: int
    session: int
    recording: int
    start: float
    end: float


rows = st.lists(
    st.builds(
        lambda speaker, session, recording, start, length: Row(speaker, session, recording, start, start + length),
        st.integers(0, 3),
        st.integers(-1, 2),
        st.integers(-1, 3),
        st.integers(0, 4),
        st.integers(1, 3),
    ),
    min_size=2,
    max_size=14,
)


def _sample(content: list[Row], **options: Any) -> PairSample:
    return sample_pairs(
        [row.speaker for row in content],
        sessions=[row.session for row in content],
        recordings=[row.recording for row in content],
        start=[row.start for row in content],
        end=[row.end for row in content],
        **options,
    )


def _enumerated(content: list[Row], cross_session: bool) -> dict[bool, tuple[set[Pair], int, int]]:
    """By kind (targets are True): the pairs there are, how many overlap, how many are of one session."""
    result: dict[bool, tuple[set[Pair], int, int]] = {}
    for kind in (True, False):
        kept, overlapping, same_session = set(), 0, 0
        for (i, a), (j, b) in itertools.combinations(enumerate(content), 2):
            if (a.speaker == b.speaker) != kind or (cross_session and min(a.session, b.session) < 0):
                continue
            if a.recording == b.recording >= 0 and max(a.start, b.start) < min(a.end, b.end):
                overlapping += 1
            elif cross_session and a.session == b.session:
                same_session += 1
            else:
                kept.add((i, j))
        result[kind] = kept, overlapping, same_session
    return result


def _pairs(sample: PairSample, kind: bool) -> list[Pair]:
    taken = sample.label == kind
    return list(zip(sample.first[taken].tolist(), sample.second[taken].tolist(), strict=True))


@given(rows, st.booleans(), st.integers(0, 2**32))
def test_when_all_are_wanted_the_pairs_are_those_of_enumerating(
    content: list[Row], cross_session: bool, seed: int
) -> None:
    expected = _enumerated(content, cross_session)
    if not expected[True][0] or not expected[False][0]:
        with pytest.raises(CalibrationError, match="there is no"):
            _sample(content, seed=seed, cross_session=cross_session)
        return
    sample = _sample(content, seed=seed, cross_session=cross_session)
    for kind, tally in ((True, sample.targets), (False, sample.non_targets)):
        pairs, overlapping, same_session = expected[kind]
        assert sorted(_pairs(sample, kind)) == sorted(pairs)
        assert tally == PairTally(len(pairs), len(pairs), overlapping, same_session)
    unknown = sum(row.session < 0 for row in content)
    assert sample.without_session == (unknown if cross_session else 0)


@given(rows, st.booleans(), st.integers(1, 4), st.integers(1, 6), st.sampled_from([0.5, 1, 2]), st.integers(0, 99))
def test_a_part_is_distinct_pairs_of_those_there_are_within_the_caps(
    content: list[Row], cross_session: bool, cap: int, most: int, ratio: float, seed: int
) -> None:
    expected = _enumerated(content, cross_session)
    if not expected[True][0] or not expected[False][0]:
        return
    options = {"cross_session": cross_session, "per_speaker_cap": cap, "max_targets": most, "ratio": ratio}
    sample = _sample(content, seed=seed, **options)
    targets, non_targets = _pairs(sample, True), _pairs(sample, False)
    assert len(set(targets)) == len(targets) == sample.targets.taken
    assert len(set(non_targets)) == len(non_targets) == sample.non_targets.taken
    assert set(targets) <= expected[True][0]
    assert set(non_targets) <= expected[False][0]

    available = np.bincount([content[i].speaker for i, _ in expected[True][0]], minlength=4)
    assert sample.speakers_capped == np.count_nonzero(available > cap)
    assert len(targets) == min(np.minimum(available, cap).sum(), most)
    assert np.bincount([content[i].speaker for i, _ in targets], minlength=4).max() <= cap
    assert len(non_targets) == min(max(1, int(ratio * len(targets))), len(expected[False][0]))
    assert sample.ratio_reached == len(non_targets) / len(targets)
    assert sample.same_session.tolist() == [
        content[i].session == content[j].session >= 0 for i, j in zip(sample.first, sample.second, strict=True)
    ]


def test_golden_pairs_are_those_without_self_pairs(golden: dict[str, Any]) -> None:
    content = golden["pairs"]["P1"]
    speakers = np.unique(content["labels"], return_inverse=True)[1]
    sample = sample_pairs(speakers, seed=0)
    assert (sample.targets.taken, sample.non_targets.taken) == (content["n_target"], content["n_nontarget"])
    found = {(i, j, int(label)) for label in (True, False) for i, j in _pairs(sample, label)}
    assert found == {(i, j, label) for i, j, _, label in content["pairs_i_j_cos_target"]}


def test_one_seed_gives_one_sample_and_another_another() -> None:
    speakers = np.arange(300) % 20
    one, again, other = (sample_pairs(speakers, seed=seed, ratio=5, per_speaker_cap=10) for seed in (1, 1, 2))
    assert np.array_equal(one.first, again.first)
    assert np.array_equal(one.second, again.second)
    assert not np.array_equal(one.first, other.first)
    assert "PCG64" in one.generator
    assert (one.seed, one.ratio_asked) == (1, 5)


@pytest.mark.parametrize("cross_session", [True, False])
def test_over_many_seeds_every_pair_is_taken_equally_often(cross_session: bool) -> None:
    from scipy.special import chdtrc

    content = [Row(k % 3, k // 3 % 2, k // 2 if k < 6 else -1, k % 2 / 2, k % 2 / 2 + 1) for k in range(12)]
    enumerated = _enumerated(content, cross_session)
    available = {kind: dict.fromkeys(enumerated[kind][0], 0) for kind in (True, False)}
    seeds = 1500
    for seed in range(seeds):
        sample = _sample(content, seed=seed, ratio=2, per_speaker_cap=None, max_targets=3, cross_session=cross_session)
        for kind, times in available.items():
            for pair in _pairs(sample, kind):
                times[pair] += 1
    for kind, taken in ((True, 3), (False, 6)):
        counts = np.array(list(available[kind].values()))
        assert counts.sum() == taken * seeds
        # Drawn without replacement the counts vary less than the statistic assumes.
        statistic = counts.var() / counts.mean() * counts.size * (counts.size - 1) / (counts.size - taken)
        assert 1e-3 < chdtrc(counts.size - 1, statistic) < 1 - 1e-3


def test_a_speaker_with_many_recordings_does_not_dominate() -> None:
    speakers = np.array([0] * 500 + [1] * 5 + [2] * 5)
    sample = sample_pairs(speakers, seed=0, per_speaker_cap=10, ratio=3)
    assert np.bincount(speakers[sample.first[sample.label]]).tolist() == [10, 10, 10]
    assert sample.speakers_capped == 1
    assert sample.targets.available == 500 * 499 // 2 + 20


def test_fewer_non_targets_than_asked_are_all_taken_and_the_ratio_is_told() -> None:
    sample = sample_pairs([0, 0, 0, 1], seed=0)
    assert (sample.targets.taken, sample.non_targets.taken) == (3, 3)
    assert (sample.ratio_asked, sample.ratio_reached) == (99, 1.0)


def test_ninety_nine_non_targets_a_target_where_there_are_enough() -> None:
    sample = sample_pairs(np.arange(400) // 2, seed=0)
    assert sample.targets.taken == 200
    assert sample.non_targets.taken == 19_800
    assert sample.ratio_reached == 99


def test_sizes_that_fill_a_disk_as_pairs_stay_in_proportion_to_the_utterances() -> None:
    utterances = 300_000
    random = np.random.default_rng(0)
    # One huge speaker (4e9 pairs), many small ones, and cuts that overlap their neighbour now and then.
    speakers = np.where(random.random(utterances) < 0.3, 0, random.integers(1, 30_000, utterances))
    recordings = np.arange(utterances) // 2
    start = np.where(np.arange(utterances) % 20 == 1, 0.5, np.arange(utterances) % 2)
    options = {"recordings": recordings, "start": start, "end": start + 1, "max_targets": 2000}
    tracemalloc.start()
    try:
        sample = sample_pairs(speakers, seed=0, sessions=recordings // 3, cross_session=True, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sample.targets.available > 4 * 10**9
    assert sample.non_targets.available > 4 * 10**10
    assert sample.label.size == 200_000
    # Forty arrays of int64, where the pairs of the huge speaker alone would be twenty-seven thousand.
    assert peak < 40 * 8 * utterances
    assert (speakers[sample.first] == speakers[sample.second]).tolist() == sample.label.tolist()
    assert (sample.first < sample.second).all()
    assert np.unique(sample.first * utterances + sample.second).size == sample.label.size


@pytest.mark.parametrize(
    ("speakers", "options", "message"),
    [
        ([], {}, "no target pair"),
        ([0, 1, 2], {}, "no target pair: 0 overlap, 0 are of one session.*a speaker with two recordings"),
        ([0, 0], {}, "no non-target pair.*two speakers"),
        ([0, 0, 1], {"recordings": [4, 4, 5]}, "no target pair: 1 overlap"),
        ([0, 0, 1], {"sessions": [4, 4, 5], "cross_session": True}, "1 are of one session.*in different sessions"),
        ([0, 0, 1], {"cross_session": True}, "3 utterances are without a session"),
        ([0, -1, 1], {}, "utterance 1: the speaker is unknown"),
        ([0.5, 1.0], {}, "speaker codes must be integers, not float64"),
        ([0, 0, 1], {"sessions": [1, 2]}, "session codes have shape"),
        ([0, 0, 1], {"start": [0.0, 1.0, 2.0], "end": [1.0, 1.0, 3.0]}, "utterance 1: start 1.0 s and end 1.0 s"),
        ([0, 0, 1], {"start": [0.0, 1.0, float("nan")]}, "utterance 2: start nan"),
    ],
)
def test_what_gives_no_pairs_is_an_error_that_says_why(speakers: list[Any], options: Any, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        sample_pairs(speakers, seed=0, **options)


@pytest.mark.parametrize(
    "options", [{"seed": -1}, {"ratio": 0}, {"ratio": float("nan")}, {"per_speaker_cap": 0}, {"max_targets": 0}]
)
def test_numbers_out_of_range_are_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="must"):
        sample_pairs([0, 0, 1], **({"seed": 0} | options))
