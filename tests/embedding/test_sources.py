"""A call with two people in it: cuts of a manifest, channels, or the turns of an RTTM file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.stores import speak
from vecsv.arrays import Vectors
from vecsv.audio.decode import Clip
from vecsv.embedding.recordings import embed_all
from vecsv.embedding.run import EmbedSettings, embed_manifest, embed_source
from vecsv.embedding.sources import ManifestSource, RttmSource, choose_source
from vecsv.errors import ManifestError, UsageError
from vecsv.store.parts import failed_rows
from vecsv.store.reader import Snapshot
from vecsv.store.schema import DESCRIPTION
from vecsv.turns import Names

RATE = 16000
MODEL = SpectralEmbedder()

RTTM = """\
;; one call, two people
SPKR-INFO call 1 <NA> <NA> <NA> unknown s0 <NA>
SPEAKER call 1 0.00 2.00 <NA> <NA> s0 <NA> <NA>
SPEAKER call 1 2.00 2.00 <NA> <NA> s1 <NA> <NA>
SPEAKER call 1 4.00 0.05 <NA> <NA> s0 <NA> <NA>
SPEAKER call 1 5.00
SPEAKER lost 1 0.00 2.00 <NA> <NA> s0 <NA> <NA>
"""


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A folder with a call of two people one after the other, the same with a channel each, and its RTTM file."""
    folder = tmp_path / "calls"
    folder.mkdir()
    ann = np.concatenate([speak("ann", 0), speak("ann", 1)])
    ben = np.concatenate([speak("ben", 0), speak("ben", 1)])
    soundfile.write(folder / "call.wav", np.concatenate([ann, ben, ann[:RATE]]), RATE, "FLOAT")
    soundfile.write(folder / "stereo.wav", np.stack([ann, ben], axis=1), RATE, "FLOAT")
    (folder / "calls.rttm").write_text(RTTM)
    return folder


