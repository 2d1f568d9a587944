from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.stores import write_speakers
from vecsv.calibration.operating_points import operating_points
from vecsv.calibration.record import TRIALS_FILE, read_thresholds
from vecsv.calibration.run import CalibrateSettings, calibrate, calibration_in_force, copy_calibration
from vecsv.embedding.run import embed_manifest
from vecsv.errors import CalibrationError, FingerprintMismatchError, StoreError, UsageError
from vecsv.store.generation import require_latest
from vecsv.store.reader import Snapshot

MODEL = SpectralEmbedder()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store to copy from: eight speakers of six utterances."""
    folder = tmp_path_factory.mktemp("built")
    embed_manifest(write_speakers(folder / "audio", 8, 6), folder / "store", MODEL)
    return folder / "store"


@pytest.fixture
def store(built: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(built, tmp_path / "store"))


def trials_of(folder: Path, name: str = "default") -> dict[str, np.ndarray]:
    table = pq.read_table(folder / require_latest(folder).calibrations[name] / TRIALS_FILE)
    return {column: table.column(column).to_numpy() for column in table.column_names}


def test_the_thresholds_are_those_of_the_trial_list_scored_by_numpy(store: Path) -> None:
    calibration = calibrate(store)
    trials = trials_of(store)
    ids, vectors = Snapshot.open(store).vectors()
    speakers = np.array(Snapshot.open(store).table(["speaker"]).column("speaker").to_pylist())
    first, second = (np.searchsorted(ids, trials[name]) for name in ("first_row_id", "second_row_id"))
    expected = np.array([vectors[i] @ vectors[j] for i, j in zip(first, second, strict=True)])
    assert np.allclose(trials["score"], expected, atol=1e-6)
    assert np.array_equal(trials["target"], speakers[first] == speakers[second])
    assert calibration.points == operating_points(trials["score"], trials["target"])


def test_no_utterance_is_paired_with_itself_and_no_pair_comes_twice(store: Path) -> None:
    calibrate(store)
    trials = trials_of(store)
    pairs = list(zip(trials["first_row_id"].tolist(), trials["second_row_id"].tolist(), strict=True))
    assert all(first < second for first, second in pairs)
    assert len(set(pairs)) == len(pairs)


def test_the_counts_say_what_was_there_and_what_was_used(store: Path) -> None:
    basis = calibrate(store).basis
    assert (basis.speakers, basis.utterances) == (8, 48)
    assert basis.targets == basis.targets_available == 8 * 15
    assert basis.non_targets == basis.non_targets_available == 48 * 47 // 2 - 120
    assert basis.ratio_reached == pytest.approx(basis.non_targets / basis.targets)
    assert basis.ratio_asked == 99


def test_a_ratio_that_can_be_had_is_kept(store: Path) -> None:
    assert calibrate(store, CalibrateSettings(ratio=3)).basis.ratio_reached == 3


def test_the_same_seed_gives_the_same_trials_and_another_seed_others(store: Path) -> None:
    lists = []
    for seed in (1, 1, 2):
        calibrate(store, CalibrateSettings(ratio=2, seed=seed))
        lists.append(trials_of(store)["second_row_id"].tolist())
    assert lists[0] == lists[1] != lists[2]


def test_a_calibration_is_in_force_once_committed(store: Path) -> None:
    assert calibration_in_force(Snapshot.open(store)) is None
    made = calibrate(store)
    assert calibration_in_force(Snapshot.open(store)) == made
    assert read_thresholds(store / require_latest(store).calibrations["default"] / "thresholds.json") == made


def test_calibrating_again_leaves_one_calibration_on_disk(store: Path) -> None:
    calibrate(store)
    calibrate(store)
    assert len(list((store / "calibration" / "default").iterdir())) == 1


def test_calibrations_of_different_names_live_side_by_side(store: Path) -> None:
    calibrate(store)
    calibrate(store, CalibrateSettings(name="phone", seed=3))
    assert set(require_latest(store).calibrations) == {"default", "phone"}


def test_one_utterance_a_speaker_gives_no_targets_and_says_so(tmp_path: Path) -> None:
    embed_manifest(write_speakers(tmp_path / "audio", 4, 1), tmp_path / "store", MODEL)
    with pytest.raises(CalibrationError, match="target"):
        calibrate(tmp_path / "store")
    assert not (tmp_path / "store" / "calibration").exists()


def test_two_copies_of_one_recording_are_never_a_pair(tmp_path: Path) -> None:
    manifest = write_speakers(tmp_path / "audio", 2, 3)
    audio = manifest.parent
    (audio / "copy.wav").write_bytes((audio / "speaker-000" / "000.wav").read_bytes())
    manifest.write_text(manifest.read_text() + "copy.wav\tspeaker-000\n")
    embed_manifest(manifest, tmp_path / "store", MODEL)
    basis = calibrate(tmp_path / "store").basis
    assert sum(basis.left_out.values()) == 1
    assert trials_of(tmp_path / "store")["score"].max() < 1 - 1e-6


def test_thresholds_can_be_taken_over_from_another_store(store: Path, tmp_path: Path) -> None:
    made = calibrate(store)
    embed_manifest(write_speakers(tmp_path / "gallery", ["zoe"], 1), tmp_path / "other", MODEL)
    copied = copy_calibration(store, tmp_path / "other")
    assert copied.points == made.points
    assert copied.origin == "other-store"
    assert calibration_in_force(Snapshot.open(tmp_path / "other")) == copied


def test_thresholds_of_another_model_are_not_taken_over(store: Path, tmp_path: Path) -> None:
    calibrate(store)
    embed_manifest(write_speakers(tmp_path / "gallery", ["zoe"], 1), tmp_path / "other", SpectralEmbedder(seed=1))
    with pytest.raises(FingerprintMismatchError):
        copy_calibration(store, tmp_path / "other")


def test_taking_over_from_an_uncalibrated_store_is_an_error(store: Path, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="has no calibration"):
        copy_calibration(store, tmp_path / "store")


@pytest.mark.parametrize("bad", [{"name": "../x"}, {"ratio": 0}, {"seed": -1}, {"per_speaker": 0}])
def test_settings_out_of_range_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        CalibrateSettings(**bad)  # type: ignore[arg-type]


def test_an_unknown_threshold_to_be_in_force_is_refused_before_anything_is_written(store: Path) -> None:
    with pytest.raises(UsageError, match=r"fmr-0\.01"):
        calibrate(store, CalibrateSettings(in_force="best"))
    assert require_latest(store).calibrations == {}


def test_no_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store here"):
        calibrate(tmp_path / "absent")
