from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.models import synthetic
from tests.models.variants import Tensors, variant
from vecsv.arrays import Vectors
from vecsv.audio.activity import detect
from vecsv.audio.decode import Clip, read
from vecsv.engines.protocol import EngineSettings
from vecsv.errors import AudioError, ModelError
from vecsv.frontend.spec import Trimming
from vecsv.models import ge2e
from vecsv.models.bundle import BUNDLE_FILE, ONNX_FILE
from vecsv.models.protocol import Embedder, Prepared

# Written by benchmarks/parity/ge2e.py: what the public package's own code gives.
GOLDEN = json.loads(Path(__file__).with_name("ge2e_golden.json").read_text(encoding="utf-8"))
SIGNALS = synthetic.signals()

# Ours differ from the public package's by 2e-7 in cosine, the recorded ones by their rounding.
LEAST_COSINE = 0.999999
SPEECH_RATE = 16000


def embed(model: ge2e.Ge2e, *waveforms: NDArray[np.float32]) -> Vectors:
    return model.embed([model.prepare(waveform) for waveform in waveforms])


def golden_rows() -> Vectors:
    rows = np.array([GOLDEN["synthetic"][name] for name in SIGNALS], dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


def cosines(left: Vectors, right: Vectors) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.einsum("ij,ij->i", left, right, dtype=np.float64)
    return found


def test_synthetic_voices_get_the_public_package_s_embeddings(ge2e_model: ge2e.Ge2e) -> None:
    assert cosines(embed(ge2e_model, *SIGNALS.values()), golden_rows()).min() >= LEAST_COSINE


@pytest.mark.speech
def test_real_speech_gets_the_public_package_s_embeddings(ge2e_model: ge2e.Ge2e, speech: Path) -> None:
    recorded = GOLDEN["speech"]
    assert len(recorded) == 100
    rows = embed(ge2e_model, *(read(Clip(speech / path)) for path in recorded))
    projected = rows @ np.random.default_rng(8).standard_normal((256, 8))
    np.testing.assert_allclose(projected, [one["projected"] for one in recorded.values()], atol=5e-5)
    whole = {place: one["embedding"] for place, one in enumerate(recorded.values()) if "embedding" in one}
    assert len(whole) >= 3
    np.testing.assert_allclose(rows[list(whole)], list(whole.values()), atol=1e-4)


def _swapped_gates(tensors: Tensors) -> Tensors:
    def swapped(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        inputs, forgets, cells, outputs = np.split(tensor, 4)
        return np.concatenate([inputs, forgets, outputs, cells])

    return {name: swapped(tensor) if name.startswith("lstm") else tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"frontend": replace(ge2e.FRONTEND, hop=161)}, id="hop"),
        pytest.param({"frontend": replace(ge2e.FRONTEND, window="hamming-periodic")}, id="window"),
        pytest.param({"frontend": replace(ge2e.FRONTEND, centre=False)}, id="centring"),
        pytest.param({"frontend": replace(ge2e.FRONTEND, mel_norm="none")}, id="mel norm"),
        pytest.param({"frontend": replace(ge2e.FRONTEND, power=1.0)}, id="power"),
        pytest.param({"frontend": replace(ge2e.FRONTEND, f_max=7600.0)}, id="upper edge"),
        pytest.param({"frontend": replace(ge2e.FRONTEND, volume_dbfs=None)}, id="no louder"),
        pytest.param({"frontend": replace(ge2e.FRONTEND, volume_dbfs=-29.0)}, id="louder"),
        pytest.param({"frontend": replace(ge2e.FRONTEND, trimming=None)}, id="no trimming"),
        pytest.param({"windowing": replace(ge2e.WINDOWING, step=80)}, id="step"),
        pytest.param({"windowing": replace(ge2e.WINDOWING, min_coverage=1.0)}, id="coverage"),
        pytest.param({"change": _swapped_gates}, id="gates"),
    ],
)
def test_a_model_that_differs_in_one_respect_is_told_from_the_public_package(
    change: dict[str, Any], ge2e_folder: Path, tmp_path: Path
) -> None:
    model = variant(ge2e_folder, tmp_path / "wrong", **change)
    assert cosines(embed(model, *SIGNALS.values()), golden_rows()).min() < LEAST_COSINE


