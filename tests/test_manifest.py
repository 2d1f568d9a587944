from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecsv.errors import ManifestError
from vecsv.manifest import MAX_LINE_BYTES, BadRow, ManifestRow, read_manifest


def manifest(folder: Path, content: str | bytes) -> Path:
    path = folder / "list.tsv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def good_rows(folder: Path, content: str | bytes, *, speaker_required: bool = True) -> list[ManifestRow]:
    rows = list(read_manifest(manifest(folder, content), speaker_required=speaker_required))
    assert [row for row in rows if isinstance(row, BadRow)] == []
    return [row for row in rows if isinstance(row, ManifestRow)]


def only_bad(folder: Path, content: str | bytes) -> BadRow:
    """The one bad row of a manifest; every other is good."""
    bad = [row for row in read_manifest(manifest(folder, content)) if isinstance(row, BadRow)]
    assert len(bad) == 1
    assert "\n" not in bad[0].reason + bad[0].text
    return bad[0]


def test_two_columns_without_a_header_are_path_and_speaker(tmp_path: Path) -> None:
    assert good_rows(tmp_path, "a/1.wav\tann\nb/1.wav\tbob\n") == [
        ManifestRow(line=1, utt_id="a/1.wav", path=tmp_path / "a/1.wav", written_path="a/1.wav", speaker="ann"),
        ManifestRow(line=2, utt_id="b/1.wav", path=tmp_path / "b/1.wav", written_path="b/1.wav", speaker="bob"),
    ]


def test_a_header_names_columns_in_any_order_and_others_are_kept(tmp_path: Path) -> None:
    header = "room\tspeaker\tend_s\tpath\tutt_id\tstart_s\tsession\tchannel\tage\n"
    rows = good_rows(tmp_path, header + "hall\tann\t2.5\t1.wav\tu1\t0.5\tmonday\t2\t\n")
    assert rows == [
        ManifestRow(
            line=2,
            utt_id="u1",
            path=tmp_path / "1.wav",
            written_path="1.wav",
            speaker="ann",
            session="monday",
            channel=2,
            start_s=0.5,
            end_s=2.5,
            extra=(("room", "hall"), ("age", "")),
        )
    ]


def test_empty_optional_fields_are_none(tmp_path: Path) -> None:
    header = "path\tspeaker\tutt_id\tsession\tchannel\tstart_s\tend_s\n"
    (row,) = good_rows(tmp_path, header + "1.wav\tann\t\t\t\t\t\n")
    assert (row.utt_id, row.session, row.channel, row.start_s, row.end_s) == ("1.wav", None, None, None, None)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("header", [b"", b"path\tspeaker"])
def test_byte_order_mark_crlf_blank_lines_and_a_missing_last_newline_do_no_harm(
    tmp_path: Path, mark: bytes, end: bytes, header: bytes
) -> None:
    lines = [*([header] if header else []), b"", b"a.wav\tann", b"  ", b"b.wav\tbob"]
    rows = good_rows(tmp_path, mark + end.join(lines))
    assert [(row.written_path, row.speaker) for row in rows] == [("a.wav", "ann"), ("b.wav", "bob")]
    assert [row.line for row in rows] == ([3, 5] if header else [2, 4])


def test_spaces_around_fields_are_dropped_and_inner_ones_stay(tmp_path: Path) -> None:
    (row,) = good_rows(tmp_path, "  my file.wav \t Ann  Lee \n")
    assert (row.written_path, row.speaker, row.utt_id) == ("my file.wav", "Ann  Lee", "my file.wav")


def test_quotes_are_part_of_a_field(tmp_path: Path) -> None:
    assert good_rows(tmp_path, '"a.wav"\t"ann"\n')[0].written_path == '"a.wav"'


def test_names_are_not_normalised(tmp_path: Path) -> None:
    rows = good_rows(tmp_path, "caf\u00e9.wav\tann\ncafe\u0301.wav\tann\n")
    assert rows[0].utt_id != rows[1].utt_id


def test_absolute_paths_stay(tmp_path: Path) -> None:
    absolute = str(tmp_path / "elsewhere" / "1.wav")
    (row,) = good_rows(tmp_path, f"{absolute}\tann\n")
    assert (str(row.path), row.utt_id) == (absolute, absolute)


