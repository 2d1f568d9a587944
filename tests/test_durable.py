from pathlib import Path

import pytest

from vecsv.durable import create_exclusively, sha256_of, write_file


def test_a_written_file_has_its_whole_content(tmp_path: Path) -> None:
    write_file(tmp_path / "deep" / "a", lambda path: path.write_bytes(b"abc") and None)
    assert (tmp_path / "deep" / "a").read_bytes() == b"abc"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_file(tmp_path / "a", fail)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_of_two_exclusive_creations_the_first_wins(tmp_path: Path) -> None:
    assert create_exclusively(tmp_path / "a", b"first")
    assert not create_exclusively(tmp_path / "a", b"second")
    assert (tmp_path / "a").read_bytes() == b"first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert sha256_of(tmp_path / "a") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
