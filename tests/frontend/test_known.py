from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vecsv.frontend import known
from vecsv.frontend.compute import front_end
from vecsv.frontend.spec import FrontendSpec
from vecsv.health.originals import golden
from vecsv.health.toolkits import SIGNALS, SPECS, in_frames, projection

GOLDEN: dict[str, dict[str, Any]] = golden("features")["features"]
CASES = [(toolkit, signal) for toolkit in SPECS for signal in SIGNALS]


def largest_difference(spec: FrontendSpec, toolkit: str, signal: str) -> float:
    """Between our features and the toolkit's, over whole frames and every frame's projection."""
    golden, values = GOLDEN[f"{toolkit}/{signal}"], front_end(spec)(SIGNALS[signal])
    if list(values.shape) != golden["shape"]:
        return float("inf")
    frames = in_frames(values)
    differences = [np.abs(frames[int(place)] - row).max() for place, row in golden["frames"].items()]
    return float(max(*differences, np.abs(projection(frames) - golden["projected"]).max()))


@pytest.mark.parametrize(("toolkit", "signal"), CASES)
def test_features_are_those_that_the_toolkit_gives(toolkit: str, signal: str) -> None:
    assert largest_difference(SPECS[toolkit], toolkit, signal) < 1e-3


WRONG: dict[str, list[dict[str, Any]]] = {
    "speechbrain": [
        {"window": "hamming-symmetric"},
        {"window": "hann-periodic"},
        {"n_fft": 512},
        {"hop": 161},
        {"padding": "reflect"},
        {"frames": "whole-hops"},
        {"preemphasis": 0.97},
        {"mel_scale": "slaney"},
        {"mel_shape": "triangle"},
        {"mel_norm": "slaney"},
        {"f_min": 20.0},
        {"f_max": 7600.0},
        {"log": "ln", "range_db": None},
        {"log_floor": 1e-4},
        {"log_offset": 1e-6},
        {"range_db": 40.0},
        {"normalise": "none"},
        {"normalise": "mean-std"},
    ],
    "wespeaker": [
        {"window": "povey"},
        {"window": "hann"},
        {"hop": 161},
        {"window_length": 399},
        {"window_length": 513},
        {"preemphasis": 0.0},
        {"preemphasis": 0.95},
        {"remove_dc": False},
        {"f_min": 0.0},
        {"f_max": 7600.0},
        {"log_floor": 1e8},
        {"subtract_mean": False},
    ],
    "3d-speaker": [
        {"window": "hamming"},
        {"window": "hann"},
        {"preemphasis": 0.0},
        {"remove_dc": False},
        {"f_max": 7600.0},
        {"log_floor": 1e-3},
        {"subtract_mean": False},
    ],
    "redimnet": [
        {"n_fft": 400},
        {"window": "hamming-symmetric"},
        {"padding": "zeros"},
        {"preemphasis": 0.0},
        {"preemphasis_edge": "none"},
        {"mel_scale": "slaney"},
        {"mel_shape": "left-bandwidth"},
        {"f_max": 8000.0},
        {"log_offset": 1e-5},
        {"normalise": "none"},
    ],
    "nemo-1": [
        {"n_fft": 400},
        {"window": "hann-periodic"},
        {"padding": "zeros"},
        {"frames": "whole-hops"},
        {"preemphasis": 0.0},
        {"preemphasis_edge": "reflect"},
        {"mel_scale": "htk"},
        {"mel_norm": "none"},
        {"log_offset": 1e-6},
        {"normalise": "mean"},
    ],
    "nemo-3": [{"padding": "reflect"}, {"frames": "all"}],
    "wav2vec2": [{"normalise": False}, {"scale": 1.01}],
}


@pytest.mark.parametrize(
    ("toolkit", "wrong"), [(toolkit, wrong) for toolkit, changes in WRONG.items() for wrong in changes]
)
def test_no_other_setting_gives_what_the_toolkit_gives(toolkit: str, wrong: dict[str, Any]) -> None:
    assert largest_difference(replace(SPECS[toolkit], **wrong), toolkit, "odd") > 2e-3


def test_the_scale_of_the_samples_shows_where_the_mean_is_kept() -> None:
    kept = replace(known.WESPEAKER, subtract_mean=False, log_floor=1e-20)
    as_16_bit, as_fractions = (front_end(replace(kept, scale=scale))(SIGNALS["odd"]) for scale in (32768.0, 1.0))
    np.testing.assert_allclose(as_16_bit - as_fractions, 2.0 * np.log(32768.0), atol=2e-3)


def test_every_known_front_end_takes_16_khz() -> None:
    named = [value for name, value in vars(known).items() if name.isupper()]
    assert len(named) == 6
    assert {spec.sample_rate for spec in named} == {16000}
