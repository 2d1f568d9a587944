from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.models.onnx_graphs import NEMO, SHERPA_3D_SPEAKER, SHERPA_WESPEAKER, Exported
from vecsv.engines.protocol import EngineSettings
from vecsv.errors import AudioError, ModelError, UsageError
from vecsv.frontend import known
from vecsv.frontend.compute import front_end
from vecsv.health.signals import speech_like
from vecsv.models import onnx_model, probing
from vecsv.models.bundle import ONNX_FILE, verify_bundle
from vecsv.models.conversion import Conversion, as_bundle, write_conversion
from vecsv.models.encoder import Encoder
from vecsv.models.onnx_model import RunRules, from_file
from vecsv.models.presets import Preset, find_preset
from vecsv.models.registry import load

WAVE = Exported(layout="wave", input="wave", time="samples")
WESPEAKER = Exported()
SHERPA = Exported(input="x", output="embedding")
TITANET = Exported(layout="features-time", input="audio_signal", lengths="length", logits=True)
IMAGE = Exported(layout="image-features-time", bands=72, input="features", output="embedding")

CASES = {
    "redimnet": (WAVE, None),
    "wespeaker": (WESPEAKER, None),
    "3d-speaker": (Exported(input="feature", output="embedding"), None),
    "sherpa-wespeaker": (SHERPA, SHERPA_WESPEAKER),
    "sherpa-3d-speaker": (SHERPA, SHERPA_3D_SPEAKER),
    "nemo-titanet": (TITANET, NEMO),
    "redimnet-features": (IMAGE, None),
}

SIGNALS = [speech_like(seconds, seed) for seed, seconds in enumerate((1.0, 3.1, 2.03, 1.0, 6.5), start=1)]


def bundled(folder: Path, conversion: Conversion, name: str = "mine") -> Path:
    bundle = as_bundle(conversion, name=name, description="a test", licence="CC0-1.0", source={})
    return write_conversion(folder / name, conversion, bundle)


def opened(folder: Path, conversion: Conversion, settings: EngineSettings | None = None) -> Encoder:
    path = bundled(folder, conversion)
    verify_bundle(path)
    return onnx_model.load(path, settings or EngineSettings(engine="onnxruntime"))


