"""Calibration against a cohort: from another store into the thresholds, and with them wherever they go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.store.rows import DIM, embedded, make_store, unit_vectors
from vecsv.calibration.cohort_store import COHORT_FILE, read_cohort, read_cohort_store, write_cohort
from vecsv.calibration.normalise import Cohort
from vecsv.calibration.operating_points import operating_points
from vecsv.calibration.record import TRIALS_FILE, Calibration
from vecsv.calibration.run import CalibrateSettings, calibrate, calibration_and_cohort, copy_calibration
from vecsv.errors import CalibrationError, FingerprintMismatchError, StoreError
from vecsv.query.erase import erase
from vecsv.query.thresholds import choose
from vecsv.query.verify import Side, compare
from vecsv.store.generation import latest, require_latest
from vecsv.store.reader import Snapshot


def make_people(folder: Path, name: str, speakers: int, *, seed: int, domains: bool = True) -> Path:
    """A store of speakers, every other one of them on a line that makes voices alike; four utterances each."""
    random = np.random.default_rng(seed)
    rows = []
    for speaker in range(speakers):
        voice = random.normal(size=DIM)
        voice[-1] = 6.0 if speaker % 2 and domains else 0.0
        for _ in range(4):
            vector = voice + 0.4 * random.normal(size=DIM)
            vector = (vector / np.linalg.norm(vector)).astype(np.float32)
            rows.append(embedded(len(rows), f"{name}-{speaker}", embedding=vector))
    make_store(folder, rows)
    return folder


@pytest.fixture
def others(tmp_path: Path) -> Path:
    return make_people(tmp_path / "others", "other", 120, seed=1)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_people(tmp_path / "store", "person", 24, seed=2)


def settings(cohort: Path) -> CalibrateSettings:
    return CalibrateSettings(cohort=cohort, top_k=20)


def test_a_cohort_that_wins_moves_the_thresholds_to_normalised_scores(store: Path, others: Path) -> None:
    calibration = calibrate(store, settings(others))
    assert calibration.normalisation is not None
    assert calibration.normalisation.kept
    assert not calibration.of_cosines
    found, cohort = calibration_and_cohort(Snapshot.open(store))
    assert found == calibration
    assert cohort is not None
    trials = pq.read_table(store / require_latest(store).calibrations["default"] / TRIALS_FILE)
    ids, vectors = Snapshot.open(store).vectors()
    for trial in trials.slice(0, 50).to_pylist():
        one, two = (np.searchsorted(ids, [trial[name]]) for name in ("first_row_id", "second_row_id"))
        assert trial["score"] == pytest.approx(cohort.score(vectors[one], vectors[two]), rel=1e-4, abs=1e-4)


def test_verification_decides_by_the_normalised_score(store: Path, others: Path) -> None:
    calibrate(store, settings(others))
    calibration, cohort = calibration_and_cohort(Snapshot.open(store))
    assert calibration is not None
    _, vectors = Snapshot.open(store).vectors()
    threshold = choose(calibration)
    assert threshold is not None
    for other, same in ((1, True), (8, False)):
        answer = compare(
            Side("a", vectors[:1]), Side("b", vectors[other : other + 1]), threshold, model="m", fingerprint="f",
            mapping=calibration.llr, cohort=cohort,
        )  # fmt: skip
        assert answer.normalised
        assert answer.same is same
        assert answer.cosine == pytest.approx(float(vectors[0] @ vectors[other]), abs=1e-6)
        assert answer.llr is not None
        assert (answer.llr > 0) is same


def test_a_cohort_that_does_not_win_changes_nothing(tmp_path: Path, others: Path) -> None:
    plain = make_people(tmp_path / "plain", "person", 24, seed=3, domains=False)
    without = calibrate(plain)
    tried = calibrate(plain, settings(others))
    assert tried.normalisation is not None
    assert not tried.normalisation.kept
    assert tried.points == without.points
    assert not list(plain.rglob(COHORT_FILE))


def test_too_few_speakers_to_measure_it_on_leave_scores_as_they_are(tmp_path: Path, others: Path) -> None:
    few = make_people(tmp_path / "few", "person", 6, seed=2)
    calibration = calibrate(few, settings(others))
    assert calibration.of_cosines
    assert calibration.normalisation is not None
    assert calibration.normalisation.eer_cosine is None


def test_a_cohort_goes_with_thresholds_that_are_taken_over(store: Path, others: Path, tmp_path: Path) -> None:
    made = calibrate(store, settings(others))
    make_people(tmp_path / "gallery", "guest", 3, seed=9)
    copy_calibration(store, tmp_path / "gallery")
    found, cohort = calibration_and_cohort(Snapshot.open(tmp_path / "gallery"))
    assert found is not None
    assert cohort is not None
    assert found.points == made.points
    assert np.array_equal(cohort.means, read_cohort_store(others, Snapshot.open(store)).means)


def test_an_erasure_keeps_the_cohort_and_the_scale(store: Path, others: Path) -> None:
    before = calibrate(store, settings(others))
    erase(store, "person-5")
    after, cohort = calibration_and_cohort(Snapshot.open(store))
    assert after is not None
    assert cohort is not None
    assert after.normalisation == before.normalisation
    trials = pq.read_table(store / require_latest(store).calibrations["default"] / TRIALS_FILE)
    fit = ~trials.column("held_out").to_numpy()
    expected = operating_points(trials.column("score").to_numpy()[fit], trials.column("target").to_numpy()[fit])
    assert [point.threshold for point in after.points] == [point.threshold for point in expected]


def test_a_cohort_with_a_person_of_the_store_is_refused_and_named(store: Path, tmp_path: Path) -> None:
    mixed = make_people(tmp_path / "mixed", "person", 30, seed=4)
    with pytest.raises(
        CalibrationError, match="24 of the cohort's speakers are in the store too, the first is 'person-0'"
    ):
        calibrate(store, settings(mixed))
    assert require_latest(store).calibrations == {}


def test_a_cohort_of_another_model_is_refused(store: Path, others: Path) -> None:
    generation = require_latest(others)
    snapshot = Snapshot(store, replace(require_latest(store), fingerprint="cd" * 32))
    assert generation.fingerprint != snapshot.generation.fingerprint
    with pytest.raises(FingerprintMismatchError):
        read_cohort_store(others, snapshot)


def test_a_small_cohort_is_refused_and_nothing_is_written(store: Path, tmp_path: Path) -> None:
    small = make_people(tmp_path / "small", "other", 5, seed=4)
    with pytest.raises(CalibrationError, match="too small"):
        calibrate(store, settings(small))
    assert require_latest(store).calibrations == {}


def test_no_store_is_no_cohort(store: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store here"):
        calibrate(store, settings(tmp_path / "absent"))
    assert latest(tmp_path / "absent") is None


def test_a_cohort_survives_its_file_and_damage_is_an_error(tmp_path: Path) -> None:
    cohort = Cohort(unit_vectors(12), 10)
    write_cohort(tmp_path, cohort)
    again = read_cohort(tmp_path, top_k=10)
    assert np.array_equal(again.means, cohort.means)
    (tmp_path / COHORT_FILE).write_bytes(b"nothing")
    with pytest.raises(StoreError, match="damaged"):
        read_cohort(tmp_path, top_k=10)


def test_a_normalised_calibration_survives_json(store: Path, others: Path) -> None:
    calibration = calibrate(store, settings(others))
    assert Calibration.from_json(calibration.to_json(), where="here") == calibration
