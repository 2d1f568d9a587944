"""What `vecsv calibrate` and `vecsv verify` say about held-out speakers, likelihood ratios and cohorts."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Run
from tests.store.rows import embedded, unit_vectors
from vecsv.calibration.normalise import decide
from vecsv.store.generation import Generation, commit, require_latest
from vecsv.store.parts import write_embeddings

Recordings = dict[str, list[Path]]


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Path:
    """A copy of the store, to write to."""
    return Path(shutil.copytree(built, tmp_path / "store"))


def test_error_rates_are_those_of_held_out_speakers_with_intervals(run: Run, store: Path) -> None:
    printed = run("calibrate", "--store", store)
    assert printed.code == 0
    halves = re.search(r"thresholds placed on (\d+), errors counted on (\d+) others", printed.out)
    assert halves is not None
    document = run("calibrate", "--store", store, "--json").json
    held_out = document["held_out"]
    assert [int(number) for number in halves.groups()] == [held_out["fit_speakers"], held_out["held_out_speakers"]]
    assert document["held_out_note"] is None
    for point in document["points"]:
        rates = point["held_out"]
        assert rates["targets"] == held_out["held_out_targets"]
        low, high = rates["fnmr_interval"]
        assert low <= rates["fnmr"] <= high
        row = re.search(rf"^{re.escape(point['name'])}( \*)? .*$", printed.out, re.MULTILINE)
        assert row is not None
        assert f"{rates['fmr']:.3%}" in row[0]
        assert f"{low:.2%} to {high:.2%}" in row[0]


def test_verify_reports_the_held_out_rates(run: Run, store: Path, recordings: Recordings) -> None:
    run("calibrate", "--store", store)
    point = next(
        point for point in run("calibrate", "--store", store, "--json").json["points"] if point["name"] == "fmr-0.01"
    )
    first, second, *_ = next(iter(recordings.values()))
    answer = run("verify", first, second, "--store", store, "--json").json
    assert (answer["threshold_fmr"], answer["threshold_fnmr"]) == (point["held_out"]["fmr"], point["held_out"]["fnmr"])
    assert "on held-out speakers" in run("verify", first, second, "--store", store).out


def test_verify_gives_a_likelihood_ratio_beside_the_score(run: Run, store: Path, recordings: Recordings) -> None:
    calibrated = run("calibrate", "--store", store, "--json").json["llr"]
    (first, second, *_), (other, *_), *_ = recordings.values()
    same = run("verify", first, second, "--store", store, "--json").json
    different = run("verify", first, other, "--store", store, "--json").json
    assert same["llr"] > 0 > different["llr"]
    if calibrated["with_quality"] is None:
        weights = calibrated["score_only"]
        expected = weights["intercept"] + weights["weights"]["score"] * same["score"]
        assert math.isclose(same["llr"], expected, rel_tol=1e-9)
    assert "likelihood ratio" in run("verify", first, second, "--store", store).out


def test_a_cohort_of_the_stores_own_people_is_refused(run: Run, store: Path) -> None:
    outcome = run("calibrate", "--store", store, "--cohort", store)
    assert outcome.code == 2
    assert "of the cohort's speakers are in the store too" in outcome.err


def test_a_cohort_is_for_pairs_only(run: Run, store: Path) -> None:
    outcome = run("calibrate", "--store", store, "--search", "--cohort", store)
    assert outcome.code == 2
    assert "--cohort" in outcome.err


def test_verify_decides_on_normalised_scores_where_a_cohort_won(
    run: Run, store: Path, recordings: Recordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = require_latest(store)
    like = Generation(1, model=generation.model, fingerprint=generation.fingerprint, dim=generation.dim)
    rows = [
        embedded(number, f"other-{number}", embedding=vector)
        for number, vector in enumerate(np.abs(unit_vectors(40, dim=generation.dim)))
    ]
    shard = write_embeddings(tmp_path / "others", like, rows, first_row_id=0, part=0)
    commit(tmp_path / "others", replace(like, next_row_id=40, next_part=1, shards=(shard,)))
    # Random directions are no help: that they won is pretended, what follows from it is not.
    monkeypatch.setattr("vecsv.calibration.run.decide", lambda *given: replace(decide(*given), kept=True))
    printed = run("calibrate", "--store", store, "--cohort", tmp_path / "others").out
    assert "used: against 40 speakers of others" in printed
    (first, second, *_), (other, *_), *_ = recordings.values()
    same = run("verify", first, second, "--store", store, "--json").json
    different = run("verify", first, other, "--store", store, "--json").json
    assert same["normalised"]
    assert same["score"] > same["threshold"] > different["score"]
    assert (same["same"], different["same"]) == (True, False)
    assert -1 <= different["cosine"] < same["cosine"] <= 1
    assert same["score"] != same["cosine"]
    assert "(normalised; cosine" in run("verify", first, second, "--store", store).out