def raw(model: Encoder, signals: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return model.raw([model.prepare(signal) for signal in signals])


def unit(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    return rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)


def refusal(path: Path, preset: Preset | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        from_file(path, preset=preset)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("name", CASES)
def test_every_preset_gives_what_numpy_makes_of_the_same_weights(tmp_path: Path, name: str) -> None:
    exported, metadata = CASES[name]
    preset = find_preset(name)
    model = opened(tmp_path, from_file(exported.write(tmp_path / "a.onnx", metadata), preset=preset))
    features = [front_end(preset.frontend)(signal) for signal in SIGNALS]
    expected = exported.embeddings(features)
    np.testing.assert_allclose(raw(model, SIGNALS), expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", CASES)
def test_a_recording_does_not_depend_on_its_batch(tmp_path: Path, name: str) -> None:
    exported, metadata = CASES[name]
    model = opened(tmp_path, from_file(exported.write(tmp_path / "a.onnx", metadata), preset=find_preset(name)))
    together = unit(raw(model, SIGNALS))
    alone = unit(np.concatenate([raw(model, [signal]) for signal in SIGNALS]))
    assert (1 - (together * alone).sum(axis=1)).max() < 1e-5


def test_a_wrong_preset_gives_other_embeddings(tmp_path: Path) -> None:
    path = SHERPA.write(tmp_path / "a.onnx")
    right = opened(tmp_path / "right", from_file(path, preset=find_preset("sherpa-wespeaker")))
    wrong = opened(tmp_path / "wrong", from_file(path, preset=find_preset("sherpa-3d-speaker")))
    cosines = (unit(raw(right, SIGNALS)) * unit(raw(wrong, SIGNALS))).sum(axis=1)
    assert cosines.min() < 0.999
    assert right.fingerprint != wrong.fingerprint


@pytest.mark.parametrize("name", ["sherpa-wespeaker", "sherpa-3d-speaker", "nemo-titanet"])
def test_metadata_alone_choose_the_front_end_of_the_training(tmp_path: Path, name: str) -> None:
    exported, metadata = CASES[name]
    found = from_file(exported.write(tmp_path / "a.onnx", metadata))
    assert found.frontend == find_preset(name).frontend
    assert name in found.notes[0]


def test_a_preset_comes_before_the_file_beside_and_that_before_the_metadata(tmp_path: Path) -> None:
    path = SHERPA.write(tmp_path / "a.onnx", SHERPA_WESPEAKER)
    own = {"kind": "preset", "name": "own", "description": "mine", "files": "a.onnx"}
    own["frontend"] = {"kind": "kaldi-fbank", "window": "hann", "scale": 1.0}
    assert from_file(path).frontend == known.WESPEAKER
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(own))
    assert from_file(path).frontend == replace(known.WESPEAKER, window="hann", scale=1.0)
    assert from_file(path, preset=find_preset("sherpa-3d-speaker")).frontend == known.THREE_D_SPEAKER


def test_without_anything_that_tells_the_front_end_a_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    said = refusal(WESPEAKER.write(tmp_path / "a.onnx"))
    assert "--preset" in said
    assert all(name in said for name in (*CASES, "a.yaml", "preset-wespeaker.yaml"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sample_rate": 8000}, "takes 8000 Hz"),
        ({"output_dim": 192}, "output_dim 192, but it gives 16"),
        ({"normalize_samples": 1}, "normalize_samples is '1' and not '0'"),
        ({"feat_dim": 64}, "feat_dim 64, but the front end gives 80"),
    ],
)
def test_metadata_that_cannot_be_true_are_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    assert said in refusal(SHERPA.write(tmp_path / "a.onnx", {**SHERPA_WESPEAKER, **change}))


def test_the_layout_is_told_by_the_graph_where_the_preset_leaves_it_open(tmp_path: Path) -> None:
    wespeaker = find_preset("wespeaker")
    free = replace(wespeaker, interface=replace(wespeaker.interface, layout=None))
    for layout in ("time-features", "features-time", "image-features-time"):
        found = from_file(Exported(layout=layout).write(tmp_path / "a.onnx"), preset=free)
        assert found.network["interface"]["layout"] == layout


def test_a_layout_that_two_readings_fit_is_refused(tmp_path: Path) -> None:
    def forget(model: Any) -> None:
        axis = model.graph.input[0].type.tensor_type.shape.dim[2]
        axis.dim_param = "bands"

    model = WESPEAKER.model()
    forget(model)
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    wespeaker = find_preset("wespeaker")
    free = replace(wespeaker, interface=replace(wespeaker.interface, layout=None))
    assert "both fit" in refusal(path, free)
    assert from_file(path, preset=wespeaker).network["interface"]["layout"] == "time-features"


def test_the_embedding_is_chosen_among_several_outputs_by_name(tmp_path: Path) -> None:
    found = from_file(TITANET.write(tmp_path / "a.onnx", NEMO))
    assert found.network["interface"]["output"] == "embs"
    assert found.dim == 16
    unnamed = TITANET.but(output="speaker")
    assert "which output is the embedding" in refusal(unnamed.write(tmp_path / "b.onnx", NEMO))


@pytest.mark.parametrize(
    ("exported", "preset", "said"),
    [
        (WESPEAKER.but(batch=4), "wespeaker", "takes 4 recordings at once"),
        (WESPEAKER.but(time=200), "wespeaker", "one length only (200)"),
        (WESPEAKER.but(bands=64), "wespeaker", "is not features of 80 bands"),
        (WESPEAKER, "redimnet", "is not the wave"),
        (WAVE, "sherpa-wespeaker", "is not features of 80 bands"),
        (WESPEAKER, "3d-speaker", "has no input feature"),
        (WESPEAKER.but(output="x-vector"), "wespeaker", "has no float output embs"),
    ],
)
def test_a_graph_that_the_preset_is_not_for_is_refused(
    tmp_path: Path, exported: Exported, preset: str, said: str
) -> None:
    assert said in refusal(exported.write(tmp_path / "a.onnx"), find_preset(preset))


def test_a_fixed_batch_of_one_runs_one_recording_at_a_time(tmp_path: Path) -> None:
    exported = WESPEAKER.but(batch=1)
    found = from_file(exported.write(tmp_path / "a.onnx"), preset=find_preset("wespeaker"))
    assert found.network["batched"] is False
    assert any("one recording at a time" in note for note in found.notes)
    model = opened(tmp_path, found)
    features = [front_end(known.WESPEAKER)(signal) for signal in SIGNALS]
    np.testing.assert_allclose(raw(model, SIGNALS), exported.embeddings(features), rtol=1e-3, atol=1e-3)


def test_a_graph_that_does_not_mask_its_padding_is_found_out(tmp_path: Path) -> None:
    masked = from_file(TITANET.write(tmp_path / "a.onnx", NEMO))
    unmasked = from_file(TITANET.but(masked=False).write(tmp_path / "b.onnx", NEMO))
    assert masked.network["batched"] is True
    assert unmasked.network["batched"] is False


def test_the_fewest_frames_are_found_and_shorter_recordings_are_too_short(tmp_path: Path) -> None:
    exported = WESPEAKER.but(convolution=True)
    found = from_file(exported.write(tmp_path / "a.onnx"), preset=find_preset("wespeaker"))
    assert found.network["min_frames"] == 5
    wave = from_file(WAVE.write(tmp_path / "b.onnx"), preset=find_preset("redimnet"))
    assert wave.network["min_frames"] == 400
    declared = replace(find_preset("wespeaker"), min_frames=100)
    model = opened(tmp_path, from_file(exported.write(tmp_path / "c.onnx"), preset=declared))
    model.prepare(SIGNALS[1])
    with pytest.raises(AudioError, match="too short"):
        model.prepare(SIGNALS[0])


def test_fingerprints_go_by_what_is_computed_and_not_by_bytes(tmp_path: Path) -> None:
    def mark(path: Path) -> str:
        found = from_file(path, preset=find_preset("wespeaker"))
        return as_bundle(found, name="a", description="", licence="", source={}).fingerprint

    first = mark(WESPEAKER.write(tmp_path / "a.onnx"))
    saved = onnx.load(tmp_path / "a.onnx")
    saved.producer_name, saved.doc_string = "somebody", "words"
    onnx.save(saved, tmp_path / "b.onnx")
    assert mark(tmp_path / "b.onnx") == first
    assert mark(WESPEAKER.but(seed=1).write(tmp_path / "c.onnx")) != first
    next(one for one in saved.graph.node if one.op_type == "Relu").op_type = "Tanh"
    onnx.save(saved, tmp_path / "d.onnx")
    assert mark(tmp_path / "d.onnx") != first


def _half(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    model.graph.node.insert(0, helper.make_node("Cast", ["feats"], ["wide"], to=TensorProto.FLOAT))
    model.graph.node[1].input[0] = "wide"


def _sequence(model: Any) -> None:
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, ["batch", "frames", 80])
    model.graph.input[0].type.CopyFrom(helper.make_sequence_type_proto(tensor))
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "first"))
    model.graph.node.insert(0, helper.make_node("SequenceAt", ["feats", "first"], ["wide"]))
    model.graph.node[1].input[0] = "wide"


