from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsv.errors import TrainingError
from vecsv.training.data.recordings import BadFile, Corpus, Recording
from vecsv.training.data.splits import hold_out, split_speakers
from vecsv.training.specs import HELD_OUT


def corpus_of(lengths: dict[str, list[float]], rate: int = 100) -> Corpus:
    """Recordings of so many seconds for each speaker, speakers taking turns as far as they go."""
    recordings = [
        Recording(f"{speaker}/{number}", Path(speaker, str(number)), None, speaker, rate, 10, 10 + round(rate * length))
        for speaker, all_of_them in lengths.items()
        for number, length in enumerate(all_of_them)
    ]
    return Corpus.of(sorted(recordings, key=lambda recording: recording.utt_id[::-1]))


def frames(recordings: tuple[Recording, ...]) -> Counter[tuple[str, int]]:
    """Every frame that there is, with its recording."""
    return Counter(
        (recording.utt_id, frame) for recording in recordings for frame in range(recording.start, recording.stop)
    )


corpora = st.dictionaries(
    st.sampled_from(["ann", "bob", "cai", "dai", "eve"]),
    st.lists(st.floats(0.05, 0.4), min_size=1, max_size=6),
    min_size=1,
).map(corpus_of)


@settings(max_examples=30)
@given(corpora, st.sampled_from(HELD_OUT), st.floats(0.01, 0.9), st.floats(0.0, 0.2), st.integers(0, 100))
def test_every_frame_is_either_trained_on_or_held_out(
    corpus: Corpus, how: str, part: float, min_s: float, seed: int
) -> None:
    split = hold_out(corpus, how=how, part=part, min_s=min_s, seed=seed)

    assert frames(split.train.recordings) + frames(split.held_out) == frames(corpus.recordings)
    assert split.train.speakers == corpus.speakers
    names = [recording.utt_id for recording in corpus.recordings]
    for side in (split.train.recordings, split.held_out):
        assert [names.index(recording.utt_id) for recording in side] == sorted(
            names.index(recording.utt_id) for recording in side
        )


@settings(max_examples=30)
@given(corpora, st.floats(0.01, 0.9), st.floats(0.01, 0.2), st.integers(0, 100))
def test_no_piece_is_too_short(corpus: Corpus, part: float, min_s: float, seed: int) -> None:
    split = hold_out(corpus, how="tails", part=part, min_s=min_s, seed=seed)

    whole = {recording.utt_id: recording for recording in corpus.recordings}
    for recording in (*split.train.recordings, *split.held_out):
        assert recording == whole[recording.utt_id] or recording.duration_s >= min_s


def test_of_several_utterances_a_part_is_held_out_and_one_stays() -> None:
    corpus = corpus_of({"ann": [1.0] * 10, "bob": [1.0] * 2, "cai": [1.0]})

    split = hold_out(corpus, how="utterances", part=0.3, min_s=0.5, seed=4)

    assert Counter(recording.speaker for recording in split.held_out) == {"ann": 3, "bob": 1}
    most = hold_out(corpus, how="utterances", part=0.9, min_s=0.5, seed=4)
    assert Counter(recording.speaker for recording in most.train.recordings) == {"ann": 1, "bob": 1, "cai": 1}


def test_of_tails_the_last_part_is_held_out() -> None:
    split = hold_out(corpus_of({"ann": [10.0, 5.0]}), how="tails", part=0.2, min_s=0.5, seed=0)

    assert [(recording.start, recording.stop) for recording in split.train.recordings] == [(10, 810), (10, 410)]
    assert [(recording.start, recording.stop) for recording in split.held_out] == [(810, 1010), (410, 510)]


def test_auto_holds_out_the_tail_of_a_speaker_of_one_utterance() -> None:
    corpus = corpus_of({"ann": [10.0] * 5, "bob": [10.0], "cai": [2.0]})

    split = hold_out(corpus, how="auto", part=0.2, min_s=0.5, seed=0)

    held_out = {recording.speaker: recording.duration_s for recording in split.held_out}
    # The tail of two seconds would be 0.4 s.
    assert held_out == {"ann": 10.0, "bob": 2.0}


def test_none_holds_out_nothing() -> None:
    corpus = corpus_of({"ann": [10.0] * 5, "bob": [10.0]})

    split = hold_out(corpus, how="none", part=0.2, min_s=0.5, seed=0)

    assert (split.train, split.held_out) == (corpus, ())


def test_the_seed_decides_which_utterances_are_held_out() -> None:
    corpus = corpus_of({"ann": [1.0] * 50})

    def drawn(seed: int) -> set[str]:
        return {recording.utt_id for recording in hold_out(corpus, how="auto", part=0.2, min_s=0.5, seed=seed).held_out}

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_an_unknown_way_of_holding_out_is_refused() -> None:
    with pytest.raises(TrainingError, match="held_out is 'all'"):
        hold_out(corpus_of({"ann": [1.0]}), how="all", part=0.2, min_s=0.5, seed=0)


def test_what_was_bad_stays_with_what_is_trained_on() -> None:
    bad, short = (BadFile(3, "gone.wav", "no such file"),), (BadFile(4, "a.wav", "0.1 s long"),)
    whole = corpus_of({name: [1.0] * 2 for name in "abcd"})
    corpus = Corpus.of(whole.recordings, bad=bad, short=short)

    kept = hold_out(corpus, how="auto", part=0.2, min_s=0.5, seed=0).train
    rest, taken = split_speakers(corpus, 2, seed=0)

    assert (kept.bad, kept.short) == (rest.bad, rest.short) == (bad, short)
    assert (taken.bad, taken.short) == ((), ())


@settings(max_examples=30)
@given(st.integers(0, 6), st.integers(0, 100))
def test_speakers_that_are_taken_out_are_whole_and_gone(speakers: int, seed: int) -> None:
    corpus = corpus_of({name: [1.0] * (1 + number % 4) for number, name in enumerate("abcdefgh")})

    rest, taken = split_speakers(corpus, speakers, seed)

    assert len(taken.speakers) == speakers
    assert sorted(rest.speakers + taken.speakers) == list(corpus.speakers)
    assert frames(rest.recordings) + frames(taken.recordings) == frames(corpus.recordings)
    assert all(count > 1 for count in Counter(recording.speaker for recording in taken.recordings).values())


def test_the_seed_decides_which_speakers_are_taken_out() -> None:
    corpus = corpus_of({f"speaker{number}": [1.0, 1.0] for number in range(50)})

    assert split_speakers(corpus, 5, 1)[1] == split_speakers(corpus, 5, 1)[1]
    assert split_speakers(corpus, 5, 1)[1].speakers != split_speakers(corpus, 5, 2)[1].speakers


@pytest.mark.parametrize(
    ("lengths", "speakers"),
    [
        ({"ann": [1.0, 1.0], "bob": [1.0], "cai": [1.0], "dai": [1.0]}, 2),
        ({"ann": [1.0, 1.0], "bob": [1.0, 1.0], "cai": [1.0, 1.0]}, 2),
        ({"ann": [1.0], "bob": [1.0], "cai": [1.0]}, 1),
    ],
)
def test_more_speakers_than_can_be_spared_are_refused(lengths: dict[str, list[float]], speakers: int) -> None:
    with pytest.raises(TrainingError, match=f"{speakers} speakers cannot be taken out"):
        split_speakers(corpus_of(lengths), speakers, 0)