def test_embeddings_are_unit_rows_of_float32(ge2e_model: ge2e.Ge2e) -> None:
    rows = embed(ge2e_model, *SIGNALS.values())
    assert rows.dtype == np.float32
    assert rows.shape == (len(SIGNALS), 256)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-6)


def test_it_is_an_embedder(ge2e_model: ge2e.Ge2e) -> None:
    embedder: Embedder = ge2e_model
    assert (embedder.name, embedder.dim, embedder.sample_rate) == ("ge2e", 256, 16000)
    assert ge2e_model.bundle.licence == "Apache-2.0"


def test_nothing_to_embed_gives_no_rows(ge2e_model: ge2e.Ge2e) -> None:
    assert ge2e_model.embed([]).shape == (0, 256)


@given(lengths=st.lists(st.floats(0.4, 8.0), min_size=1, max_size=8), seed=st.integers(0, 99))
@settings(max_examples=5, deadline=None)
def test_a_batch_changes_no_recording_s_embedding(lengths: list[float], seed: int, ge2e_model: ge2e.Ge2e) -> None:
    voices = [synthetic.voice(seed + place, seconds) for place, seconds in enumerate(lengths)]
    together = embed(ge2e_model, *voices)
    alone = np.concatenate([embed(ge2e_model, waveform) for waveform in voices])
    assert 1 - cosines(together, alone).min() <= 1e-5
    assert np.abs(together - alone).max() < 1e-5


