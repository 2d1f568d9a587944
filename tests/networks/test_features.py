from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vecsv.errors import ModelError
from vecsv.frontend import known
from vecsv.frontend.compute import front_end
from vecsv.frontend.spec import (
    FrontendSpec,
    LogMelSpec,
    MelSpectrogramSpec,
    MfccSpec,
    SpectrogramSpec,
    WaveformSpec,
)
from vecsv.health.signals import speech_like

torch = pytest.importorskip("torch")

from vecsv.networks.features import feature_module  # noqa: E402

MEL_SPECTROGRAM = MelSpectrogramSpec(volume_dbfs=None, trimming=None)
SPECS: dict[str, FrontendSpec] = {
    "mel-spectrogram": MEL_SPECTROGRAM,
    "mel-spectrogram, not centred": replace(MEL_SPECTROGRAM, centre=False, power=1.0, n_fft=401),
    "speechbrain": known.SPEECHBRAIN,
    "wespeaker": known.WESPEAKER,
    "3d-speaker": known.THREE_D_SPEAKER,
    "redimnet": known.REDIMNET,
    "nemo-1": known.TITANET,
    "nemo-3": replace(known.TITANET, padding="zeros", frames="whole-hops"),
    "wav2vec2": known.NORMALISED_WAVEFORM,
    "16-bit waveform": WaveformSpec(scale=32768.0),
    "odd transform": LogMelSpec(n_fft=451, window_length=399, hop=111, padding="reflect"),
    "powers": LogMelSpec(log="none", range_db=None, normalise="mean-std"),
    "spectrogram": SpectrogramSpec(),
    "spectrogram of powers": SpectrogramSpec(
        n_fft=512, log="none", range_db=None, normalise="none", padding="reflect", preemphasis=0.97
    ),
    "mfcc": MfccSpec(),
    "liftered mfcc": MfccSpec(mels=40, coefficients=20, lifter=22.0, normalise="mean-std"),
    "plain filterbank": replace(known.WESPEAKER, preemphasis=0.0, remove_dc=False, subtract_mean=False, window="hann"),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@functools.cache
def voice(seed: int) -> NDArray[np.float32]:
    waveform = speech_like(1.3, seed)
    waveform.flags.writeable = False
    return waveform


def batch(recordings: int, samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.stack([voice(seed + row)[:samples] for row in range(recordings)])


# Making a Fourier transform's matrix takes longer than using it.
made_module, made_front_end = functools.cache(feature_module), functools.cache(front_end)


def computed(spec: FrontendSpec, waveforms: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        features = made_module(spec)(torch.from_numpy(waveforms))
    assert features.dtype == torch.float32
    return features.numpy()


def assert_alike(features: NDArray[np.float32], reference: NDArray[np.float32], *, tolerance: float = 1e-4) -> None:
    """Equal within `tolerance` of the reference's largest value."""
    assert features.shape == reference.shape
    np.testing.assert_allclose(features, reference, rtol=0.0, atol=tolerance * float(np.abs(reference).max()))


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("samples", [600, 16000, 16123])
def test_the_module_computes_what_the_front_end_computes(spec: FrontendSpec, samples: int) -> None:
    waveforms = batch(3, samples)
    compute = made_front_end(spec)
    assert_alike(computed(spec, waveforms), np.stack([compute(waveform) for waveform in waveforms]))


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        (known.SPEECHBRAIN, {"window": "hamming-symmetric"}),
        (known.SPEECHBRAIN, {"mel_shape": "triangle"}),
        (known.SPEECHBRAIN, {"padding": "reflect"}),
        (known.SPEECHBRAIN, {"range_db": 60.0}),
        (known.WESPEAKER, {"window": "povey"}),
        (known.WESPEAKER, {"preemphasis": 0.96}),
        (known.WESPEAKER, {"remove_dc": False}),
        (known.THREE_D_SPEAKER, {"log_floor": 1e-3}),
        (known.REDIMNET, {"preemphasis_edge": "none"}),
        (known.REDIMNET, {"log_offset": 2e-6}),
        (known.TITANET, {"mel_scale": "htk"}),
        (known.TITANET, {"normalise": "mean"}),
        (known.TITANET, {"log": "none"}),
        (SpectrogramSpec(), {"window": "hamming-symmetric"}),
        (SpectrogramSpec(), {"log": "none", "range_db": None}),
        (MfccSpec(), {"lifter": 22.0}),
        (MfccSpec(), {"normalise": "none"}),
        (known.NORMALISED_WAVEFORM, {"scale": 1.001}),
        (MEL_SPECTROGRAM, {"mel_norm": "none"}),
    ],
)
def test_a_module_of_another_setting_is_told_apart(spec: FrontendSpec, wrong: dict[str, object]) -> None:
    waveforms = batch(1, 8000) + np.float32(2.0**-6)
    with pytest.raises(AssertionError):
        assert_alike(computed(replace(spec, **wrong), waveforms)[0], front_end(spec)(waveforms[0]))


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_no_recording_depends_on_the_others_of_its_batch(spec: FrontendSpec) -> None:
    waveforms = batch(4, 5000)
    waveforms[2] *= np.float32(0.01)
    together = computed(spec, waveforms)
    for row, waveform in enumerate(waveforms):
        assert_alike(together[row], computed(spec, waveform[np.newaxis])[0])


@given(samples=st.integers(512, 3000), recordings=st.integers(1, 3), seed=st.integers(0, 50))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("name", ["speechbrain", "wespeaker", "nemo-3", "odd transform", "mel-spectrogram"])
def test_any_length_and_batch_size_has_the_front_ends_frames(
    name: str, samples: int, recordings: int, seed: int
) -> None:
    waveforms = batch(recordings, samples, seed)
    compute = made_front_end(SPECS[name])
    reference = np.stack([compute(waveform) for waveform in waveforms])
    # Over few frames a band's deviation may be tiny, and what is divided by it loses digits.
    assert_alike(computed(SPECS[name], waveforms), reference, tolerance=2e-3)


def test_a_single_frame_has_no_deviation_and_becomes_zeros() -> None:
    assert not computed(SPECS["nemo-3"], batch(2, 200)).any()


@pytest.mark.parametrize(
    "name", ["mel-spectrogram", "speechbrain", "wespeaker", "nemo-3", "wav2vec2", "spectrogram", "mfcc"]
)
def test_the_exported_graph_gives_the_features_of_any_length_and_batch_size(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    from vecsv.networks.export import onnx_graph

    graph = onnx_graph(
        feature_module(SPECS[name]),
        torch.from_numpy(batch(2, 4000)),
        input_name="waveform",
        output_name="features",
        dynamic={0: "batch", 1: "samples"},
    )
    (tmp_path / "features.onnx").write_bytes(graph)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    runs: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
        "onnxruntime": lambda waveforms: session.run(["features"], {"waveform": waveforms})[0]
    }
    try:
        import openvino
    except ImportError:
        pass
    else:
        exact = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(tmp_path / "features.onnx", "CPU", exact)
        runs["openvino"] = lambda waveforms: compiled(waveforms)[0]
    compute = front_end(SPECS[name])
    for recordings, samples in ((1, 16000), (3, 8123), (2, 700)):
        waveforms = batch(recordings, samples, seed=7)
        reference = np.stack([compute(waveform) for waveform in waveforms])
        for run in runs.values():
            assert_alike(run(waveforms), reference)


@pytest.mark.parametrize("spec", [MelSpectrogramSpec(), replace(MelSpectrogramSpec(), trimming=None)])
def test_volume_and_trimming_are_refused(spec: MelSpectrogramSpec) -> None:
    with pytest.raises(ModelError, match="cannot be part of a network"):
        feature_module(spec)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_a_front_end_adds_nothing_to_its_networks_tensors(spec: FrontendSpec) -> None:
    module = feature_module(spec)
    assert not list(module.parameters())
    assert not module.state_dict()
    assert not module.training