def _another_input(model: Any) -> None:
    model.graph.input.append(helper.make_tensor_value_info("weights", TensorProto.FLOAT, ["batch", "frames"]))


def _the_same_for_all(model: Any) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "nought"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), "one"))
    gemm = next(one for one in model.graph.node if one.op_type == "Gemm")
    gemm.output[0] = "before"
    model.graph.node.append(helper.make_node("Mul", ["before", "nought"], ["gone"]))
    model.graph.node.append(helper.make_node("Add", ["gone", "one"], ["embs"]))


def _not_finite(model: Any) -> None:
    gemm = next(one for one in model.graph.node if one.op_type == "Gemm")
    gemm.output[0] = "before"
    model.graph.node.append(helper.make_node("Sub", ["before", "before"], ["nought"]))
    model.graph.node.append(helper.make_node("Div", ["nought", "nought"], ["embs"]))


def _frame_by_frame(model: Any) -> None:
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("MatMul", ["feats", "hidden.weight"], ["embs"]))
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 24


def _vast(model: Any) -> None:
    """The size depends on the input, so that nothing in the file tells it."""
    model.graph.initializer.append(numpy_helper.from_array(np.array(10**12, np.int64), "factor"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "axes"))
    shape = helper.make_node("Shape", ["feats"], ["size"])
    product = helper.make_node("ReduceProd", ["size"], ["count"], keepdims=1)
    nodes = [shape, product, helper.make_node("Mul", ["count", "factor"], ["vast_size"])]
    nodes.append(helper.make_node("ConstantOfShape", ["vast_size"], ["vast"]))
    nodes.append(helper.make_node("ReduceSum", ["vast", "axes"], ["sum"], keepdims=0))
    gemm = next(one for one in model.graph.node if one.op_type == "Gemm")
    gemm.output[0] = "before"
    model.graph.node.extend([*nodes, helper.make_node("Add", ["before", "sum"], ["embs"])])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_half, "only float inputs are fed"),
        (_sequence, "only float inputs are fed"),
        (_another_input, "more than a signal and its length"),
        (_the_same_for_all, "the same whatever it is given"),
        (_not_finite, "not finite"),
        (_frame_by_frame, "not (batch, dim)"),
        (_vast, "cannot be run"),
    ],
)
def test_graphs_that_give_no_embeddings_are_refused(tmp_path: Path, change: Any, said: str) -> None:
    model = WESPEAKER.model()
    change(model)
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    assert said in refusal(path, find_preset("wespeaker"))


