"""Auditing real stores whose labels were made wrong on purpose."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.curation.synthetic import speakers_at_random
from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.stores import write_speakers
from tests.store.rows import make_store
from vecsv.curation.audit import Audit, Kind, Recordings, audit, audit_recordings
from vecsv.embedding.run import embed_manifest
from vecsv.errors import StoreError


def as_recordings(vectors: np.ndarray, labels: np.ndarray, order: np.ndarray | None = None) -> Recordings:
    order = np.arange(len(labels)) if order is None else order
    names, codes = np.unique(labels[order], return_inverse=True)
    durations = 2 + np.arange(len(labels)) % 7
    return Recordings(
        utt_ids=[f"utt-{row:03d}" for row in order],
        paths=[f"/audio/{row}.wav" for row in order],
        sha256=[f"{row:064x}" for row in order],
        duration_s=durations[order].astype(np.float64),
        codes=codes.astype(np.int64),
        names=[f"speaker-{name:02d}" for name in names],
        vectors=vectors[order],
    )


def about(found: Audit) -> set[tuple[str, frozenset[str]]]:
    """What was found, without order and without which of two came first."""
    return {(one.kind, frozenset({one.utt_id, one.other_utt_id})) for one in found.findings}


@given(seed=st.integers(0, 500), data=st.data())
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_recordings_changes_nothing(seed: int, data: st.DataObject) -> None:
    vectors, labels = speakers_at_random(8, 6, seed=seed, noise=1.0, dim=16)
    labels[[3, 20]] = [5, 1]
    vectors[30] = vectors[2]
    order = np.array(data.draw(st.permutations(range(48))))
    one = audit_recordings(as_recordings(vectors, labels), "test", "")
    other = audit_recordings(as_recordings(vectors, labels, order), "test", "")
    assert about(one) == about(other)
    assert sorted(f.score for f in one.findings) == pytest.approx(sorted(f.score for f in other.findings), abs=1e-4)


def test_every_kind_planted_is_found_and_ranks_in_order() -> None:
    vectors, labels = speakers_at_random(20, 8, seed=7)
    vectors[8:12] = speakers_at_random(1, 4, seed=99)[0]  # half of speaker 1 is somebody unknown
    labels[28:32] = 30  # half of speaker 3 has another name
    labels[40] = 9  # of speaker 5
    vectors[56] = vectors[70]  # speaker 7's first is speaker 8's seventh
    recordings = as_recordings(vectors, labels)
    recordings.duration_s[[56, 70]] = 3.0
    found = audit_recordings(recordings, "test", "").findings
    assert [one.rank for one in found] == list(range(1, len(found) + 1))
    assert found[0].kind is Kind.NEAR_DUPLICATE
    assert {found[0].utt_id, found[0].other_utt_id} == {"utt-056", "utt-070"}
    said = {(one.kind, one.speaker, one.other_speaker) for one in found}
    assert (Kind.SAME_PERSON, "speaker-03", "speaker-30") in said
    assert (Kind.TWO_PEOPLE, "speaker-01", "speaker-01") in said
    assert next(one for one in found if one.utt_id == "utt-040").other_speaker == "speaker-05"
    # The copied recording is speaker 8's, so its label is wrong too; nothing beyond what was planted.
    assert {one.utt_id for one in found if one.kind is Kind.OTHER_SPEAKER} == {"utt-040", "utt-056"}
    assert len(found) == 5


def test_wrong_recordings_are_not_told_again_as_two_people() -> None:
    vectors, labels = speakers_at_random(20, 8, seed=8)
    labels[[8, 9]] = 0
    found = audit_recordings(as_recordings(vectors, labels), "test", "").findings
    assert [(one.kind, one.utt_id) for one in found] == [
        (Kind.OTHER_SPEAKER, one.utt_id) for one in sorted(found, key=lambda one: -one.score)
    ]
    assert {one.utt_id for one in found} == {"utt-008", "utt-009"}


@pytest.mark.parametrize(
    ("labels", "words"),
    [([0, 1, 2, 3], "no speaker has two"), ([0, 0, 0, 0], "one speaker only"), ([0, 0, 1, 1], "2 speakers are few")],
)
def test_what_cannot_be_looked_for_is_said(labels: list[int], words: str) -> None:
    vectors = speakers_at_random(1, 4, seed=1)[0] if labels == [0, 0, 0, 0] else np.eye(4, dtype=np.float32)[labels]
    (note,) = audit_recordings(as_recordings(vectors, np.array(labels)), "test", "").notes
    assert words in note


def test_labels_without_any_sense_are_said_to_have_none() -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 1, 0, 1]]
    (note,) = audit_recordings(as_recordings(vectors, np.array([0, 0, 1, 1])), "test", "").notes
    assert "check the labels as a whole" in note


def test_an_empty_store_is_an_error(tmp_path: Path) -> None:
    make_store(tmp_path / "store")
    with pytest.raises(StoreError, match="vecsv embed"):
        audit(tmp_path / "store")


def test_no_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        audit(tmp_path / "absent")


def test_swaps_and_copies_among_recordings_are_found(tmp_path: Path) -> None:
    manifest = write_speakers(tmp_path, 12, 6, seed=3)
    clean = [line.split("\t") for line in manifest.read_text().splitlines()]
    rows = [list(row) for row in clean]
    for row, speaker in ((2, "speaker-007"), (30, "speaker-000"), (61, "speaker-004")):
        rows[row][1] = speaker
    shutil.copy(tmp_path / clean[45][0], tmp_path / "again.wav")
    rows.append(["again.wav", "speaker-001"])
    manifest.write_text("".join(f"{path}\t{speaker}\n" for path, speaker in rows))
    embed_manifest(manifest, tmp_path / "store", SpectralEmbedder())
    found = audit(tmp_path / "store").findings
    assert found[0].kind is Kind.NEAR_DUPLICATE
    assert {found[0].utt_id, found[0].other_utt_id} == {clean[45][0], "again.wav"}
    assert "the same bytes" in found[0].detail
    assert Path(found[0].path).is_file()
    strays = [one for one in found if one.kind is Kind.OTHER_SPEAKER]
    planted = {clean[row][0]: clean[row][1] for row in (2, 30, 61)} | {"again.wav": clean[45][1]}
    assert {one.utt_id: one.other_speaker for one in strays[:4]} == planted
