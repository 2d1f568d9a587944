import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.errors import ManifestError
from vecsv.manifest import BadRow
from vecsv.rttm import Turn, channels_that_count, parse_line, read_rttm, turns_of_file

GOOD = "SPEAKER call7 1 0.50 2.25 <NA> <NA> agent <NA> <NA>"
words = st.text(st.characters(categories=("L", "N", "P", "S"), exclude_characters=";"), min_size=1, max_size=8)
seconds = st.integers(0, 10**7).map(lambda value: value / 1000)


@given(words, st.integers(1, 99), seconds, seconds.filter(lambda value: value > 0), words)
def test_a_line_says_what_it_was_written_from(
    file_id: str, channel: int, start: float, duration: float, speaker: str
) -> None:
    for rest in ("<NA>", "0.9 <NA>"):
        turn = parse_line(3, f"SPEAKER {file_id} {channel} {start:.3f} {duration:.3f} <NA> <NA> {speaker} {rest}\n")
        assert isinstance(turn, Turn)
        assert (turn.line, turn.file_id, turn.channel, turn.speaker) == (3, file_id, channel, speaker)
        assert turn.start_s == start
        assert math.isclose(turn.end_s, start + duration, abs_tol=1e-6)


@given(st.text())
def test_no_line_makes_the_parser_fail(text: str) -> None:
    for line in (text, f"SPEAKER {text}"):
        found = parse_line(1, line)
        assert found is None or isinstance(found, BadRow) or found.start_s < found.end_s


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("SPEAKER call7 1 0.5 2.0 <NA> <NA> agent", "8 fields instead of 9 or 10"),
        ("SPEAKER call7 1 0.5 2.0 <NA> <NA> agent x y z", "11 fields instead of 9 or 10"),
        ("SPEAKER call7 0 0.5 2.0 <NA> <NA> agent <NA>", 'channel "0" is not a whole number from 1 up'),
        ("SPEAKER call7 1 -1 2.0 <NA> <NA> agent <NA>", 'the start "-1" is not a number of seconds'),
        ("SPEAKER call7 1 1_0 2.0 <NA> <NA> agent <NA>", 'the start "1_0" is not a number of seconds'),
        ("SPEAKER call7 1 0 inf <NA> <NA> agent <NA>", 'the duration "inf" is not a number of seconds above 0'),
        ("SPEAKER call7 1 0 0 <NA> <NA> agent <NA>", 'the duration "0" is not a number of seconds above 0'),
        ("SPEAKER call7 1 0 1e-9 <NA> <NA> agent <NA>", 'a turn of "1e-9" s has no length'),
        ("SPEAKER call7 1 0 1 <NA> <NA> <NA> <NA>", "the speaker or the file id is not given"),
        ("a.wav\tann", '"a.wav" is no type of RTTM line'),
    ],
)
def test_a_bad_line_says_what_is_wrong(line: str, reason: str) -> None:
    assert parse_line(4, line) == BadRow(4, reason, line)


@pytest.mark.parametrize("line", ["", "  ", ";; made by hand", "SPKR-INFO call7 1 <NA> <NA> <NA> unknown agent <NA>"])
def test_lines_of_other_kinds_are_passed_over(line: str) -> None:
    assert parse_line(1, line) is None


def test_a_bad_line_never_stops_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "calls.rttm"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode() + b"\r\n\xff\xfe\n" + GOOD.encode())
    first, bad, last = read_rttm(path)
    assert isinstance(first, Turn)
    assert isinstance(last, Turn)
    assert (first.line, last.line, first.speaker) == (1, 3, last.speaker)
    assert isinstance(bad, BadRow)
    assert (bad.line, bad.reason) == (2, "not UTF-8 at byte 1 of the line")


def test_a_missing_or_empty_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"absent.rttm: no such RTTM file"):
        list(read_rttm(tmp_path / "absent.rttm"))
    (tmp_path / "empty.rttm").write_text(";; nothing\n")
    with pytest.raises(ManifestError, match=r"empty.rttm: no SPEAKER line"):
        list(read_rttm(tmp_path / "empty.rttm"))


def test_channels_count_only_where_there_are_several() -> None:
    turns = [Turn(1, "stereo", 1, 0, 1, "x"), Turn(2, "stereo", 2, 0, 1, "y"), Turn(3, "mono", 1, 0, 1, "x")]
    assert channels_that_count(turns) == {"stereo"}


class TestTurnsOfOneRecording:
    def write(self, folder: Path, *file_ids: str) -> Path:
        path = folder / "calls.rttm"
        path.write_text("".join(GOOD.replace("call7", file_id) + "\n" for file_id in file_ids))
        return path

    def test_they_are_those_of_its_name(self, tmp_path: Path) -> None:
        rttm = self.write(tmp_path, "a", "b", "a")
        assert [turn.line for turn in turns_of_file(rttm, Path("/calls/a.wav"))] == [1, 3]

    def test_of_a_single_file_they_are_all_whatever_it_is_called(self, tmp_path: Path) -> None:
        rttm = self.write(tmp_path, "audio", "audio")
        assert len(turns_of_file(rttm, Path("call.wav"))) == 2

    def test_several_files_none_of_them_this_one_is_an_error(self, tmp_path: Path) -> None:
        rttm = self.write(tmp_path, "a", "b")
        with pytest.raises(ManifestError, match=r"no turns of 'c', but of 2 files \(a, b\)"):
            turns_of_file(rttm, Path("c.wav"))

    def test_a_bad_line_is_an_error_with_its_number(self, tmp_path: Path) -> None:
        rttm = self.write(tmp_path, "a")
        rttm.write_text(rttm.read_text() + "SPEAKER a\n")
        with pytest.raises(ManifestError, match=r"calls.rttm, line 2: 2 fields"):
            turns_of_file(rttm, Path("a.wav"))
