from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests.models.onnx_graphs import NEMO, Exported
from vecsv.engines.protocol import EngineSettings
from vecsv.errors import ModelError, UsageError
from vecsv.health.signals import speech_like
from vecsv.models import ge2e, onnx_model, quantize
from vecsv.models.bundle import ONNX_FILE, read_bundle, verify_bundle
from vecsv.models.conversion import Conversion, as_bundle, write_conversion
from vecsv.models.ge2e import Ge2e
from vecsv.models.onnx_model import from_file
from vecsv.models.presets import find_preset
from vecsv.models.protocol import Embedder
from vecsv.models.quantize import Quantized, QuantizeSettings, quantize_bundle

CONVOLUTIONAL = Exported(convolution=True)
WITH_LENGTHS = Exported(layout="features-time", input="audio_signal", lengths="length", convolution=False)
FLOAT = EngineSettings(engine="onnxruntime")
SIGNALS = [speech_like(seconds, seed) for seed, seconds in enumerate((1.0, 3.1, 2.03, 1.0, 6.5), start=1)]


def written(folder: Path, conversion: Conversion, name: str) -> Path:
    bundle = as_bundle(conversion, name=name, description="a test", licence="CC0-1.0", source={})
    return write_conversion(folder / name, conversion, bundle)


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of a convolution and a matrix product, taking WeSpeaker's features."""
    folder = tmp_path_factory.mktemp("parent")
    path = CONVOLUTIONAL.write(folder / "a.onnx")
    return written(folder, from_file(path, preset=find_preset("wespeaker")), "parent")


@pytest.fixture(scope="module", params=["static", "dynamic"])
def small(request: pytest.FixtureRequest, parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It in int8, both ways."""
    return written(tmp_path_factory.mktemp("small"), quantized(parent, request.param).conversion, request.param)


def quantized(folder: Path, method: str = "auto", ranges: str = "minmax", count: int = 5) -> Quantized:
    model = onnx_model.load(folder, FLOAT)
    inputs = [model.prepare(signal).features for signal in SIGNALS[:count]]
    return quantize_bundle(folder, read_bundle(folder), inputs, QuantizeSettings(method, ranges))


def embedded(model: Embedder, signals: Iterable[NDArray[np.float32]]) -> NDArray[np.float64]:
    return model.embed([model.prepare(signal) for signal in signals]).astype(np.float64)


def one_by_one(model: Embedder) -> NDArray[np.float64]:
    return np.concatenate([embedded(model, [signal]) for signal in SIGNALS])


def cosines(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = (one * other).sum(axis=1)
    return found


def weights(data: bytes) -> dict[str, list[int]]:
    """Sizes of the graph's weights, by element type."""
    sizes: dict[str, list[int]] = {}
    for tensor in onnx.load_model_from_string(data).graph.initializer:
        size = int(np.prod(tensor.dims))
        if size >= 16 * 16:
            sizes.setdefault(TensorProto.DataType.Name(tensor.data_type), []).append(size)
    return sizes


@pytest.mark.parametrize("method", ["static", "dynamic"])
@pytest.mark.parametrize("ranges", ["minmax", "percentile"])
def test_weights_are_int8_but_for_the_first_layer(parent: Path, method: str, ranges: str) -> None:
    made = quantized(parent, method, ranges)
    assert made.conversion.graph is not None
    assert weights(made.conversion.graph) == {"INT8": [2 * 24 * 16], "FLOAT": [24 * 80 * 5]}
    kept = [values for values in made.conversion.tensors.values() if values.dtype == np.int8 and values.size > 256]
    assert [values.size for values in kept] == [2 * 24 * 16]
    # 7 of 8 bits: no two products overflow 16 bits on any processor.
    assert np.abs(kept[0].astype(int)).max() <= 64


def test_embeddings_stay_close_to_the_parents_without_being_them(parent: Path, small: Path) -> None:
    model = onnx_model.load(small)
    close = cosines(embedded(model, SIGNALS), embedded(onnx_model.load(parent, FLOAT), SIGNALS))
    assert close.min() > 0.995
    assert close.min() < 1 - 1e-6
    assert model.engine.endswith("cpu, int8")


def test_a_recording_does_not_depend_on_its_batch(small: Path) -> None:
    model = onnx_model.load(small)
    assert (1 - cosines(embedded(model, SIGNALS), one_by_one(model))).max() < 1e-5


def test_the_bundle_is_whole_and_names_its_parent(parent: Path, small: Path) -> None:
    bundle = verify_bundle(small)
    assert bundle.family == "onnx"
    assert bundle.network["precision"] == "int8"
    # What shares a call would share the range of its activations.
    assert bundle.network["batched"] is (small.name == "static")
    assert bundle.network["parent"] == read_bundle(parent).fingerprint


def test_fingerprints_are_stable_and_not_the_parents(tmp_path: Path, parent: Path, small: Path) -> None:
    first = read_bundle(small).fingerprint
    again = read_bundle(written(tmp_path, quantized(parent, small.name).conversion, "again")).fingerprint
    assert first == again != read_bundle(parent).fingerprint


def test_static_ranges_are_those_of_the_recordings(parent: Path) -> None:
    few, many = quantized(parent, "static", count=1), quantized(parent, "static", count=5)
    assert (few.recordings, many.recordings) == (1, 5)
    scales = [
        {name: float(values[0]) for name, values in made.conversion.tensors.items() if name.endswith("_scale")}
        for made in (few, many)
    ]
    assert scales[0].keys() == scales[1].keys()
    assert all(scales[0][name] <= scales[1][name] for name in scales[0])
    assert any(scales[0][name] < scales[1][name] for name in scales[0])


def test_the_method_goes_by_where_the_weights_are(tmp_path: Path, parent: Path) -> None:
    assert quantized(parent).method == "static"
    dense = from_file(Exported().write(tmp_path / "b.onnx"), preset=find_preset("wespeaker"))
    assert quantized(written(tmp_path, dense, "dense")).method == "dynamic"


@pytest.mark.parametrize("method", ["static", "dynamic"])
def test_graphs_that_take_lengths_are_quantised_too(tmp_path: Path, method: str) -> None:
    path = written(tmp_path, from_file(WITH_LENGTHS.write(tmp_path / "a.onnx", NEMO)), "parent")
    model = onnx_model.load(written(tmp_path, quantized(path, method).conversion, "small"))
    assert cosines(embedded(model, SIGNALS), embedded(onnx_model.load(path, FLOAT), SIGNALS)).min() > 0.995
    assert (1 - cosines(embedded(model, SIGNALS), one_by_one(model))).max() < 1e-5


def test_nothing_is_printed(parent: Path, capfd: pytest.CaptureFixture[str]) -> None:
    quantized(parent, "static", "percentile")
    quantized(parent, "dynamic")
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_quantised_is_refused(parent: Path, small: Path) -> None:
    with pytest.raises(ModelError, match="int8 already"):
        quantize_bundle(small, read_bundle(small), [])
    with pytest.raises(ModelError, match=r"has no model\.onnx"):
        quantize_bundle(parent, replace(read_bundle(parent), sha256={}), [])
    with pytest.raises(ModelError, match="no recording to take ranges from"):
        quantize_bundle(parent, read_bundle(parent), [], QuantizeSettings("static"))


def test_a_network_of_one_layer_has_nothing_to_quantise(tmp_path: Path) -> None:
    model = Exported().model()
    del model.graph.node[:]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), "time_axis"))
    model.graph.node.append(helper.make_node("MatMul", ["feats", "hidden.weight"], ["multiplied"]))
    model.graph.node.append(helper.make_node("ReduceMax", ["multiplied"], ["embs"], axes=[1], keepdims=0))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 24
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    path = written(tmp_path, from_file(tmp_path / "a.onnx", preset=find_preset("wespeaker")), "parent")
    for method in ("static", "dynamic"):
        with pytest.raises(ModelError, match="nothing in it can be quantised"):
            quantized(path, method)
    assert (path / ONNX_FILE).is_file()


