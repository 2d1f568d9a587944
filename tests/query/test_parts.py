"""The people in one recording, asked for one by one."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.stores import speak, write_speakers
from vecsv.arrays import Waveform
from vecsv.embedding.run import embed_manifest
from vecsv.errors import AudioError, ManifestError
from vecsv.index.build import build_index
from vecsv.query.ask import Query, SearchResult, ask
from vecsv.query.parts import query_each_channel, query_each_speaker
from vecsv.query.search import Level

RATE = 16000
MODEL = SpectralEmbedder()
NAMES = ("ann", "ben", "eve", "zoe")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    embed_manifest(write_speakers(tmp_path / "audio", NAMES, 3), tmp_path / "store", MODEL)
    build_index(tmp_path / "store")
    return tmp_path / "store"


def talk(speaker: str, seconds: int) -> Waveform:
    return np.concatenate([speak(speaker, 50 + take) for take in range(seconds)])


def answers(store: Path, queries: list[Query]) -> list[SearchResult]:
    return ask(store, MODEL, queries, top_k=2, level=Level.SPEAKER, workers=1)


def best(results: list[SearchResult]) -> list[str | None]:
    return [result.hits[0].speaker if result.hits else None for result in results]


def test_each_channel_is_a_query_of_its_own(store: Path, tmp_path: Path) -> None:
    call = tmp_path / "call.wav"
    soundfile.write(call, np.stack([talk("zoe", 2), talk("ann", 2)], axis=1), RATE, "FLOAT")
    queries = query_each_channel(call)
    assert [query.name for query in queries] == [f"{call}#channel=1", f"{call}#channel=2"]
    assert best(answers(store, queries)) == ["zoe", "ann"]


def test_a_recording_that_cannot_be_read_has_no_channels(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"absent.wav"):
        query_each_channel(tmp_path / "absent.wav")


class TestEachSpeaker:
    @pytest.fixture
    def call(self, tmp_path: Path) -> Path:
        """Ben for two seconds, then both for two, then eve for two."""
        wave = np.concatenate([talk("ben", 4), np.zeros(2 * RATE, np.float32)])
        wave[2 * RATE :] += talk("eve", 4)
        soundfile.write(tmp_path / "call.wav", wave.astype(np.float32), RATE, "FLOAT")
        return tmp_path / "call.wav"

    def rttm(self, folder: Path, *turns: tuple[float, float, str]) -> Path:
        path = folder / "call.rttm"
        path.write_text(
            "".join(f"SPEAKER call 1 {start} {length} <NA> <NA> {name} <NA> <NA>\n" for start, length, name in turns)
        )
        return path

    def test_each_is_asked_for_by_what_they_say_alone(self, store: Path, call: Path, tmp_path: Path) -> None:
        queries = query_each_speaker(call, self.rttm(tmp_path, (0, 4, "s1"), (2, 4, "s2")))
        assert [query.name for query in queries] == [f"{call}#speaker=s1", f"{call}#speaker=s2"]
        assert [[(clip.start_s, clip.end_s) for clip in query.clips] for query in queries] == [[(0, 2)], [(4, 6)]]
        results = answers(store, queries)
        assert best(results) == ["ben", "eve"]
        # The overlapped seconds are left out: the score is that of a clean recording.
        assert all(result.hits[0].score > 0.97 for result in results)
        assert all(result.quality is not None and result.quality.duration_s == 2.0 for result in results)

    def test_stretches_of_one_speaker_are_pooled(self, store: Path, call: Path, tmp_path: Path) -> None:
        (query,) = query_each_speaker(call, self.rttm(tmp_path, (0, 1, "s1"), (1.5, 0.5, "s1"), (5.95, 0.05, "s1")))
        assert len(query.clips) == 2
        (result,) = answers(store, [query])
        assert result.hits[0].speaker == "ben"
        assert result.quality is not None
        assert result.quality.duration_s == 1.5

    def test_who_never_speaks_alone_is_taken_with_the_others_and_it_is_said(
        self, store: Path, call: Path, tmp_path: Path
    ) -> None:
        first, second = query_each_speaker(call, self.rttm(tmp_path, (0, 6, "s1"), (4, 1, "s2")))
        assert (first.notes, len(second.notes)) == ((), 1)
        (result,) = answers(store, [second])
        assert any("s2 never speaks alone" in warning for warning in result.warnings)
        assert best([result]) == ["eve"]

    def test_one_who_gives_no_embedding_harms_no_other(self, store: Path, call: Path, tmp_path: Path) -> None:
        queries = query_each_speaker(call, self.rttm(tmp_path, (0, 2, "s1"), (7, 2, "s2")))
        good, bad = answers(store, queries)
        assert good.hits
        assert isinstance(bad.error, AudioError)

    def test_turns_of_other_files_only_are_an_error(self, call: Path, tmp_path: Path) -> None:
        path = tmp_path / "others.rttm"
        path.write_text("".join(f"SPEAKER {name} 1 0 2 <NA> <NA> s <NA> <NA>\n" for name in "ab"))
        with pytest.raises(ManifestError, match="no turns of 'call'"):
            query_each_speaker(call, path)