def test_windows_of_a_recording_that_spans_batches_are_all_counted(ge2e_model: ge2e.Ge2e) -> None:
    long = np.concatenate([synthetic.voice(seed, 12.0) for seed in range(5)])
    prepared = ge2e_model.prepare(long)
    assert len(prepared.features) > 60
    apart = [Prepared(window[np.newaxis], 1.6) for window in prepared.features]
    mean = ge2e_model.embed(apart).mean(axis=0)
    np.testing.assert_allclose(ge2e_model.embed([prepared])[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_one_model_serves_several_threads(ge2e_model: ge2e.Ge2e) -> None:
    expected = embed(ge2e_model, *SIGNALS.values())
    with ThreadPoolExecutor(4) as threads:
        for rows in threads.map(lambda _: embed(ge2e_model, *SIGNALS.values()), range(8)):
            np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_more_threads_for_one_call_give_the_same_embedding(ge2e_model: ge2e.Ge2e, ge2e_folder: Path) -> None:
    two = ge2e.load(ge2e_folder, EngineSettings(threads=2))
    np.testing.assert_allclose(embed(two, *SIGNALS.values()), embed(ge2e_model, *SIGNALS.values()), atol=1e-5)


def test_a_known_activity_is_used_instead_of_detecting_again(ge2e_model: ge2e.Ge2e) -> None:
    waveform = SIGNALS["two long pauses"]
    given_activity = ge2e_model.prepare(waveform, detect(waveform))
    np.testing.assert_array_equal(given_activity.features, ge2e_model.prepare(waveform).features)
    with pytest.raises(ValueError, match="cannot be those of"):
        ge2e_model.prepare(waveform, detect(waveform[:16000]))


def test_pauses_are_not_part_of_what_is_covered(ge2e_model: ge2e.Ge2e) -> None:
    prepared = ge2e_model.prepare(SIGNALS["two long pauses"])
    assert len(SIGNALS["two long pauses"]) / SPEECH_RATE == pytest.approx(8.2)
    assert prepared.seconds < 6.0
    assert prepared.features.shape[1:] == (160, 40)


def _silence() -> NDArray[np.float32]:
    return np.zeros(3 * SPEECH_RATE, dtype=np.float32)


def _faint_noise() -> NDArray[np.float32]:
    return (1e-5 * np.random.default_rng(0).standard_normal(3 * SPEECH_RATE)).astype(np.float32)


def _nothing() -> NDArray[np.float32]:
    return np.empty(0, dtype=np.float32)


def _less_than_one_decision() -> NDArray[np.float32]:
    return synthetic.voice(1, 0.02)


@pytest.mark.parametrize("made", [_silence, _nothing, _less_than_one_decision])
def test_a_recording_without_speech_is_refused(made: Callable[[], NDArray[np.float32]], ge2e_model: ge2e.Ge2e) -> None:
    with pytest.raises(AudioError, match="no speech") as refusal:
        ge2e_model.prepare(made())
    assert refusal.value.code == "no-speech"


@pytest.mark.filterwarnings("error")
def test_absurdly_large_samples_are_refused_rather_than_turned_into_nan(ge2e_model: ge2e.Ge2e) -> None:
    with pytest.raises(AudioError) as refusal:
        ge2e_model.prepare(synthetic.voice(1, 3.0) * np.float32(1e25))
    assert refusal.value.code == "not-finite"


def test_a_recording_without_any_activation_is_refused_rather_than_turned_into_nan(
    ge2e_folder: Path, tmp_path: Path
) -> None:
    def silenced(tensors: Tensors) -> Tensors:
        return {**tensors, "linear.bias": np.full(256, -1e3, dtype=np.float32)}

    model = variant(ge2e_folder, tmp_path / "silent", change=silenced)
    with pytest.raises(AudioError, match="recording 1 of the batch") as refusal:
        embed(model, SIGNALS["plain"])
    assert refusal.value.code == "no-embedding"


def test_trimming_that_this_version_cannot_do_is_refused(ge2e_folder: Path, tmp_path: Path) -> None:
    gentler = replace(ge2e.FRONTEND, trimming=Trimming(aggressiveness=2))
    with pytest.raises(ModelError, match="trimming"):
        variant(ge2e_folder, tmp_path / "gentler", frontend=gentler)


def test_the_trimming_that_the_fingerprint_names_is_the_one_that_is_done() -> None:
    """Smoothing and dilation written out from the spec's numbers, window by window."""
    trimming = ge2e.FRONTEND.trimming
    assert trimming is not None
    activity = detect(SIGNALS["two long pauses"])
    flags, width = activity.flags, trimming.smoothing_windows
    padded = np.concatenate([np.zeros((width - 1) // 2), flags, np.zeros(width // 2)])
    active = [round(float(padded[place : place + width].mean())) for place in range(flags.size)]
    reach = trimming.dilation_windows // 2
    kept = [any(active[max(0, place - reach) : place + reach + 1]) for place in range(flags.size)]
    assert flags.size == len(SIGNALS["two long pauses"]) // round(trimming.window_s * SPEECH_RATE)
    np.testing.assert_array_equal(activity.kept(), kept)
    assert 0 < sum(kept) < len(kept)


@pytest.mark.parametrize("content", [None, b"", b"no network"])
def test_a_missing_or_damaged_network_is_refused_naming_the_file(
    content: bytes | None, ge2e_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / BUNDLE_FILE).write_bytes((ge2e_folder / BUNDLE_FILE).read_bytes())
    if content is not None:
        (tmp_path / ONNX_FILE).write_bytes(content)
    with pytest.raises(ModelError, match=r"cannot be loaded by ONNX Runtime") as refusal:
        ge2e.load(tmp_path)
    assert str(tmp_path / ONNX_FILE) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_bundle_of_another_family_is_refused(ge2e_folder: Path, tmp_path: Path) -> None:
    values = json.loads((ge2e_folder / BUNDLE_FILE).read_text())
    (tmp_path / BUNDLE_FILE).write_text(json.dumps({**values, "family": "other"}))
    with pytest.raises(ModelError, match="is of the family other, not ge2e"):
        ge2e.load(tmp_path)


def test_loading_and_embedding_import_nothing_heavy(ge2e_folder: Path) -> None:
    script = (
        "import sys, numpy as np; from vecsv.models import registry; from tests.models import synthetic; "
        "model = registry.load(sys.argv[1]); model.embed([model.prepare(synthetic.voice(1, 2.0))]); "
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", script, str(ge2e_folder)]
    finished = subprocess.run(command, cwd=root, env=dict(os.environ), capture_output=True, text=True, check=True)
    imported = set(finished.stdout.split())
    assert {"numpy", "onnxruntime", "webrtcvad"} <= imported
    heavy = {"torch", "scipy", "onnx", "yaml", "pyarrow", "safetensors", "librosa", "sklearn", "faiss"}
    assert not imported & heavy