def test_recordings_of_one_name_in_two_folders_stay_two(tmp_path: Path) -> None:
    rows = good_rows(tmp_path, "a/1.wav\tann\nb/1.wav\tann\n")
    assert len({row.utt_id for row in rows}) == len({row.path for row in rows}) == 2


def test_cuts_and_channels_of_a_recording_stay_apart(tmp_path: Path) -> None:
    rows = good_rows(
        tmp_path,
        "path\tspeaker\tstart_s\tend_s\tchannel\n"
        "1.wav\tann\t0\t2.50\t\n1.wav\tann\t2.50\t\t\n1.wav\tann\t\t7\t\n1.wav\tann\t\t\t2\n1.wav\tann\t1\t2\t1\n",
    )
    assert [row.utt_id for row in rows] == [
        "1.wav#t=0,2.50",
        "1.wav#t=2.50,",
        "1.wav#t=,7",
        "1.wav#channel=2",
        "1.wav#t=1,2#channel=1",
    ]


def test_the_working_directory_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = manifest(tmp_path, "a/1.wav\tann\n../b.wav\tbob\n")
    from_outside = list(read_manifest(path))
    monkeypatch.chdir(tmp_path)
    assert list(read_manifest("list.tsv")) == from_outside
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert [row.utt_id for row in read_manifest(Path("..", "list.tsv")) if isinstance(row, ManifestRow)] == [
        "a/1.wav",
        "../b.wav",
    ]


def test_changing_directory_between_rows_changes_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest(tmp_path, "1.wav\tann\n2.wav\tbob\n")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    rows = read_manifest("list.tsv")
    first = next(rows)
    monkeypatch.chdir(tmp_path / "sub")
    second = next(rows)
    assert isinstance(first, ManifestRow)
    assert isinstance(second, ManifestRow)
    assert [first.path, second.path] == [tmp_path / "1.wav", tmp_path / "2.wav"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1.wav", "1 column instead of 2 (path, speaker)"),
        ("1.wav\tann\tx", "3 columns instead of 2 (path, speaker)"),
        ("\tann", "the path is empty"),
        ("1.wav\t ", "the speaker is empty"),
        ("1\0.wav\tann", "there is a NUL character in it"),
    ],
)
def test_a_bad_row_says_why_and_the_rest_goes_on(tmp_path: Path, line: str, reason: str) -> None:
    path = manifest(tmp_path, f"a.wav\tann\n{line}\nb.wav\tbob\n")
    first, bad, last = read_manifest(path)
    assert isinstance(first, ManifestRow)
    assert isinstance(last, ManifestRow)
    assert bad == BadRow(2, reason, line)
    assert last.line == 3


@pytest.mark.parametrize("channel", ["0", "-1", "1.5", "left", "²", "1_0", "9" * 5000])
def test_a_bad_channel_is_a_bad_row(tmp_path: Path, channel: str) -> None:
    bad = only_bad(tmp_path, f"path\tspeaker\tchannel\n1.wav\tann\t{channel}\n")
    assert bad.reason.startswith(f'channel "{channel[:40]}')


@pytest.mark.parametrize("name", ["start_s", "end_s"])
@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "1_0", "soon", "1:30", "1,5"])
def test_a_bad_number_of_seconds_is_a_bad_row(tmp_path: Path, name: str, seconds: str) -> None:
    bad = only_bad(tmp_path, f"path\tspeaker\t{name}\n1.wav\tann\t{seconds}\n")
    assert bad.reason == f'{name} "{seconds}" is not a number of seconds'


@pytest.mark.parametrize(("start", "end"), [("2", "2"), ("3", "2"), ("", "0")])
def test_a_cut_without_length_is_a_bad_row(tmp_path: Path, start: str, end: str) -> None:
    bad = only_bad(tmp_path, f"path\tspeaker\tstart_s\tend_s\n1.wav\tann\t{start}\t{end}\n")
    assert bad.reason.endswith("has no length")


def test_bytes_that_are_not_utf8_are_a_bad_row_written_in_hex(tmp_path: Path) -> None:
    bad = only_bad(tmp_path, b"a.wav\tann\ncaf\xe9.wav\tbob\r\nb.wav\tbob\n")
    assert (bad.line, bad.text) == (2, "caf\\xe9.wav\tbob")
    assert bad.reason == "not UTF-8 at byte 4 of the line"


def test_a_shown_line_is_cut(tmp_path: Path) -> None:
    assert only_bad(tmp_path, "x" * 5000 + "\n").text == "x" * 200


