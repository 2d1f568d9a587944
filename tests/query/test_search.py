from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.rows import DIM, embedded, make_store, unit_vectors
from vecsv.index.build import build_index, open_index
from vecsv.query import search as module
from vecsv.query.search import Candidates, Level, search
from vecsv.store.enrolments import EnrolledVectors
from vecsv.store.reader import Snapshot


def nobody_enrolled() -> EnrolledVectors:
    return EnrolledVectors(np.empty(0, np.int64), (), (), (), (), np.empty((0, DIM), np.float32))


def enrolled(speakers: list[str], seed: int = 99) -> EnrolledVectors:
    names = tuple(f"{speaker}-{n}.wav" for n, speaker in enumerate(speakers))
    ids = -2 - np.arange(len(speakers))
    return EnrolledVectors(
        ids, tuple(speakers), names, names, (1.0,) * len(speakers), unit_vectors(len(speakers), seed)
    )


def candidates(folder: Path, speakers: list[str], own: EnrolledVectors | None = None) -> Candidates:
    make_store(folder, [embedded(n, speaker) for n, speaker in enumerate(speakers)])
    build_index(folder)
    return Candidates(open_index(Snapshot.open(folder)), own or nobody_enrolled())


def brute_force(speakers: list[str], own: EnrolledVectors, query: np.ndarray, top_k: int) -> list[tuple[str, float]]:
    vectors = [embedded(n, s).embedding for n, s in enumerate(speakers)] + list(own.vectors)
    best: dict[str, float] = {}
    for speaker, vector in zip([*speakers, *own.speakers], vectors, strict=True):
        best[speaker] = max(best.get(speaker, -2.0), float(vector @ query))
    return sorted(best.items(), key=lambda pair: -pair[1])[:top_k]


@settings(max_examples=25, deadline=None)
@given(
    speakers=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60),
    own=st.lists(st.sampled_from("abxyz"), max_size=6),
    top_k=st.integers(1, 10),
    first_fetch=st.sampled_from([1, 4, 1024]),
)
def test_top_speakers_are_those_of_brute_force_however_utterances_are_spread(
    tmp_path_factory: pytest.TempPathFactory, speakers: list[str], own: list[str], top_k: int, first_fetch: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    people = enrolled(own)
    where = candidates(folder, speakers, people)
    queries = unit_vectors(3, seed=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FIRST_FETCH", first_fetch)
        found = search(where, queries, top_k)
    for query, hits in zip(queries, found, strict=True):
        expected = brute_force(speakers, people, query, top_k)
        assert [hit.speaker for hit in hits] == [speaker for speaker, _ in expected]
        assert np.allclose([hit.score for hit in hits], [score for _, score in expected], atol=1e-5)
        assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))


def test_a_speaker_with_many_utterances_does_not_fill_the_list(tmp_path: Path) -> None:
    speakers = ["loud"] * 50 + ["quiet"]
    hits = search(candidates(tmp_path, speakers), unit_vectors(1, seed=3), 5)[0]
    assert sorted(hit.speaker for hit in hits) == ["loud", "quiet"]


def test_utterances_are_listed_one_by_one_when_asked_for(tmp_path: Path) -> None:
    where = candidates(tmp_path, ["a", "a", "b", "a"])
    query = embedded(1, "a").embedding[None]
    hits = search(where, query, 3, Level.UTTERANCE)[0]
    assert hits[0].utt_id == "utt-1"
    assert len({hit.row_id for hit in hits}) == 3


@settings(max_examples=25, deadline=None)
@given(
    windows=st.lists(st.integers(1, 12), min_size=1, max_size=12),
    own=st.lists(st.sampled_from("abx"), max_size=4),
    top_k=st.integers(1, 8),
    first_fetch=st.sampled_from([1, 4, 1024]),
)
def test_an_utterance_of_many_windows_is_one_hit_the_best_of_them(
    tmp_path_factory: pytest.TempPathFactory, windows: list[int], own: list[str], top_k: int, first_fetch: int
) -> None:
    folder = tmp_path_factory.mktemp("store")
    rows = [
        embedded(20 * number + segment, "a", utt_id=f"long-{number}", segment=segment, offset_s=1.5 * segment)
        for number, count in enumerate(windows)
        for segment in range(count)
    ]
    make_store(folder, rows)
    build_index(folder)
    people = enrolled(own)
    (query,) = unit_vectors(1, seed=7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FIRST_FETCH", first_fetch)
        where = Candidates(open_index(Snapshot.open(folder)), people)
        (hits,) = search(where, query[None], top_k, Level.UTTERANCE)
    best: dict[str, tuple[float, int]] = {
        name: (float(vector @ query), 0) for name, vector in zip(people.utt_ids, people.vectors, strict=True)
    }
    for row in rows:
        best[row.utt_id] = max(best.get(row.utt_id, (-2.0, 0)), (float(row.embedding @ query), row.segment))
    expected = sorted(best.items(), key=lambda pair: -pair[1][0])[:top_k]
    assert [(hit.utt_id, hit.segment) for hit in hits] == [(name, segment) for name, (_, segment) in expected]
    assert [hit.offset_s for hit in hits] == [1.5 * hit.segment for hit in hits]


def test_a_hit_names_the_best_utterance_and_its_recording(tmp_path: Path) -> None:
    where = candidates(tmp_path, ["a", "b", "a"])
    (hit, *_) = search(where, embedded(2, "a").embedding[None], 1)[0]
    assert (hit.speaker, hit.utt_id, hit.path, hit.row_id, hit.enrolled) == ("a", "utt-2", "/audio/a/2.wav", 2, False)
    assert hit.score == pytest.approx(1, abs=1e-6)
    assert hit.score <= 1


def test_enrolments_are_found_without_any_index() -> None:
    people = enrolled(["ann", "ben"])
    (hits,) = search(Candidates(None, people), people.vectors[1:], 5)
    assert [(hit.speaker, hit.enrolled, hit.row_id) for hit in hits] == [("ben", True, -3), ("ann", True, -2)]


def test_an_enrolled_and_embedded_speaker_is_one_speaker(tmp_path: Path) -> None:
    where = candidates(tmp_path, ["ann", "ben"], enrolled(["ann"]))
    hits = search(where, unit_vectors(1, seed=5), 5)[0]
    assert sorted(hit.speaker for hit in hits) == ["ann", "ben"]


def test_speakers_are_counted_once_whether_indexed_or_enrolled(tmp_path: Path) -> None:
    assert candidates(tmp_path, ["ann", "ben", "ann"], enrolled(["ann", "zoe", "zoe"])).speakers == 3
    assert Candidates(None, enrolled(["ann", "ann"])).speakers == 1
