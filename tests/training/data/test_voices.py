from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.sounds import write
from vecsv.errors import AudioError
from vecsv.training.data.recordings import Corpus, read_corpus
from vecsv.training.data.voices import CorpusVoice


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    for number in range(4):
        write(tmp_path / f"{number}.wav", np.full(16000, (number + 1) / 8, np.float32))
    (tmp_path / "train.tsv").write_text("".join(f"{number}.wav\tspeaker{number}\n" for number in range(4)))
    return read_corpus(tmp_path / "train.tsv", sample_rate=16000, min_s=0.5)


def levels(voice: CorpusVoice, draws: int = 40) -> set[float]:
    """Which recordings are drawn, each known by its level."""
    return {float(voice(100, np.random.default_rng(seed))[0]) for seed in range(draws)}


def test_anybody_may_speak(corpus: Corpus) -> None:
    voice = CorpusVoice(corpus.recordings, 16000)

    assert levels(voice) == {0.125, 0.25, 0.375, 0.5}
    assert voice(48000, np.random.default_rng(0)).shape == (48000,)


def test_a_voice_is_the_same_packed_and_in_another_process(corpus: Corpus) -> None:
    voice = pickle.loads(pickle.dumps(CorpusVoice(corpus.packed, 16000)))

    for seed in range(10):
        expected = CorpusVoice(corpus.recordings, 16000)(100, np.random.default_rng(seed))
        np.testing.assert_array_equal(voice(100, np.random.default_rng(seed)), expected)


def test_who_cannot_be_decoded_is_passed_over(corpus: Corpus) -> None:
    for recording in corpus.recordings[1:3]:
        recording.path.unlink()

    assert levels(CorpusVoice(corpus.packed, 16000)) == {0.125, 0.5}


def test_where_nobody_can_be_decoded_that_is_an_error(corpus: Corpus) -> None:
    for recording in corpus.recordings:
        recording.path.unlink()

    with pytest.raises(AudioError, match="no such file"):
        CorpusVoice(corpus.packed, 16000)(100, np.random.default_rng(0))
