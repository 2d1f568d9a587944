from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.errors import ModelError
from vecsv.frontend.spec import FrontendSpec, Trimming

trimmings = st.builds(
    Trimming,
    aggressiveness=st.integers(0, 3),
    window_s=st.sampled_from([0.01, 0.02, 0.03]),
    smoothing_windows=st.integers(1, 20),
    dilation_windows=st.integers(1, 20),
)
specs = st.builds(
    FrontendSpec,
    sample_rate=st.sampled_from([8000, 16000, 48000]),
    n_fft=st.integers(1, 2048),
    hop=st.integers(1, 2048),
    window=st.sampled_from(["hann-periodic", "hamming-periodic"]),
    centre=st.booleans(),
    power=st.floats(0.1, 4.0),
    mels=st.integers(1, 128),
    mel_norm=st.sampled_from(["slaney", "none"]),
    f_min=st.floats(0.0, 100.0),
    f_max=st.floats(200.0, 4000.0),
    volume_dbfs=st.none() | st.floats(-60.0, 0.0),
    trimming=st.none() | trimmings,
)


@given(specs)
def test_a_spec_survives_a_round_trip_through_json_text(spec: FrontendSpec) -> None:
    assert FrontendSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_whole_numbers_and_decimals_make_the_same_spec_text() -> None:
    values = FrontendSpec().to_json()
    whole = FrontendSpec.from_json({**values, "f_max": 8000, "power": 2, "volume_dbfs": -30})
    assert json.dumps(whole.to_json()) == json.dumps(values)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kind": "waveform"}, "kind is 'waveform', this version knows mel-spectrogram"),
        ({"window": "povey"}, "window is 'povey'"),
        ({"mel_scale": "htk"}, "mel_scale"),
        ({"mel_norm": "area"}, "mel_norm"),
        ({"log": "ln"}, "log is 'ln'"),
        ({"hop": 0}, "hop is 0"),
        ({"mels": -1}, "mels is -1"),
        ({"power": 0.0}, "power is 0.0"),
        ({"f_min": 8000.0}, "bands from 8000.0 to 8000.0 Hz"),
        ({"f_max": 8000.5}, "do not fit 16000 Hz audio"),
        ({"sample_rate": 8000}, "do not fit 8000 Hz audio"),
    ],
)
def test_a_value_that_cannot_be_computed_is_refused_by_name(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelError, match=r"^front end: ") as refusal:
        replace(FrontendSpec(), **change)
    assert complaint in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"hop": "160"}, "hop is '160', which is no int"),
        ({"hop": 160.0}, "hop is 160.0, which is no int"),
        ({"hop": True}, "hop is True, which is no int"),
        ({"centre": 1}, "centre is 1, which is no bool"),
        ({"power": None}, "power is None, which is no float"),
        ({"volume_dbfs": "loud"}, "volume_dbfs is 'loud'"),
        ({"trimming": "webrtc"}, "trimming is 'webrtc'"),
        ({"trimming": {"detector": "webrtc"}}, "unknown or missing: aggressiveness, dilation_windows"),
        ({"dither": 0.0}, "unknown or missing: dither"),
    ],
)
def test_json_of_another_shape_is_refused_by_name(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelError) as refusal:
        FrontendSpec.from_json({**FrontendSpec().to_json(), **change})
    assert complaint in str(refusal.value)


def test_json_that_lacks_a_field_is_refused_rather_than_filled_in() -> None:
    values = FrontendSpec().to_json()
    del values["f_max"]
    with pytest.raises(ModelError, match="unknown or missing: f_max"):
        FrontendSpec.from_json(values)