def content(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = Snapshot.open(folder).table([*DESCRIPTION, "embedding"]).to_pylist()
    return rows


def of(speaker: str, tmp_path: Path) -> Vectors:
    """What the model makes of one person's two seconds."""
    wave = np.concatenate([speak(speaker, 0), speak(speaker, 1)])
    soundfile.write(tmp_path / f"{speaker}.wav", wave, RATE, "FLOAT")
    (found,) = embed_all(MODEL, [Clip(tmp_path / f"{speaker}.wav")])
    return found.vector


def assert_two_people(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    for row, name in zip(rows, ("ann", "ben"), strict=True):
        assert np.asarray(row["embedding"]) @ of(name, tmp_path) > 1 - 1e-6


def test_a_manifest_of_cuts_gives_two_people_of_one_call(calls: Path, tmp_path: Path) -> None:
    (calls / "cuts.tsv").write_text("path\tspeaker\tstart_s\tend_s\ncall.wav\tann\t0\t2\ncall.wav\tben\t2\t4\n")
    embed_manifest(calls / "cuts.tsv", tmp_path / "store", MODEL)
    rows = content(tmp_path / "store")
    assert [row["utt_id"] for row in rows] == ["call.wav#t=0,2", "call.wav#t=2,4"]
    assert_two_people(rows, tmp_path)


def test_a_manifest_of_channels_gives_two_people_of_one_call(calls: Path, tmp_path: Path) -> None:
    (calls / "channels.tsv").write_text("path\tspeaker\tchannel\nstereo.wav\tann\t1\nstereo.wav\tben\t2\n")
    embed_manifest(calls / "channels.tsv", tmp_path / "store", MODEL)
    rows = content(tmp_path / "store")
    assert [row["utt_id"] for row in rows] == ["stereo.wav#channel=1", "stereo.wav#channel=2"]
    assert_two_people(rows, tmp_path)


class TestRttm:
    def test_each_turn_is_a_row_and_what_gives_none_stands_in_the_ledger(self, calls: Path, tmp_path: Path) -> None:
        source = choose_source(None, rttm=calls / "calls.rttm", audio=calls)
        summary = embed_source(source, tmp_path / "store", MODEL)
        assert (summary.rows, summary.embedded, summary.failed) == (5, 2, 3)
        rows = content(tmp_path / "store")
        assert [(row["utt_id"], row["speaker"], row["session"]) for row in rows] == [
            ("call#t=0,2#speaker=s0", "call/s0", "call"),
            ("call#t=2,4#speaker=s1", "call/s1", "call"),
        ]
        assert [(row["start_s"], row["end_s"], row["channel"]) for row in rows] == [(0.0, 2.0, None), (2.0, 4.0, None)]
        assert_two_people(rows, tmp_path)
        ledger = failed_rows(Snapshot.open(tmp_path / "store").failures())
        assert [(row.line, row.code) for row in ledger] == [(5, "too-short"), (6, "bad-row"), (7, "bad-row")]
        assert {row.manifest for row in ledger} == {str(calls / "calls.rttm")}

    def test_a_second_run_embeds_nothing_again(self, calls: Path, tmp_path: Path) -> None:
        source = choose_source(None, rttm=calls / "calls.rttm", audio=calls)
        embed_source(source, tmp_path / "store", MODEL)
        again = embed_source(source, tmp_path / "store", MODEL)
        assert (again.embedded, again.embedded_before, again.failed_before) == (0, 2, 3)
        retried = embed_source(source, tmp_path / "store", MODEL, EmbedSettings(retry_failed=True))
        assert (retried.embedded, retried.embedded_before, retried.failed) == (0, 2, 3)

    def test_a_manifest_gives_paths_sessions_and_other_columns(self, calls: Path, tmp_path: Path) -> None:
        (calls / "calls.tsv").write_text("path\tutt_id\tsession\tdevice\ncall.wav\tcall\tmonday\tphone\n")
        source = choose_source(calls / "calls.tsv", rttm=calls / "calls.rttm", names=Names.GLOBAL)
        embed_source(source, tmp_path / "store", MODEL)
        rows = content(tmp_path / "store")
        assert [(row["speaker"], row["session"], row["extra"]) for row in rows] == [
            ("s0", "monday", [("device", "phone")]),
            ("s1", "monday", [("device", "phone")]),
        ]

    def test_channels_of_turns_are_taken_where_there_are_several(self, calls: Path, tmp_path: Path) -> None:
        (calls / "stereo.rttm").write_text(
            "SPEAKER stereo 1 0 2 <NA> <NA> a <NA> <NA>\nSPEAKER stereo 2 0 2 <NA> <NA> b <NA> <NA>\n"
        )
        embed_source(choose_source(None, rttm=calls / "stereo.rttm", audio=calls), tmp_path / "store", MODEL)
        rows = content(tmp_path / "store")
        assert [row["channel"] for row in rows] == [1, 2]
        assert_two_people(rows, tmp_path)

    def test_a_file_id_that_may_be_two_recordings_ends_the_run_before_it_begins(
        self, calls: Path, tmp_path: Path
    ) -> None:
        (calls / "copy").mkdir()
        (calls / "copy" / "call.flac").touch()
        source = choose_source(None, rttm=calls / "calls.rttm", audio=calls)
        with pytest.raises(ManifestError, match="'call' may be"):
            embed_source(source, tmp_path / "store", MODEL)
        assert not (tmp_path / "store").exists()


class TestChoice:
    def test_a_manifest_alone_is_its_rows(self, calls: Path) -> None:
        source = choose_source(calls / "calls.tsv")
        assert isinstance(source, ManifestSource)
        assert isinstance(choose_source(None, rttm=calls / "calls.rttm", audio=calls), RttmSource)

    @pytest.mark.parametrize(
        ("manifest", "rttm", "audio"),
        [(None, None, None), (None, None, "x"), ("x", None, "x"), (None, "calls.rttm", None), ("x", "calls.rttm", "x")],
    )
    def test_options_that_do_not_go_together_are_refused(
        self, calls: Path, manifest: str | None, rttm: str | None, audio: str | None
    ) -> None:
        paths = [None if name is None else calls / name for name in (manifest, rttm, audio)]
        with pytest.raises(UsageError):
            choose_source(paths[0], rttm=paths[1], audio=paths[2])