@pytest.mark.parametrize("extra", [0, 1, MAX_LINE_BYTES, 3 * MAX_LINE_BYTES])
@pytest.mark.parametrize("first", [False, True])
def test_an_endless_line_is_one_bad_row(tmp_path: Path, extra: int, first: bool) -> None:
    before = [] if first else [b"a.wav\tann"]
    line = b"x" * (MAX_LINE_BYTES + extra) + b"\tann"
    rows = list(read_manifest(manifest(tmp_path, b"\n".join([*before, line, b"b.wav\tbob\n"]))))
    assert [type(row) for row in rows] == [ManifestRow] * len(before) + [BadRow, ManifestRow]
    assert [row.line for row in rows] == list(range(1, len(before) + 3))


def test_an_endless_line_after_a_byte_order_mark_is_one_bad_row(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + b"x" * (2 * MAX_LINE_BYTES) + b"\nb.wav\tbob\n"
    assert [type(row) for row in read_manifest(manifest(tmp_path, content))] == [BadRow, ManifestRow]


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=300))
def test_any_bytes_give_rows_or_one_manifest_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = manifest(tmp_path_factory.mktemp("any"), content)
    try:
        rows = list(read_manifest(path))
    except ManifestError as error:
        assert "\n" not in str(error)
    else:
        lines = [row.line for row in rows]
        assert lines == sorted(set(lines))
        assert all(row.speaker and row.utt_id for row in rows if isinstance(row, ManifestRow))


fields = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12).filter(
    lambda text: text != "path"
)


@settings(max_examples=100, deadline=None)
@given(written=st.lists(st.tuples(fields, fields), min_size=1, max_size=8))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, written: list[tuple[str, str]]) -> None:
    content = "".join(f"{path}\t{speaker}\n" for path, speaker in written)
    rows = good_rows(tmp_path_factory.mktemp("some"), content)
    assert [(row.utt_id, row.speaker) for row in rows] == written


def test_a_list_of_queries_needs_no_speaker(tmp_path: Path) -> None:
    rows = good_rows(tmp_path, "1.wav\n2.wav\tann\n3.wav\t\n", speaker_required=False)
    assert [(row.written_path, row.speaker) for row in rows] == [("1.wav", ""), ("2.wav", "ann"), ("3.wav", "")]


def test_a_list_of_queries_with_a_header_needs_no_speaker(tmp_path: Path) -> None:
    (row,) = good_rows(tmp_path, "utt_id\tpath\nq1\t1.wav\n", speaker_required=False)
    assert (row.utt_id, row.written_path, row.speaker) == ("q1", "1.wav", "")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "holds no rows"),
        (b"\n\r\n  \n", "holds no rows"),
        (b"path\tspeaker\n", "holds no rows"),
        (b"path\tname\n1.wav\tann\n", 'no column "speaker"'),
        (b"path\tspeaker\tpath\n1.wav\tann\tx\n", 'two columns "path"'),
        (b"path\tspeaker\tage\tage\n1.wav\tann\t1\t2\n", 'two columns "age"'),
        (b"path\tspeaker\t\n1.wav\tann\t1\n", "column 3 of the header has no name"),
        ("1.wav\tann\n".encode("utf-16"), "is UTF-16 (save it as UTF-8)"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    path = manifest(tmp_path, content)
    with pytest.raises(ManifestError) as caught:
        list(read_manifest(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert what in str(caught.value)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        list(read_manifest(tmp_path / "no.tsv"))
    assert str(caught.value) == f"{tmp_path / 'no.tsv'}: no such manifest"


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        list(read_manifest(tmp_path))


def test_memory_does_not_grow_with_the_manifest(tmp_path: Path) -> None:
    path = manifest(tmp_path, "".join(f"folder/{number}.wav\tspeaker {number % 10}\n" for number in range(60000)))
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_manifest(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 60000
    # All rows at once would be some 40 MiB; the interpreter's table of interned names is in it, at 2 MiB or so.
    assert peak < 6 * 2**20


@pytest.mark.speech
def test_the_manifests_of_real_speech_are_read(speech: Path) -> None:
    rows = list(read_manifest(speech / "manifest.tsv"))
    assert all(isinstance(row, ManifestRow) and row.path.is_absolute() and row.path.is_file() for row in rows)
    assert any(isinstance(row, ManifestRow) and row.session for row in rows)
    assert len(list(read_manifest(speech / "train.tsv"))) == 251
