from dataclasses import replace

import numpy as np
import pytest

from tests.calibration.searches import people
from tests.store.rows import embedded, make_store
from vecsv.calibration.search_record import SearchCalibration
from vecsv.calibration.search_run import SearchSettings, calibrate_search
from vecsv.errors import FingerprintMismatchError
from vecsv.query.search_threshold import SearchThreshold, threshold_for


@pytest.fixture(scope="module")
def calibration(tmp_path_factory: pytest.TempPathFactory) -> SearchCalibration:
    """Made for a gallery of twenty, of twenty-one speakers."""
    folder = tmp_path_factory.mktemp("store")
    utterances = people(21, 5, dim=8)
    rows = [
        embedded(number, str(code), embedding=vector)
        for number, (code, vector) in enumerate(zip(utterances.speakers, utterances.vectors, strict=True))
    ]
    make_store(folder, rows)
    return calibrate_search(folder, SearchSettings(fpir=0.1))


def decided(calibration: SearchCalibration, searched: int) -> SearchThreshold:
    found = threshold_for(calibration, searched, fingerprint=calibration.fingerprint)
    assert found is not None
    return found


def test_a_score_at_the_threshold_passes_and_the_next_lower_does_not(calibration: SearchCalibration) -> None:
    threshold = decided(calibration, 21)
    at = np.float32(calibration.threshold)
    assert threshold.accepts(float(at))
    assert not threshold.accepts(float(np.nextafter(at, np.float32(-1))))


def test_without_a_calibration_there_is_none() -> None:
    assert threshold_for(None, 10, fingerprint="ab") is None


@pytest.mark.parametrize("searched", [2, 20, 21, 22])
def test_a_gallery_up_to_a_tenth_larger_gives_no_warning(calibration: SearchCalibration, searched: int) -> None:
    assert decided(calibration, searched).warnings == ()


def test_a_gallery_that_has_outgrown_it_is_told_with_what_to_expect(calibration: SearchCalibration) -> None:
    (warning,) = decided(calibration, 40).warnings
    assert "40 speakers, calibrated for 20" in warning
    # 1 - 0.9 ** 2
    assert "up to 19.00% of strangers may pass instead of 10.00%" in warning
    assert "vecsv calibrate --search" in warning
    assert decided(calibration, 23).warnings


def test_the_whole_of_a_small_store_does_not_count_as_growth(calibration: SearchCalibration) -> None:
    small = replace(calibration, gallery_size=5)
    assert decided(small, 6).warnings == ()
    assert decided(small, 7).warnings


def test_a_threshold_the_data_could_not_carry_warns(calibration: SearchCalibration) -> None:
    thin = replace(calibration, supported=False, note="not supported by 21 speakers")
    assert decided(thin, 21).warnings == ("search threshold: not supported by 21 speakers",)


def test_another_models_threshold_is_refused(calibration: SearchCalibration) -> None:
    with pytest.raises(FingerprintMismatchError, match="vecsv calibrate --search"):
        threshold_for(calibration, 21, fingerprint="cd" * 32)
