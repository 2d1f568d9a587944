import json
from pathlib import Path

import numpy as np
import pytest

from vecsv.errors import StoreError
from vecsv.evaluation.run import evaluate_store
from vecsv.evaluation.runs import METRICS_FILE, SCORES_FILE, read_run, write_run, write_scores
from vecsv.evaluation.sampling import SampleSettings


def test_a_run_comes_back_as_it_was_kept(store: Path, tmp_path: Path) -> None:
    found = evaluate_store(store, SampleSettings(ratio=3))
    write_run(tmp_path / "runs" / "one", found)
    run = read_run(tmp_path / "runs" / "one")
    names = [side.name for side in found.listed_trials().sides]
    assert run.enrol.to_pylist() == [names[at] for at in found.listed_trials().first]
    assert run.test.to_pylist() == [names[at] for at in found.listed_trials().second]
    np.testing.assert_array_equal(run.scores, found.listed_trials().scores)
    np.testing.assert_array_equal(run.labels, found.listed_trials().labels)
    np.testing.assert_array_equal(run.enrol_speakers == run.test_speakers, found.listed_trials().labels)
    assert {key: run.document[key] for key in found.to_json()} == json.loads(json.dumps(found.to_json()))


def test_a_second_run_replaces_the_first(store: Path, tmp_path: Path) -> None:
    write_run(tmp_path, evaluate_store(store))
    write_run(tmp_path, evaluate_store(store, SampleSettings(ratio=1)))
    run = read_run(tmp_path)
    assert len(run.scores) == 2 * run.document["metrics"]["targets"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [METRICS_FILE, SCORES_FILE]


def test_the_scores_as_text_have_every_trial_and_every_bit(store: Path, tmp_path: Path) -> None:
    found = evaluate_store(store, SampleSettings(ratio=3))
    write_scores(tmp_path / "scores.tsv", found)
    header, *lines = (tmp_path / "scores.tsv").read_text().splitlines()
    assert header == "label\tenrol\ttest\tscore"
    label, enrol, test, score = zip(*(line.split("\t") for line in lines), strict=True)
    np.testing.assert_array_equal(np.array(score, np.float32), found.listed_trials().scores)
    assert [text == "1" for text in label] == found.listed_trials().labels.tolist()
    names = [side.name for side in found.listed_trials().sides]
    assert list(enrol) == [names[at] for at in found.listed_trials().first]
    assert list(test) == [names[at] for at in found.listed_trials().second]


def test_files_of_two_runs_are_not_taken_for_one(store: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "one", evaluate_store(store))
    write_run(tmp_path / "two", evaluate_store(store, SampleSettings(ratio=1)))
    (tmp_path / "two" / SCORES_FILE).replace(tmp_path / "one" / SCORES_FILE)
    with pytest.raises(StoreError, match="not of one run"):
        read_run(tmp_path / "one")


@pytest.mark.parametrize(("content", "problem"), [("{", "damaged"), ("{}", "damaged"), ('{"format": 99}', "format 99")])
def test_damage_is_said(store: Path, tmp_path: Path, content: str, problem: str) -> None:
    write_run(tmp_path, evaluate_store(store))
    (tmp_path / METRICS_FILE).write_text(content)
    with pytest.raises(StoreError, match=problem):
        read_run(tmp_path)


def test_a_folder_without_a_run_is_an_error_that_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no evaluation here \(evaluate again: vecsv eval"):
        read_run(tmp_path)
