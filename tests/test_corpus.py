from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vecsv.corpus import LeftOut, make_manifest, write_manifest
from vecsv.errors import ManifestError
from vecsv.manifest import ManifestRow, read_manifest


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_the_first_folder_names_the_speaker_and_deeper_files_belong_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "bob/1.wav", "ann/b/deep/2.flac", "ann/a/1.mp3", "ann/z.ogg")
    assert list(make_manifest(tmp_path)) == [
        ("ann/a/1.mp3", "ann"),
        ("ann/b/deep/2.flac", "ann"),
        ("ann/z.ogg", "ann"),
        ("bob/1.wav", "bob"),
    ]


def test_recordings_are_known_by_their_ending_in_any_case(tmp_path: Path) -> None:
    touch(tmp_path, "ann/1.WAV", "ann/2.m4a", "ann/notes.txt", "ann/noending", "ann/3.opus")
    assert [path for path, _ in make_manifest(tmp_path)] == ["ann/1.WAV", "ann/2.m4a", "ann/3.opus"]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "ann/1.wav", "ann/.2.wav", ".trash/3.wav", "ann/.old/4.wav", ".5.wav")
    left: list[LeftOut] = []
    assert list(make_manifest(tmp_path, left_out=left.append)) == [("ann/1.wav", "ann")]
    assert left == []


def test_recordings_in_no_speakers_folder_are_reported(tmp_path: Path) -> None:
    touch(tmp_path, "loose.wav", "readme.txt", "ann/1.wav")
    left: list[LeftOut] = []
    assert list(make_manifest(tmp_path, left_out=left.append)) == [("ann/1.wav", "ann")]
    assert left == [LeftOut(tmp_path / "loose.wav", "lies in no speaker's folder")]


@pytest.mark.parametrize("name", ["ann/a\tb.wav", "ann/a\nb.wav", "a\tb/1.wav", " ann/1.wav", "ann /1.wav"])
def test_names_that_a_manifest_cannot_hold_are_reported(tmp_path: Path, name: str) -> None:
    if os.name == "nt":
        pytest.skip("this system has no such names")
    touch(tmp_path, "good/1.wav", name)
    left: list[LeftOut] = []
    assert list(make_manifest(tmp_path, left_out=left.append)) == [("good/1.wav", "good")]
    assert [item.path for item in left] == [tmp_path / name]


def test_a_name_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    touch(tmp_path, "ann/1.wav")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/ann/\xff.wav")).touch()
    except OSError:
        pytest.skip("this file system has no such names")
    left: list[LeftOut] = []
    assert list(make_manifest(tmp_path, left_out=left.append)) == [("ann/1.wav", "ann")]
    assert len(left) == 1


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "store", "1.wav")
    corpus = touch(tmp_path / "corpus", "ann/2.wav")
    (corpus / "bob").symlink_to(tmp_path / "store")
    (corpus / "ann" / "again").symlink_to(corpus)
    left: list[LeftOut] = []
    assert list(make_manifest(corpus, left_out=left.append)) == [("ann/2.wav", "ann"), ("bob/1.wav", "bob")]
    assert [item.path for item in left] == [corpus / "ann" / "again"]


@pytest.mark.parametrize("place", ["corpus", ".", "lists", "corpus/lists/deep", "corpus/ann"])
def test_written_paths_lead_to_the_files_from_wherever_the_manifest_is(tmp_path: Path, place: str) -> None:
    corpus = touch(tmp_path / "corpus", "ann/1.wav", "bob/x/2.wav")
    out = tmp_path / place / "list.tsv"
    out.parent.mkdir(parents=True, exist_ok=True)
    assert write_manifest(make_manifest(corpus, relative_to=out.parent), out) == 2
    rows = [row for row in read_manifest(out) if isinstance(row, ManifestRow)]
    assert [row.path.resolve() for row in rows] == [corpus / "ann/1.wav", corpus / "bob/x/2.wav"]
    assert [row.speaker for row in rows] == ["ann", "bob"]
    assert not any(Path(row.written_path).is_absolute() for row in rows)


def test_a_manifest_behind_a_link_leads_to_the_files(tmp_path: Path) -> None:
    corpus = touch(tmp_path / "corpus", "ann/1.wav")
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "lists").symlink_to(tmp_path / "far" / "away")
    out = tmp_path / "lists" / "list.tsv"
    write_manifest(make_manifest(corpus, relative_to=out.parent), out)
    (row,) = read_manifest(out)
    assert isinstance(row, ManifestRow)
    assert row.path.is_file()


def test_a_speaker_called_path_is_no_header(tmp_path: Path) -> None:
    corpus = touch(tmp_path, "path/1.wav")
    write_manifest(make_manifest(corpus), tmp_path / "list.tsv")
    (row,) = read_manifest(tmp_path / "list.tsv")
    assert isinstance(row, ManifestRow)
    assert row.speaker == "path"


def test_a_manifest_can_go_to_a_stream(tmp_path: Path) -> None:
    touch(tmp_path, "ann/1.wav")
    stream = io.StringIO()
    assert write_manifest(make_manifest(tmp_path), stream) == 1
    assert stream.getvalue() == "path\tspeaker\nann/1.wav\tann\n"


def test_a_failure_while_writing_leaves_the_old_manifest_and_nothing_else(tmp_path: Path) -> None:
    def rows() -> Iterator[tuple[str, str]]:
        yield "1.wav", "ann"
        raise ManifestError("stopped")

    out = tmp_path / "list.tsv"
    out.write_text("old")
    with pytest.raises(ManifestError, match="stopped"):
        write_manifest(rows(), out)
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_an_existing_manifest_is_replaced(tmp_path: Path) -> None:
    out = tmp_path / "list.tsv"
    out.write_text("old")
    write_manifest([("1.wav", "ann")], out)
    assert out.read_text(encoding="utf-8") == "path\tspeaker\n1.wav\tann\n"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("row", [("a\tb", "ann"), ("a", ""), ("a", "b\n"), (" a", "b")])
def test_a_field_that_a_manifest_cannot_hold_is_refused(tmp_path: Path, row: tuple[str, str]) -> None:
    with pytest.raises(ManifestError, match="cannot hold"):
        write_manifest([row], tmp_path / "list.tsv")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be written"):
        write_manifest([("a", "b")], tmp_path / "none" / "list.tsv")
    (tmp_path / "file").touch()
    with pytest.raises(ManifestError, match="cannot be written"):
        write_manifest([("a", "b")], tmp_path / "file" / "list.tsv")


@pytest.mark.parametrize("names", [(), ("loose.wav",), ("ann/notes.txt",)])
def test_a_folder_without_recordings_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    touch(tmp_path, *names)
    with pytest.raises(ManifestError, match="one folder per speaker"):
        list(make_manifest(tmp_path))


def test_a_missing_folder_or_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such folder"):
        list(make_manifest(tmp_path / "none"))
    (tmp_path / "file").touch()
    with pytest.raises(ManifestError, match="cannot be read"):
        list(make_manifest(tmp_path / "file"))
