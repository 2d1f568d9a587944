from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from vecsv.training.provenance import git_revision, versions, without_folders

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in no working tree, whatever is above it, and nobody's settings."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=ann", "-c", "user.email=ann@example.org", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@needs_git
class TestRevision:
    @pytest.fixture
    def tree(self, nowhere: Path) -> Path:
        git(nowhere, "init", "-q")
        (nowhere / "train.yaml").write_text("kind: training\n", encoding="utf-8")
        git(nowhere, "add", "train.yaml")
        git(nowhere, "commit", "-q", "-m", "a configuration")
        return nowhere

    def test_it_is_the_commit_in_full_whatever_its_tags(self, tree: Path) -> None:
        git(tree, "tag", "v1")
        assert git_revision(tree) == git(tree, "rev-parse", "HEAD")

    def test_a_folder_below_is_in_it_too_and_the_current_one_is_the_default(
        self, tree: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tree / "below").mkdir()
        monkeypatch.chdir(tree / "below")
        assert git_revision() == git(tree, "rev-parse", "HEAD")

    def test_a_changed_file_makes_it_dirty_and_one_that_git_does_not_know_does_not(self, tree: Path) -> None:
        (tree / "notes.txt").write_text("untracked", encoding="utf-8")
        assert git_revision(tree) == git(tree, "rev-parse", "HEAD")
        (tree / "train.yaml").write_text("kind: other\n", encoding="utf-8")
        assert git_revision(tree) == git(tree, "rev-parse", "HEAD") + "-dirty"

    def test_nothing_is_written_there(self, tree: Path) -> None:
        # Another moment of a file with the same content: git would like to note that in its index.
        os.utime(tree / "train.yaml", (1, 1))
        before = (tree / ".git" / "index").read_bytes()
        assert git_revision(tree) == git(tree, "rev-parse", "HEAD")
        assert (tree / ".git" / "index").read_bytes() == before

    def test_outside_and_before_the_first_commit_there_is_none(self, nowhere: Path) -> None:
        assert git_revision(nowhere) is None
        git(nowhere, "init", "-q")
        assert git_revision(nowhere) is None


def test_without_git_there_is_none(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(nowhere))
    assert git_revision(nowhere) is None


def test_a_folder_that_is_not_there_has_none(nowhere: Path) -> None:
    assert git_revision(nowhere / "missing") is None


def test_versions_name_what_is_installed() -> None:
    found = versions()
    assert found["python"].count(".") >= 1
    assert {"vecsv", "numpy"} <= found.keys()
    assert all(found.values())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/home/zoe/wavlm", "wavlm"),
        ("C:\\models\\wavlm", "wavlm"),
        ("microsoft/wavlm-base-plus", "microsoft/wavlm-base-plus"),
        ({"a": ["/x/y", 1, None, {"b": "/z"}]}, {"a": ["y", 1, None, {"b": "z"}]}),
        (("/x/y",), ["y"]),
        (0.5, 0.5),
    ],
)
def test_of_an_absolute_path_only_the_name_is_kept(given: object, expected: object) -> None:
    assert without_folders(given) == expected
