from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.errors import ManifestError
from vecsv.manifest import BadRow, ManifestRow
from vecsv.rttm import Turn
from vecsv.turns import Found, Names, Recordings, turn_rows

CALL = Found(Path("/calls/a.wav"), "a.wav")


def rows_of(*turns: Turn | BadRow, **options: object) -> list[ManifestRow | BadRow]:
    return list(turn_rows(turns, {"a": CALL}.get, **options))  # type: ignore[arg-type]


def one_row(*turns: Turn, **options: object) -> ManifestRow:
    (row,) = rows_of(*turns, **options)
    assert isinstance(row, ManifestRow)
    return row


def test_a_turn_is_a_cut_of_its_recording() -> None:
    row = one_row(Turn(7, "a", 1, 1.5, 4.0, "s0"))
    assert (row.line, row.path, row.start_s, row.end_s, row.channel) == (7, CALL.path, 1.5, 4.0, None)
    assert row.utt_id == "a#t=1.5,4#speaker=s0"
    assert row.session == "a"


def test_names_are_their_files_own_unless_they_are_said_to_be_peoples() -> None:
    turn = Turn(1, "a", 1, 0.0, 1.0, "s0")
    assert one_row(turn).speaker == "a/s0"
    assert one_row(turn, names=Names.GLOBAL).speaker == "s0"


def test_a_channel_that_counts_is_taken_and_stands_in_the_id() -> None:
    row = one_row(Turn(1, "a", 2, 0.0, 1.0, "s0"), several_channels=frozenset({"a"}))
    assert row.channel == 2
    assert row.utt_id == "a#t=0,1#channel=2#speaker=s0"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5), st.sampled_from("xy")), unique=True, max_size=20))
def test_different_turns_have_different_ids(turns: list[tuple[int, int, str]]) -> None:
    rows = rows_of(
        *(Turn(line, "a", 1, start / 8, (start + length) / 8, name) for line, (start, length, name) in enumerate(turns))
    )
    assert len({row.utt_id for row in rows if isinstance(row, ManifestRow)}) == len(turns)


def test_a_turn_without_a_recording_is_a_bad_row_and_bad_lines_stay_bad() -> None:
    bad = BadRow(1, "why", "text")
    same, lost = rows_of(bad, Turn(2, "b", 1, 0.0, 1.0, "s0"))
    assert same is bad
    assert isinstance(lost, BadRow)
    assert (lost.line, lost.reason) == (2, 'no recording for the file id "b"')


class TestManifest:
    def recordings(self, folder: Path, text: str) -> Recordings:
        (folder / "calls.tsv").write_text(text)
        return Recordings.of_manifest(folder / "calls.tsv")

    def test_a_file_id_is_an_utterance_id_before_it_is_a_files_name(self, tmp_path: Path) -> None:
        found = self.recordings(tmp_path, "path\tutt_id\tsession\nx/a.wav\tcall\tmonday\ncall.wav\tother\t\n")
        by_id, by_name = found.find("call"), found.find("a")
        assert by_id is not None
        assert by_id is by_name
        assert (by_id.written_path, by_id.session) == ("x/a.wav", "monday")
        assert found.find("nobody") is None

    def test_a_name_of_two_files_is_an_error_that_names_both(self, tmp_path: Path) -> None:
        found = self.recordings(tmp_path, "x/a.wav\ny/a.flac\n")
        with pytest.raises(ManifestError, match=r"'a' may be .*x/a\.wav or .*y/a\.flac"):
            found.find("a")

    def test_a_row_that_is_a_cut_has_no_turns(self, tmp_path: Path) -> None:
        found = self.recordings(tmp_path, "path\tstart_s\na.wav\t2\n")
        (row,) = turn_rows([Turn(1, "a", 1, 0.0, 1.0, "s0")], found.find)
        assert isinstance(row, BadRow)
        assert "is a cut" in row.reason


class TestFolder:
    def test_files_are_found_by_name_with_or_without_ending(self, tmp_path: Path) -> None:
        (tmp_path / "deep").mkdir()
        for name in ("deep/a.v2.wav", "notes.txt"):
            (tmp_path / name).touch()
        found = Recordings.of_folder(tmp_path)
        by_stem = found.find("a.v2")
        assert by_stem is not None
        assert by_stem.path == (tmp_path / "deep/a.v2.wav").resolve()
        assert found.find("a.v2.wav") is by_stem
        assert found.find("notes") is None

    def test_two_of_a_name_are_an_error_only_when_they_are_asked_for(self, tmp_path: Path) -> None:
        for name in ("x/a.wav", "y/a.wav", "x/b.wav"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        found = Recordings.of_folder(tmp_path)
        assert found.find("b") is not None
        with pytest.raises(ManifestError, match=r"x/a\.wav or .*y/a\.wav"):
            found.find("a")

    def test_no_folder_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match="no such folder"):
            Recordings.of_folder(tmp_path / "absent")
