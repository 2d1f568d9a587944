"""`vecsv calibrate --search` and what `vecsv search` makes of it, on synthetic voices with the default model."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from vecsv.api import Store

Recordings = dict[str, list[Path]]


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Path:
    """A store of one's own to change."""
    return Path(shutil.copytree(built, tmp_path / "store"))


@pytest.fixture
def query(recordings: Recordings) -> Path:
    return next(iter(recordings.values()))[0]


def test_the_threshold_its_errors_and_the_table_are_printed(run: Run, store: Path) -> None:
    outcome = run("calibrate", "--search", "--fpir", 0.1, "--store", store)
    assert outcome.code == 0
    for word in ("for strangers ", "threshold ", "FPIR ", "FNIR ", "FMR of a pair ", "FPIR of fmr-0.01", " * "):
        assert word in outcome.out
    assert "takes 300 to be trusted" in outcome.err


def test_json_is_what_the_store_keeps(run: Run, store: Path) -> None:
    document = run("calibrate", "--search", "--fpir", 0.1, "--gallery-size", 5, "--seed", 3, "--store", store, "--json")
    assert (document.json["gallery_size"], document.json["seed"], document.json["fpir_asked"]) == (5, 3, 0.1)
    kept = Store(store).search_calibration()
    assert kept is not None
    assert document.json == json.loads(json.dumps(kept.to_json()))


def test_search_says_which_hits_pass_and_by_what(run: Run, store: Path, query: Path) -> None:
    made = run("calibrate", "--search", "--fpir", 0.1, "--store", store, "--json").json
    document = run("search", query, "--store", store, "--top-k", 50, "--json").json
    assert document["threshold"] == made["threshold"]
    assert (document["threshold_fpir"], document["threshold_gallery_size"]) == (0.1, made["gallery_size"])
    assert document["gallery_size"] == made["speakers"] == len(document["hits"])
    assert document["passes_reason"] is None
    assert [hit["passes"] for hit in document["hits"]] == [
        hit["score"] >= made["threshold"] for hit in document["hits"]
    ]
    assert {hit["passes"] for hit in document["hits"]} == {True, False}
    printed = run("search", query, "--store", store)
    assert f"passes at {made['threshold']:.4f}: FPIR 10.00% among {made['gallery_size']} speakers" in printed.out
    assert printed.err == ""


def test_without_one_search_says_that_it_had_to_do_without(run: Run, built: Path, query: Path) -> None:
    outcome = run("search", query, "--store", built)
    assert outcome.code == 0
    assert outcome.err.count("no search threshold is calibrated") == 1
    assert "passes at" not in outcome.out


def test_a_gallery_that_has_outgrown_it_is_told(run: Run, store: Path, recordings: Recordings, query: Path) -> None:
    run("calibrate", "--search", "--fpir", 0.1, "--gallery-size", 3, "--store", store)
    assert "the gallery has outgrown the search threshold" in run("search", query, "--store", store).err
    (warning,) = run("search", query, "--store", store, "--json").json["warnings"]
    assert f"{len(recordings)} speakers, calibrated for 3" in warning


def test_enrolling_people_makes_the_gallery_larger(
    run: Run, store: Path, recordings: Recordings, query: Path, tmp_path: Path
) -> None:
    run("calibrate", "--search", "--fpir", 0.1, "--store", store)
    size = len(recordings)
    for number in range(1 + size // 10):
        run("enroll", "--speaker", f"new-{number}", query, "--store", store)
    document = run("search", query, "--store", store, "--json").json
    assert document["gallery_size"] == size + 1 + size // 10
    assert "outgrown" in document["warnings"][0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--search", "--fpir", "0.0001"), "not supported by this data"),
        (("--search", "--gallery-size", "5000"), "a gallery of 5000 is not supported by this data"),
        (("--search", "--fpir", "2"), "false positive identification rate"),
        (("--search", "--ratio", "5"), "--ratio is for thresholds of pairs"),
        (("--search", "--from", "elsewhere"), "--from is for thresholds of pairs"),
        (("--fpir", "0.1"), "--fpir is for search thresholds (add --search)"),
        (("--gallery-size", "3"), "--gallery-size is for search thresholds"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(run: Run, built: Path, words: tuple[str, ...], said: str) -> None:
    outcome = run("calibrate", "--store", built, *words)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
    assert Store(built).search_calibration() is None
