"""`vecsv audit` and `vecsv report` on synthetic voices with the default model."""

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from vecsv.api import Store
from vecsv.cli.audit import COLUMNS

Recordings = dict[str, list[Path]]


@pytest.fixture
def mislabelled(recordings: Recordings, tmp_path: Path, ge2e_folder: Path) -> tuple[Path, set[str]]:
    """A store with two swapped labels, and the ids of those recordings."""
    speakers = sorted(recordings)
    rows = [(path, speaker) for speaker in speakers for path in recordings[speaker]]
    wrong = [(recordings[speakers[0]][0], speakers[1]), (recordings[speakers[2]][1], speakers[3])]
    labels = dict(rows) | dict(wrong)
    (tmp_path / "train.tsv").write_text("".join(f"{path}\t{speaker}\n" for path, speaker in labels.items()))
    Store(tmp_path / "store").embed(tmp_path / "train.tsv")
    return tmp_path / "store", {str(path) for path, _ in wrong}


class TestAudit:
    def test_swapped_labels_come_first(self, run: Run, mislabelled: tuple[Path, set[str]]) -> None:
        store, wrong = mislabelled
        outcome = run("audit", "--store", store, "--json")
        assert outcome.code == 0
        first = [one for one in outcome.json["findings"] if one["kind"] == "other-speaker"][:2]
        assert {one["utt_id"] for one in first} == wrong
        assert outcome.json["recordings"] > 2

    def test_the_tsv_has_one_line_for_each_finding(
        self, run: Run, mislabelled: tuple[Path, set[str]], tmp_path: Path
    ) -> None:
        store, wrong = mislabelled
        outcome = run("audit", "--store", store, "-o", tmp_path / "audit.tsv")
        assert (outcome.code, outcome.out) == (0, "")
        assert "other-speaker" in outcome.err
        lines = [line.split("\t") for line in (tmp_path / "audit.tsv").read_text(encoding="utf-8").splitlines()]
        assert lines[0] == list(COLUMNS)
        assert all(len(line) == len(COLUMNS) for line in lines)
        assert [line[0] for line in lines[1:]] == [str(rank) for rank in range(1, len(lines))]
        assert wrong <= {line[4] for line in lines[1:]}

    def test_top_lists_the_first_and_says_so(self, run: Run, mislabelled: tuple[Path, set[str]]) -> None:
        store, _ = mislabelled
        outcome = run("audit", "--store", store, "--top", 1)
        assert outcome.out.count("\n") == 2
        assert "the first 1 are listed" in outcome.err

    def test_the_store_is_not_changed(self, run: Run, built: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in built.rglob("*")}
        assert run("audit", "--store", built).code == 0
        assert {path: path.stat().st_mtime_ns for path in built.rglob("*")} == before

    def test_without_a_store_it_is_one_line_and_exit_code_2(self, run: Run, tmp_path: Path) -> None:
        outcome = run("audit", "--store", tmp_path / "absent")
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)


class TestReport:
    def test_the_files_are_named(self, run: Run, built: Path, tmp_path: Path) -> None:
        outcome = run("report", "--store", built, "--out", tmp_path / "out", "--json")
        assert outcome.code == 0
        assert Path(outcome.json["page"]).is_file()
        assert all(Path(path).is_file() for path in outcome.json["figures"])
        assert "report.html" in run("report", "--store", built, "--out", tmp_path / "out").out

    def test_without_a_calibration_it_is_exit_code_2(self, run: Run, mislabelled: tuple[Path, set[str]]) -> None:
        outcome = run("report", "--store", mislabelled[0])
        assert outcome.code == 2
        assert "vecsv calibrate" in outcome.err
