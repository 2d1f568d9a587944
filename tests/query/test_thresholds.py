import math
from dataclasses import replace

import numpy as np
import pytest

from vecsv.calibration.operating_points import operating_points
from vecsv.calibration.rates import Rates
from vecsv.calibration.record import Basis, Calibration
from vecsv.errors import FingerprintMismatchError, UsageError
from vecsv.query.thresholds import Threshold, choose, given, in_force

FINGERPRINT = "a" * 64


def calibration(**changes: object) -> Calibration:
    scores = np.linspace(0, 1, 4000, dtype=np.float32)
    values: dict[str, object] = {
        "name": "default",
        "model": "m",
        "fingerprint": FINGERPRINT,
        "origin": "store",
        "source": "pairs of the store's own embeddings",
        "in_force": "fmr-0.01",
        "points": operating_points(scores, scores > 0.9),
        "basis": Basis(4, 40, 400, 3600, 400, 3600, 0, 40, 0, {}, 99, 9.0, 0, "PCG64"),
        "made_at": "2026-01-01T00:00:00+00:00",
    }
    return Calibration(**(values | changes))  # type: ignore[arg-type]


def test_the_calibrations_own_choice_decides_when_none_is_named() -> None:
    found = in_force(calibration(), None, FINGERPRINT)
    assert found is not None
    assert (found.name, found.origin) == ("fmr-0.01", "store")
    assert found.value == calibration().point("fmr-0.01").threshold


def test_a_named_threshold_decides_instead() -> None:
    found = in_force(calibration(), None, FINGERPRINT, name="eer")
    assert found is not None
    assert found.value == calibration().point("eer").threshold


def test_rates_are_those_of_held_out_speakers_where_there_are_any() -> None:
    points = tuple(
        replace(point, held_out=Rates(1, 2, 10, 100, 0.01, 0.2, (0.0, 0.1), (0.1, 0.3)))
        for point in calibration().points
    )
    found = in_force(calibration(points=points), None, FINGERPRINT)
    assert found is not None
    assert (found.fmr, found.fnmr, found.held_out) == (0.01, 0.2, True)
    plain = in_force(calibration(), None, FINGERPRINT)
    assert plain is not None
    assert (plain.fmr, plain.held_out) == (calibration().point().fmr, False)


def test_a_given_threshold_goes_before_any_calibration() -> None:
    found = choose(calibration(), value=0.25)
    assert found is not None
    assert (found.value, found.origin) == (0.25, "given")


def test_a_threshold_and_the_name_of_one_are_refused_together() -> None:
    with pytest.raises(UsageError, match="not both"):
        choose(calibration(), name="eer", value=0.25)


def test_an_unknown_name_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"eer, min-dcf-0\.01, best-f1-0\.01, fmr-0\.01, fmr-0\.001"):
        in_force(calibration(), None, FINGERPRINT, name="best")


def test_a_calibration_of_another_model_never_decides() -> None:
    with pytest.raises(FingerprintMismatchError, match="aaaaaaaaaaaa"):
        in_force(calibration(), None, "b" * 64)


def test_a_reference_decides_marked_as_such_and_recommends_to_calibrate() -> None:
    found = in_force(None, calibration(source="dev sets").to_json(), FINGERPRINT)
    assert found is not None
    assert (found.origin, found.source) == ("reference", "dev sets")
    assert "vecsv calibrate" in found.warnings[0]


def test_a_reference_for_other_weights_is_left_aside() -> None:
    assert in_force(None, calibration().to_json(), "b" * 64) is None


def test_without_any_calibration_nothing_decides() -> None:
    assert in_force(None, None, FINGERPRINT) is None


def test_a_threshold_the_data_cannot_carry_says_so() -> None:
    scores = np.float32([0.1, 0.2, 0.8, 0.9])
    few = calibration(points=operating_points(scores, scores > 0.5))
    found = in_force(few, None, FINGERPRINT)
    assert found is not None
    assert "not supported" in found.warnings[0]


def test_scores_at_the_threshold_are_accepted_in_float32() -> None:
    threshold = given(0.1)
    assert threshold.accepts(float(np.float32(0.1)))
    assert not threshold.accepts(float(np.nextafter(np.float32(0.1), np.float32(0))))


def test_a_threshold_that_rejects_all_accepts_nothing() -> None:
    assert not Threshold("x", math.inf, "store", "", None, None).accepts(1.0)


def test_not_a_number_is_no_threshold() -> None:
    with pytest.raises(UsageError):
        given(math.nan)


def test_a_calibration_survives_the_way_through_json() -> None:
    assert Calibration.from_json(calibration().to_json(), where="here") == calibration()
