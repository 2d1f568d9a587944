from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.stores import write_speakers
from tests.store.rows import embedded, make_store, unit_vectors
from vecsv.calibration.metrics import cllr
from vecsv.calibration.operating_points import operating_points
from vecsv.calibration.record import TRIALS_FILE, Calibration, read_thresholds
from vecsv.calibration.run import CalibrateSettings, calibrate, calibration_in_force, copy_calibration
from vecsv.embedding.run import embed_manifest
from vecsv.errors import CalibrationError, FingerprintMismatchError, StoreError, UsageError
from vecsv.query.erase import erase
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
    held_out = trials["held_out"]
    expected = operating_points(trials["score"][~held_out], trials["target"][~held_out])
    assert [point.threshold for point in calibration.points] == [point.threshold for point in expected]
    for point in calibration.points:
        accepted = trials["score"][held_out] >= np.float32(point.threshold)
        targets = trials["target"][held_out]
        assert point.held_out is not None
        assert point.held_out.false_accepts == np.count_nonzero(accepted & ~targets)
        assert point.held_out.misses == np.count_nonzero(~accepted & targets)


def test_no_speaker_is_in_both_halves(store: Path) -> None:
    calibration = calibrate(store)
    trials = trials_of(store)
    ids = Snapshot.open(store).vectors()[0]
    speakers = np.array(Snapshot.open(store).table(["speaker"]).column("speaker").to_pylist())
    halves = [
        {
            *speakers[np.searchsorted(ids, trials["first_row_id"][half])],
            *speakers[np.searchsorted(ids, trials["second_row_id"][half])],
        }
        for half in (trials["held_out"], ~trials["held_out"])
    ]
    assert not halves[0] & halves[1]
    assert calibration.held_out is not None
    assert [len(half) for half in halves] == [calibration.held_out.held_out_speakers, calibration.held_out.fit_speakers]


def test_the_trial_list_names_nobody(store: Path) -> None:
    calibrate(store)
    assert set(trials_of(store)) == {
        "first_row_id", "second_row_id", "target", "same_session", "held_out", "score",
    }  # fmt: skip


def test_a_few_speakers_are_not_divided_and_the_calibration_says_so(tmp_path: Path) -> None:
    embed_manifest(write_speakers(tmp_path / "audio", 4, 3), tmp_path / "store", MODEL)
    calibration = calibrate(tmp_path / "store")
    trials = trials_of(tmp_path / "store")
    assert not trials["held_out"].any()
    assert calibration.points == operating_points(trials["score"], trials["target"])
    assert calibration.held_out is None
    assert "too few" in str(calibration.held_out_note)


def test_a_calibration_maps_scores_to_likelihood_ratios(store: Path) -> None:
    mapping = calibrate(store).llr
    trials = trials_of(store)
    held_out = trials["held_out"]
    assert mapping is not None
    assert mapping.held_out
    ratios = mapping.score_only({"score": trials["score"][held_out]})
    assert mapping.cllr_score_only == pytest.approx(cllr(ratios, trials["target"][held_out]))
    assert mapping.llr(0.99) > mapping.llr(0.5)


def test_an_erasure_places_the_thresholds_on_what_is_left_of_both_halves(tmp_path: Path) -> None:
    embed_manifest(write_speakers(tmp_path / "audio", 9, 4), tmp_path / "store", MODEL)
    calibrate(tmp_path / "store")
    before = trials_of(tmp_path / "store")
    # The half of five can spare a speaker.
    larger = before["held_out"] if before["held_out"].mean() > 0.5 else ~before["held_out"]
    ids = Snapshot.open(tmp_path / "store").vectors()[0]
    speakers = Snapshot.open(tmp_path / "store").table(["speaker"]).column("speaker").to_pylist()
    erased = speakers[np.searchsorted(ids, before["first_row_id"][larger][0])]
    gone = ids[np.array(speakers) == erased]
    erase(tmp_path / "store", erased)
    after = trials_of(tmp_path / "store")
    kept = ~(np.isin(before["first_row_id"], gone) | np.isin(before["second_row_id"], gone))
    assert all(np.array_equal(after[name], before[name][kept]) for name in before)
    calibration = calibration_in_force(Snapshot.open(tmp_path / "store"))
    assert calibration is not None
    assert calibration.held_out is not None
    assert (calibration.held_out.fit_speakers, calibration.held_out.held_out_speakers) == (4, 4)
    fit = ~after["held_out"]
    expected = operating_points(after["score"][fit], after["target"][fit])
    assert [point.threshold for point in calibration.points] == [point.threshold for point in expected]


def test_an_erasure_that_leaves_a_half_too_small_gives_the_halves_up(store: Path) -> None:
    calibrate(store)
    erase(store, "speaker-003")
    trials = trials_of(store)
    calibration = calibration_in_force(Snapshot.open(store))
    assert calibration is not None
    assert calibration.held_out is None
    assert not trials["held_out"].any()
    assert calibration.points == operating_points(trials["score"], trials["target"])


def test_sessions_are_reported_apart(tmp_path: Path) -> None:
    rows = [
        embedded(number, f"speaker-{number // 6}", session=f"day-{number // 2}", embedding=vector)
        for number, vector in enumerate(unit_vectors(60))
    ]
    make_store(tmp_path / "store", rows)
    calibration = calibrate(tmp_path / "store")
    trials = trials_of(tmp_path / "store")
    one = calibration.point().same_session
    assert one is not None
    assert one.targets == np.count_nonzero(trials["same_session"] & trials["target"] & trials["held_out"]) == 5 * 3
    assert calibration.basis.same_session_targets == 10 * 3


def test_an_embedding_that_is_not_a_number_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    rows = [embedded(number, f"speaker-{number // 3}") for number in range(30)]
    rows[7] = embedded(7, "speaker-2", embedding=np.full(8, np.nan, np.float32))
    make_store(tmp_path / "store", rows)
    with pytest.raises(CalibrationError, match=r"row 7: 1 embeddings are not finite, the first is that of 'utt-7'"):
        calibrate(tmp_path / "store")
    assert require_latest(tmp_path / "store").calibrations == {}
    assert not (tmp_path / "store" / "calibration").exists()


def test_one_speaker_gives_no_non_targets_and_says_so(tmp_path: Path) -> None:
    embed_manifest(write_speakers(tmp_path / "audio", 1, 4), tmp_path / "store", MODEL)
    with pytest.raises(CalibrationError, match=r"no non-target pair.*two speakers"):
        calibrate(tmp_path / "store")
    assert not (tmp_path / "store" / "calibration").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("held_out", {"fit_speakers": 3}), ("llr", {}), ("llr", 7), ("format", 9), ("basis", None)]
)
def test_a_damaged_calibration_is_an_error(store: Path, name: str, value: object) -> None:
    document = calibrate(store).to_json() | {name: value}
    with pytest.raises(CalibrationError, match="here"):
        Calibration.from_json(document, where="here")


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
    assert basis.non_targets == basis.non_targets_available == 2 * 6 * 6 * 6
    assert basis.left_out["pairs of a speaker to fit on and one held out"] == 24 * 24
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
