import json
from pathlib import Path

import numpy as np
import pytest

from tests.calibration.searches import best_scores, people, utterances_of
from tests.fixtures.stores import read_content, strangers, traces
from tests.store.rows import embedded, make_store
from vecsv.calibration.open_set import false_negatives, false_positives, threshold_at_fpir
from vecsv.calibration.run import CalibrateSettings, calibrate
from vecsv.calibration.search_record import (
    SEARCH_FILE,
    SEARCH_NAME,
    SearchCalibration,
    read_search,
    search_calibration_in_force,
)
from vecsv.calibration.search_run import SearchSettings, calibrate_search
from vecsv.calibration.utterances import Utterances, read_utterances
from vecsv.errors import CalibrationError, StoreError, UsageError
from vecsv.query.erase import erase
from vecsv.store.generation import require_latest
from vecsv.store.reader import Snapshot

DIM = 8
TENTH = SearchSettings(fpir=0.1)


def store_of(folder: Path, utterances: Utterances, **changes: object) -> Path:
    rows = [
        embedded(number, f"speaker-{code:03d}", embedding=vector, **changes)
        for number, (code, vector) in enumerate(zip(utterances.speakers, utterances.vectors, strict=True))
    ]
    make_store(folder, rows)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Forty speakers of three utterances."""
    return store_of(tmp_path / "store", people(40, 3, dim=DIM))


def in_force(folder: Path) -> SearchCalibration | None:
    return search_calibration_in_force(Snapshot.open(folder))


def undated(calibration: SearchCalibration | None) -> dict[str, object]:
    assert calibration is not None
    return {key: value for key, value in calibration.to_json().items() if key != "made_at"}


def test_the_threshold_and_its_errors_are_those_of_searches_by_brute_force(store: Path) -> None:
    calibration = calibrate_search(store, TENTH)
    utterances = read_utterances(Snapshot.open(store))
    best = [best_scores(utterances, probe) for probe in range(120)]
    mates = np.float32([scores.pop(int(code)) for scores, code in zip(best, utterances.speakers, strict=True)])
    found = np.float32([max(scores.values()) for scores in best])
    assert calibration.threshold == pytest.approx(threshold_at_fpir(found, 0.1), abs=1e-6)
    # The 109th of 120 decides; probes that find each other tie with it, but for rounding.
    assert calibration.fpir.errors in (10, 11)
    assert false_positives(found, calibration.threshold).sum() in (10, 11)
    assert (calibration.fpir.searches, calibration.fpir.speakers) == (120, 40)
    # With the mate, 38 others make a gallery of 39; of these, one at random is left out.
    assert calibration.fnir is not None
    most = int(false_negatives(mates, found, calibration.threshold).sum())
    fewest = int(false_negatives(mates, np.full_like(found, -1), calibration.threshold).sum())
    assert fewest <= calibration.fnir.errors <= most
    assert calibration.gallery_size == 39 and calibration.gallery_size_asked is None


def test_what_is_made_is_in_force_and_read_back_as_it_was(store: Path) -> None:
    assert in_force(store) is None
    made = calibrate_search(store, TENTH)
    assert in_force(store) == made
    document = json.loads(json.dumps(made.to_json(), allow_nan=False))
    assert SearchCalibration.from_json(document, where="here") == made
    assert document["fpir"]["rate"] == made.fpir.rate
    assert document["table"][0]["fpir"]["rate"] == made.table[0].fpir.rate
    assert strangers(store) == []


def test_calibrating_again_leaves_one_and_leaves_the_pairs_alone(store: Path) -> None:
    calibrate(store)
    calibrate_search(store, TENTH)
    pairs = read_content(store).calibrations["default"]
    calibrate_search(store, SearchSettings(fpir=0.2))
    assert len(list((store / "calibration" / SEARCH_NAME).iterdir())) == 1
    assert read_content(store).calibrations["default"] == pairs
    calibrate(store)
    assert set(require_latest(store).calibrations) == {"default", SEARCH_NAME}


def test_the_table_goes_up_to_the_store_and_false_alarms_grow_with_the_gallery(store: Path) -> None:
    table = calibrate_search(store, SearchSettings(fpir=0.1, gallery_size=20)).table
    assert [row.gallery_size for row in table] == [1, 3, 10, 20, 30, 39]
    assert all(np.diff([row.fpir.rate for row in table]) >= 0)
    assert all(np.diff([row.own_threshold for row in table]) >= 0)
    fnirs = [row.fnir.rate for row in table if row.fnir is not None]
    assert len(fnirs) == len(table) and all(np.diff(fnirs) >= 0)
    assert table[3].own_threshold == in_force(store).threshold  # type: ignore[union-attr]
    assert table[3].fnir is not None and table[3].own_fnir == table[3].fnir.rate


def test_the_threshold_for_pairs_stands_beside_it(store: Path) -> None:
    assert calibrate_search(store, TENTH).row.pairs_fpir is None
    pairs = calibrate(store, CalibrateSettings(in_force="eer"))
    found = calibrate_search(store, TENTH)
    assert (found.pairs_name, found.pairs_threshold) == ("eer", pairs.point().threshold)
    assert found.row.pairs_fpir is not None and found.row.pairs_fpir > found.fpir.rate


def test_the_same_seed_gives_the_same_and_another_seed_other_galleries(store: Path) -> None:
    made = [
        undated(calibrate_search(store, SearchSettings(fpir=0.1, gallery_size=10, seed=seed))) for seed in (1, 1, 2)
    ]
    assert made[0] == made[1]
    assert made[0]["table"] != made[2]["table"]


def test_what_the_speakers_can_carry_is_said(store: Path, tmp_path: Path) -> None:
    rough = calibrate_search(store, TENTH)
    assert rough.supported and rough.note is not None and "takes 300 to be trusted" in rough.note
    thin = calibrate_search(store, SearchSettings(fpir=0.02))
    assert not thin.supported and thin.note is not None
    assert "not supported by 40 speakers" in thin.note and "at least 49, and 1,500" in thin.note
    many = store_of(tmp_path / "many", people(60, 1, dim=DIM))
    carried = calibrate_search(many, SearchSettings(fpir=0.5))
    assert carried.supported and carried.note is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (SearchSettings(fpir=0.001), "not supported by this data: 120 non-mated searches, at least 999"),
        (SearchSettings(fpir=0.1, gallery_size=40), "a gallery of 40 is not supported by this data: 40 speakers"),
        (SearchSettings(fpir=0.02, probes_per_speaker=1), "40 non-mated searches, at least 49"),
    ],
)
def test_what_the_data_cannot_carry_is_an_error_and_nothing_is_written(
    store: Path, settings: SearchSettings, said: str
) -> None:
    with pytest.raises(CalibrationError, match=said) as caught:
        calibrate_search(store, settings)
    assert caught.value.where == str(store)
    assert require_latest(store).number == 1
    assert not (store / "calibration").exists()


def test_one_speaker_is_an_error(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", utterances_of(np.eye(DIM), np.zeros(DIM, int)))
    with pytest.raises(CalibrationError, match="1 speaker: a search for a stranger needs somebody else"):
        calibrate_search(store, TENTH)


def test_no_number_is_an_error_that_names_the_row_and_nothing_is_written(tmp_path: Path) -> None:
    utterances = people(40, 1, dim=DIM)
    utterances.vectors[7, 3] = np.nan
    store = store_of(tmp_path / "store", utterances)
    with pytest.raises(CalibrationError, match="row 7: 1 embeddings are not finite"):
        calibrate_search(store, TENTH)
    assert require_latest(store).calibrations == {}


def test_one_utterance_a_speaker_gives_a_threshold_without_an_fnir(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", people(40, 1, dim=DIM))
    made = calibrate_search(store, TENTH)
    assert made.fnir is None
    assert all(row.fnir is None and row.own_fnir is None for row in made.table)
    assert in_force(store) == made


@pytest.mark.parametrize("bad", [{"fpir": 0.0}, {"fpir": 1.0}, {"gallery_size": 0}, {"seed": -1}])
def test_settings_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        SearchSettings(**bad)  # type: ignore[arg-type]


def test_pairs_cannot_take_its_name() -> None:
    with pytest.raises(UsageError):
        CalibrateSettings(name=SEARCH_NAME)


def test_after_an_erasure_it_is_what_the_others_alone_would_give(store: Path, tmp_path: Path) -> None:
    calibrate_search(store, TENTH)
    before = read_content(store)
    rows = [row for row in before.rows if row["speaker"] == "speaker-007"]
    receipt = erase(store, "speaker-007")
    after = in_force(store)
    assert after is not None and after.gallery_size == 38
    calibrate_search(store, TENTH)
    assert undated(in_force(store)) == undated(after)
    assert receipt.calibrations_dropped == ()
    words = ["speaker-007", *(row["utt_id"] for row in rows if row["utt_id"] not in {"utt-1", "utt-2"})]
    assert traces(store, words[:1], [row["embedding"] for row in rows]) == []
    assert strangers(store) == []


def test_an_erasure_keeps_to_what_was_asked_for_or_drops_the_threshold(store: Path) -> None:
    calibrate_search(store, SearchSettings(fpir=0.1, gallery_size=38, seed=3))
    assert erase(store, "speaker-001").calibrations_dropped == ()
    kept = in_force(store)
    assert kept is not None and (kept.gallery_size, kept.gallery_size_asked, kept.seed) == (38, 38, 3)
    assert erase(store, "speaker-002").calibrations_dropped == (SEARCH_NAME,)
    assert in_force(store) is None
    assert strangers(store) == []


def test_it_names_nobody_and_holds_no_row_ids(store: Path) -> None:
    calibrate_search(store, TENTH)
    folder = store / require_latest(store).calibrations[SEARCH_NAME]
    assert [path.name for path in folder.iterdir()] == [SEARCH_FILE]
    text = (folder / SEARCH_FILE).read_text()
    assert "speaker-0" not in text and "utt-" not in text and "row_id" not in text


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "damaged"), ("{}", "not a search calibration"), ('{"format": 9}', "format 9 is unknown"), ("[]", "not a")],
)
def test_a_damaged_file_is_an_error_that_says_what_to_do(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / SEARCH_FILE).write_text(text)
    with pytest.raises((StoreError, CalibrationError), match=rf"{said}.*vecsv calibrate --search"):
        read_search(tmp_path / SEARCH_FILE)


def test_no_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store here"):
        calibrate_search(tmp_path / "absent")