@pytest.mark.parametrize("settings", [{"method": "best"}, {"ranges": "all"}])
def test_unknown_settings_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        QuantizeSettings(**settings)


def _small_ge2e(folder: Path, target: Path) -> Ge2e:
    made = quantize_bundle(folder, read_bundle(folder), [])
    assert made.method == "dynamic"
    path = written(target, made.conversion, "ge2e-small")
    assert verify_bundle(path).family == "ge2e"
    return ge2e.load(path)


@pytest.fixture(scope="module")
def small_ge2e(ge2e_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Ge2e:
    """The default model in int8."""
    return _small_ge2e(ge2e_folder, tmp_path_factory.mktemp("ge2e"))


def test_ge2e_keeps_its_windows_and_its_embeddings(small_ge2e: Ge2e, ge2e_folder: Path) -> None:
    parent = ge2e.load(ge2e_folder)
    assert small_ge2e.prepare(SIGNALS[4]).features.shape == parent.prepare(SIGNALS[4]).features.shape
    assert cosines(embedded(small_ge2e, SIGNALS), embedded(parent, SIGNALS)).min() > 0.99
    assert small_ge2e.fingerprint != parent.fingerprint
    assert small_ge2e.engine.endswith("int8")


def test_a_ge2e_recording_does_not_depend_on_its_batch(small_ge2e: Ge2e) -> None:
    assert (1 - cosines(embedded(small_ge2e, SIGNALS), one_by_one(small_ge2e))).max() < 1e-5


def test_without_the_exception_for_the_first_layer_ge2e_would_be_another_model(
    tmp_path: Path, ge2e_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "_first_layer", lambda graph: [])
    model = _small_ge2e(ge2e_folder, tmp_path)
    assert cosines(embedded(model, SIGNALS), embedded(ge2e.load(ge2e_folder), SIGNALS)).min() < 0.95


@pytest.mark.parametrize("other", [{"engine": "openvino"}, {"device": "cuda"}, {"precision": "bf16"}])
def test_an_int8_ge2e_refuses_other_engines(tmp_path: Path, ge2e_folder: Path, other: dict[str, str]) -> None:
    _small_ge2e(ge2e_folder, tmp_path)
    with pytest.raises(UsageError, match="int8 model"):
        ge2e.load(tmp_path / "ge2e-small", EngineSettings(**other))