def test_a_graph_without_an_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on while its flag is true, which it always is; no number of turns stands in the file."""
    model = WESPEAKER.model()
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "go_on"))
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    carried = helper.make_tensor_value_info("carried", TensorProto.FLOAT, None)
    still = helper.make_tensor_value_info("still", TensorProto.BOOL, [])
    kept = helper.make_tensor_value_info("kept", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Identity", ["flag"], ["still"]), helper.make_node("Identity", ["carried"], ["kept"])]
    body = helper.make_graph(nodes, "body", [turn, flag, carried], [still, kept])
    gemm = next(one for one in model.graph.node if one.op_type == "Gemm")
    gemm.output[0] = "before"
    model.graph.node.append(helper.make_node("Loop", ["", "go_on", "before"], ["embs"], body=body))
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    monkeypatch.setattr(probing, "TIME_LIMIT_S", 2.0)
    assert "without an end" in refusal(path, find_preset("wespeaker"))


def test_files_that_are_no_graphs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no graph at all")
    assert "ONNX" in refusal(tmp_path / "a.onnx")
    assert "No such file" in refusal(tmp_path / "none.onnx")


def test_a_bundle_is_loaded_through_the_registry(tmp_path: Path) -> None:
    folder = bundled(tmp_path, from_file(SHERPA.write(tmp_path / "a.onnx", SHERPA_WESPEAKER)))
    model = load(str(folder), EngineSettings(engine="onnxruntime"))
    assert (model.dim, model.sample_rate) == (16, 16000)
    assert "onnxruntime" in model.engine
    (vector,) = model.embed([model.prepare(SIGNALS[1])])
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-6)


def test_a_bundle_with_other_rules_is_refused(tmp_path: Path) -> None:
    found = from_file(SHERPA.write(tmp_path / "a.onnx", SHERPA_WESPEAKER))
    changes: list[dict[str, Any]] = [{"batched": "yes"}, {"min_frames": 0}, {"interface": {}}, {"colour": 1}]
    for number, change in enumerate(changes):
        broken = replace(found, network={**found.network, **change})
        with pytest.raises(ModelError, match=r"described|interface"):
            onnx_model.load(bundled(tmp_path, broken, f"m{number}"))


def test_an_int8_bundle_says_so_and_runs_on_onnxruntime_alone(tmp_path: Path) -> None:
    found = from_file(SHERPA.write(tmp_path / "a.onnx", SHERPA_WESPEAKER))
    rules = replace(RunRules.from_json(found.network), precision="int8", parent="0" * 64)
    folder = bundled(tmp_path, replace(found, network=rules.to_json()))
    assert onnx_model.load(folder).engine.startswith("onnxruntime")
    assert onnx_model.load(folder).engine.endswith("int8")
    for settings in (EngineSettings(engine="openvino"), EngineSettings(precision="bf16")):
        with pytest.raises(UsageError, match="CPU alone"):
            onnx_model.load(folder, settings)


def test_the_graph_in_the_bundle_is_the_file_that_was_given(tmp_path: Path) -> None:
    path = SHERPA.write(tmp_path / "a.onnx", SHERPA_WESPEAKER)
    folder = bundled(tmp_path, from_file(path))
    assert (folder / ONNX_FILE).read_bytes() == path.read_bytes()
