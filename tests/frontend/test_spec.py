from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.errors import ModelError
from vecsv.frontend import known
from vecsv.frontend.spec import (
    FrontendSpec,
    KaldiSpec,
    LogMelSpec,
    MelSpectrogramSpec,
    MfccSpec,
    SpectrogramSpec,
    Trimming,
    WaveformSpec,
    frontend_from_json,
)

trimmings = st.builds(
    Trimming,
    aggressiveness=st.integers(0, 3),
    window_s=st.sampled_from([0.01, 0.02, 0.03]),
    smoothing_windows=st.integers(1, 20),
    dilation_windows=st.integers(1, 20),
)
mel_spectrogram_specs = st.builds(
    MelSpectrogramSpec,
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


framings: dict[str, st.SearchStrategy[Any]] = {
    "n_fft": st.integers(400, 2048),
    "window_length": st.integers(1, 400),
    "hop": st.integers(1, 2048),
    "window": st.sampled_from(["hann-periodic", "hann-symmetric", "hamming-periodic", "hamming-symmetric"]),
    "padding": st.sampled_from(["zeros", "reflect"]),
    "frames": st.sampled_from(["all", "whole-hops"]),
    "preemphasis": st.floats(0.0, 0.99),
    "preemphasis_edge": st.sampled_from(["none", "reflect"]),
    "log_floor": st.floats(1e-12, 1.0),
    "log_offset": st.floats(0.0, 1.0),
    "range_db": st.none() | st.floats(1.0, 200.0),
    "normalise": st.sampled_from(["none", "mean", "mean-std"]),
}
bands: dict[str, st.SearchStrategy[Any]] = {
    "mel_scale": st.sampled_from(["htk", "slaney"]),
    "mel_shape": st.sampled_from(["triangle", "left-bandwidth"]),
    "mel_norm": st.sampled_from(["none", "slaney"]),
    "f_min": st.floats(0.0, 100.0),
    "f_max": st.floats(200.0, 8000.0),
}
log_mel_specs = st.builds(LogMelSpec, **framings, **bands)
unlogged_specs = st.builds(
    LogMelSpec, log=st.just("none"), **{**framings, "range_db": st.none(), "log_floor": st.just(0.0)}, **bands
)
spectrogram_specs = st.builds(SpectrogramSpec, **framings)
mfcc_specs = st.builds(
    MfccSpec,
    mels=st.integers(20, 128),
    coefficients=st.integers(1, 20),
    lifter=st.floats(0.0, 40.0),
    **framings,
    **bands,
)
kaldi_specs = st.builds(
    KaldiSpec,
    window=st.sampled_from(["hamming", "povey", "hann"]),
    scale=st.sampled_from([1.0, 32768.0]),
    preemphasis=st.floats(0.0, 1.0),
    remove_dc=st.booleans(),
    mels=st.integers(1, 128),
    subtract_mean=st.booleans(),
)
waveform_specs = st.builds(WaveformSpec, scale=st.floats(0.1, 40000.0), normalise=st.booleans())
specs = (
    mel_spectrogram_specs
    | log_mel_specs
    | unlogged_specs
    | spectrogram_specs
    | mfcc_specs
    | kaldi_specs
    | waveform_specs
)


@given(specs)
def test_a_spec_survives_a_round_trip_through_json_text(spec: FrontendSpec) -> None:
    assert frontend_from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_whole_numbers_and_decimals_make_the_same_spec_text() -> None:
    values = MelSpectrogramSpec().to_json()
    whole = frontend_from_json({**values, "f_max": 8000, "power": 2, "volume_dbfs": -30})
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
        replace(MelSpectrogramSpec(), **change)
    assert complaint in str(refusal.value)


@pytest.mark.parametrize(
    ("spec", "change", "complaint"),
    [
        (known.SPEECHBRAIN, {"kind": "kaldi-fbank"}, "kind is 'kaldi-fbank', this version knows log-mel"),
        (known.SPEECHBRAIN, {"window": "povey"}, "window is 'povey'"),
        (known.SPEECHBRAIN, {"padding": "wrap"}, "padding is 'wrap'"),
        (known.SPEECHBRAIN, {"frames": "some"}, "frames is 'some'"),
        (known.SPEECHBRAIN, {"mel_shape": "square"}, "mel_shape is 'square'"),
        (known.SPEECHBRAIN, {"normalise": "std"}, "normalise is 'std'"),
        (known.SPEECHBRAIN, {"window_length": 401}, "window of 401 samples is longer than its transform of 400"),
        (known.SPEECHBRAIN, {"preemphasis": 1.0}, "preemphasis is 1.0"),
        (known.SPEECHBRAIN, {"log_floor": 0.0}, "log_floor or log_offset has to be positive"),
        (known.SPEECHBRAIN, {"log": "ln"}, "goes with log db only"),
        (known.SPEECHBRAIN, {"range_db": 0.0}, "range_db has to be positive"),
        (known.SPEECHBRAIN, {"log_offset": float("inf")}, "log_offset is inf, which is no finite number"),
        (known.SPEECHBRAIN, {"f_max": 9000.0}, "do not fit 16000 Hz audio"),
        (known.SPEECHBRAIN, {"log": "none"}, "goes with log db only (null otherwise)"),
        (known.SPEECHBRAIN, {"log": "log10"}, "log is 'log10', this version knows db, ln, none"),
        (SpectrogramSpec(), {"kind": "log-mel"}, "kind is 'log-mel', this version knows spectrogram"),
        (SpectrogramSpec(), {"window_length": 401}, "window of 401 samples is longer than its transform of 400"),
        (SpectrogramSpec(), {"n_fft": 0}, "n_fft is 0"),
        (SpectrogramSpec(), {"log": "none"}, "goes with log db only (null otherwise)"),
        (SpectrogramSpec(), {"log_floor": 0.0}, "log_floor or log_offset has to be positive"),
        (MfccSpec(), {"kind": "log-mel"}, "kind is 'log-mel', this version knows mfcc"),
        (MfccSpec(), {"log": "none", "range_db": None}, "log is 'none', this version knows db, ln"),
        (MfccSpec(), {"coefficients": 0}, "coefficients is 0"),
        (MfccSpec(), {"coefficients": 81}, "coefficients is 81, but 80 mel bands have no more than 80"),
        (MfccSpec(), {"lifter": -1.0}, "lifter is -1.0"),
        (MfccSpec(), {"normalise": "std"}, "normalise is 'std'"),
        (MfccSpec(), {"mels": 0}, "mels is 0"),
        (MfccSpec(), {"mel_shape": "square"}, "mel_shape is 'square'"),
        (MfccSpec(), {"f_max": 9000.0}, "do not fit 16000 Hz audio"),
        (MfccSpec(), {"window": "povey"}, "window is 'povey'"),
        (known.WESPEAKER, {"window": "hamming-symmetric"}, "window is 'hamming-symmetric'"),
        (known.WESPEAKER, {"scale": -1.0}, "scale is -1.0"),
        (known.WESPEAKER, {"log_floor": 0.0}, "log_floor is 0.0"),
        (known.WESPEAKER, {"preemphasis": float("nan")}, "preemphasis is nan, which is no finite number"),
        (known.WESPEAKER, {"preemphasis": 1.1}, "preemphasis is 1.1"),
        (known.NORMALISED_WAVEFORM, {"scale": 0.0}, "scale is 0.0"),
    ],
)
def test_every_kind_refuses_what_it_cannot_compute(spec: FrontendSpec, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelError, match=r"^front end: ") as refusal:
        replace(spec, **change)
    assert complaint in str(refusal.value)


@pytest.mark.parametrize("kind", ["cqt", None, 3, ["waveform"]])
def test_an_unknown_kind_is_refused(kind: object) -> None:
    kinds = "kaldi-fbank, log-mel, mel-spectrogram, mfcc, spectrogram, waveform"
    with pytest.raises(ModelError, match=f"this version knows {kinds}"):
        frontend_from_json({"kind": kind})


def test_what_a_person_leaves_out_takes_its_default() -> None:
    assert frontend_from_json({"kind": "kaldi-fbank", "window": "povey", "scale": 1}, complete=False) == (
        known.THREE_D_SPEAKER
    )


@given(mfcc_specs)
def test_coefficients_are_of_a_log_mel_spectrogram_of_the_same_settings(spec: MfccSpec) -> None:
    shared = spec.to_json()
    del shared["kind"], shared["coefficients"], shared["lifter"]
    assert spec.log_mel().to_json() == {**shared, "kind": "log-mel", "normalise": "none"}


def test_the_spec_of_ge2e_is_written_as_it_always_was() -> None:
    assert list(MelSpectrogramSpec().to_json()) == [
        *("kind", "sample_rate", "n_fft", "hop", "window", "centre", "power", "mels", "mel_scale", "mel_norm"),
        *("f_min", "f_max", "log", "volume_dbfs", "trimming"),
    ]


@pytest.mark.parametrize(
    ("spec", "digest"),
    [
        (MelSpectrogramSpec(), "3238cab65481d084495183a0bb1071e03d82fea051290d75e746b0c25709449e"),
        (known.SPEECHBRAIN, "0e06f225bb31563b6373ce00ec8529f790d6ac8556e95d631834923e405aa9e9"),
        (known.WESPEAKER, "e6c6d42eb473290b86f451b9c77fe748a8c4cd40f192f4411fe9f38df7c3c448"),
        (WaveformSpec(), "eed94570612002deee1f817879cf7fcf7ed8aaf81d885f8874b33f9cbed8fcbd"),
    ],
    ids=lambda value: value[:8] if isinstance(value, str) else value.kind,
)
def test_a_kind_that_is_out_is_written_as_it_always_was(spec: FrontendSpec, digest: str) -> None:
    # A field more, or another default, would change the fingerprint of every model that sees these features.
    text = json.dumps(spec.to_json(), sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == digest


@pytest.mark.parametrize(
    "number",
    ["1e400", "1" + "0" * 400],
)
def test_a_number_beyond_all_bounds_is_refused(number: str) -> None:
    with pytest.raises(ModelError, match="front end: scale is"):
        frontend_from_json(json.loads('{"kind": "waveform", "scale": ' + number + "}"), complete=False)


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
        frontend_from_json({**MelSpectrogramSpec().to_json(), **change})
    assert complaint in str(refusal.value)


def test_json_that_lacks_a_field_is_refused_rather_than_filled_in() -> None:
    values = MelSpectrogramSpec().to_json()
    del values["f_max"]
    with pytest.raises(ModelError, match="unknown or missing: f_max"):
        frontend_from_json(values)
