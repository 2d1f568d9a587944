from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("onnxscript")

from tests.fixtures import wavlm as folders  # noqa: E402
from vecsv.engines.protocol import EngineSettings  # noqa: E402
from vecsv.errors import AudioError, ModelError  # noqa: E402
from vecsv.frontend.spec import KaldiSpec, WaveformSpec  # noqa: E402
from vecsv.health import originals  # noqa: E402
from vecsv.health.signals import speech_like  # noqa: E402
from vecsv.models import registry, wavlm_xvector  # noqa: E402
from vecsv.models.bundle import ONNX_FILE, TENSORS_FILE, read_bundle, verify_bundle  # noqa: E402
from vecsv.models.conversion import Conversion, as_bundle, write_conversion  # noqa: E402
from vecsv.models.encoder import Encoder  # noqa: E402
from vecsv.models.wavlm_xvector import from_folder, load  # noqa: E402
from vecsv.networks.wavlm_spec import WavLMSpec  # noqa: E402

torch.set_num_threads(1)

Rows = NDArray[np.float32]

# The issue asks for 1e-4; every engine keeps this.
CLOSE = 1e-5

GOLDEN = originals.golden("wavlm")["embeddings"]


class Network:
    """Stands in the way of every connection, and notes who wanted one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wanted: list[object] = []
        for name in ("connect", "connect_ex", "sendto"):
            monkeypatch.setattr(socket.socket, name, self.refuse)
        for name in ("getaddrinfo", "create_connection"):
            monkeypatch.setattr(socket, name, self.refuse)

    def refuse(self, *arguments: object, **_: object) -> None:
        self.wanted.append(arguments[-1])
        raise OSError("no network here")


def without_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the ONNX graph out, which takes seconds to make."""

    def refuse(*_: object) -> bytes:
        raise ModelError("not asked for")

    monkeypatch.setattr(wavlm_xvector, "_graph", refuse)


@pytest.fixture
def graphless(monkeypatch: pytest.MonkeyPatch) -> None:
    without_graph(monkeypatch)


@pytest.fixture(scope="module")
def conversions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Conversion]]:
    """Both models, read without a network: ``base`` with its graph, ``large`` for PyTorch alone."""
    made = {}
    with pytest.MonkeyPatch.context() as monkeypatch:
        network = Network(monkeypatch)
        for kind, config in folders.CONFIGS.items():
            if kind == "large":
                without_graph(monkeypatch)
            folder = tmp_path_factory.mktemp("wavlm") / kind
            made[kind] = from_folder(folders.write_folder(folder, config, folders.weights(config)))
        assert network.wanted == []
    yield made


def bundle(folder: Path, conversion: Conversion) -> Path:
    described = as_bundle(conversion, name="wavlm", description="random weights", licence="MIT", source={})
    return write_conversion(folder, conversion, described)


def encoder(folder: Path, conversion: Conversion, engine: str = "torch") -> Encoder:
    return load(bundle(folder, conversion), EngineSettings(engine=engine))


def raw(model: Encoder, recordings: list[Rows]) -> Rows:
    return model.raw([model.prepare(recording) for recording in recordings])


def distance(found: Rows, expected: Rows) -> float:
    """Largest distance, as a share of the expected row's length."""
    return float((np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


def cosine_distance(found: Rows, expected: Rows) -> float:
    one, other = (rows.astype(np.float64) / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (found, expected))
    return float(np.square(one - other).sum(axis=1).max()) / 2.0


def golden(name: str) -> Rows:
    return np.array(GOLDEN[name], dtype=np.float32)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch"])
@pytest.mark.parametrize("scaling", ["normalised", "as it is"])
def test_recordings_together_give_what_the_package_gave_them_alone(
    engine: str, scaling: str, conversions: dict[str, Conversion], tmp_path: Path
) -> None:
    pytest.importorskip(engine)
    scaled = replace(conversions["base"], frontend=WaveformSpec(normalise=scaling == "normalised"))
    model = encoder(tmp_path / "base", scaled, engine)
    assert model.engine.startswith(engine)
    assert distance(raw(model, folders.recordings()), golden(f"base, {scaling}")) < CLOSE


@pytest.mark.parametrize("scaling", ["normalised", "as it is"])
def test_so_does_a_model_that_only_pytorch_runs(
    scaling: str, conversions: dict[str, Conversion], tmp_path: Path
) -> None:
    assert conversions["large"].graph is None
    assert "only PyTorch can run it: not asked for" in conversions["large"].notes
    scaled = replace(conversions["large"], frontend=WaveformSpec(normalise=scaling == "normalised"))
    model = encoder(tmp_path / "large", scaled, "auto")
    assert model.engine.startswith("torch")
    assert distance(raw(model, folders.recordings()), golden(f"large, {scaling}")) < CLOSE


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("kind", folders.CONFIGS)
@pytest.mark.usefixtures("graphless")
def test_the_installed_package_gives_the_same_from_the_same_folder(kind: str, normalise: bool, tmp_path: Path) -> None:
    config = folders.CONFIGS[kind]
    folder = folders.write_folder(tmp_path / kind, config, folders.weights(config), normalise=normalise)
    extractor = transformers.Wav2Vec2FeatureExtractor.from_pretrained(folder, local_files_only=True)
    network = transformers.WavLMForXVector.from_pretrained(folder, local_files_only=True).eval()
    recordings = [speech_like(seconds, seed=20 + number) for number, seconds in enumerate((0.7, 1.9, 6.2))]
    expected = []
    for recording in recordings:
        inputs = extractor(recording, sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            expected.append(network(inputs["input_values"]).embeddings[0].numpy())
    model = encoder(tmp_path / "bundle", from_folder(folder))
    assert distance(raw(model, recordings), np.array(expected)) < CLOSE


@pytest.mark.usefixtures("graphless")
def test_a_folder_that_the_package_saved_is_read(tmp_path: Path) -> None:
    config = transformers.WavLMConfig(**{**folders.CONFIGS["base"], "architectures": None})
    transformers.WavLMForXVector(config).save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(tmp_path)
    read = from_folder(tmp_path)
    assert (read.family, read.dim, read.pooling.block_s) == ("wavlm-xvector", 16, 30.0)
    assert read.frontend == WaveformSpec(normalise=False)


@pytest.mark.parametrize("kind", folders.CONFIGS)
def test_the_golden_values_would_show_what_is_almost_right(
    kind: str, conversions: dict[str, Conversion], tmp_path: Path
) -> None:
    right = replace(conversions[kind], graph=None)
    uniform = {**right.tensors, "layer_weights": np.zeros(3, np.float32)}
    unweighted = {name: tensor for name, tensor in right.tensors.items() if name != "layer_weights"}
    recordings = folders.recordings()[:4]
    expected = golden(f"{kind}, normalised")[:4]
    wrong = {
        "waveform not normalised": replace(right, frontend=WaveformSpec(normalise=False)),
        "all layers alike": replace(right, tensors=uniform),
        "last layer only": replace(
            right, network={**right.network, "use_weighted_layer_sum": False}, tensors=unweighted
        ),
        "another dilation": replace(right, network={**right.network, "tdnn_dilation": [1, 2, 1]}),
        "other distances": replace(right, network={**right.network, "max_bucket_distance": 800}),
    }
    for name, conversion in wrong.items():
        assert distance(raw(encoder(tmp_path / name, conversion), recordings), expected) > 10 * CLOSE, name
    model = encoder(tmp_path / "right", right)
    assert distance(raw(model, recordings), expected) < CLOSE
    padded = [np.pad(recording, (0, 16000)) for recording in recordings]
    assert distance(raw(model, padded), expected) > 1e-3


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch"])
def test_an_embedding_does_not_depend_on_its_company(
    engine: str, conversions: dict[str, Conversion], tmp_path: Path
) -> None:
    pytest.importorskip(engine)
    model = encoder(tmp_path / "bundle", conversions["base"], engine)
    # Lengths that repeat, and lengths a sample apart.
    recordings = [
        speech_like(samples / 16000, seed=number) for number, samples in enumerate((24000, 9600, 24000, 24001))
    ]
    alone = np.concatenate([raw(model, [recording]) for recording in recordings])
    assert cosine_distance(raw(model, recordings), alone) < 1e-5
    assert cosine_distance(raw(model, recordings[::-1])[::-1], alone) < 1e-5


def test_the_bundle_round_trip_keeps_everything(conversions: dict[str, Conversion], tmp_path: Path) -> None:
    folder = bundle(tmp_path / "bundle", conversions["base"])
    described = verify_bundle(folder)
    assert described.family == wavlm_xvector.FAMILY
    assert (described.dim, described.sample_rate, described.pooling.block_s) == (16, 16000, 30.0)
    assert described.frontend == WaveformSpec(normalise=True)
    assert set(described.sha256) == {ONNX_FILE, TENSORS_FILE}
    tensors = load_file(folder / TENSORS_FILE)
    assert tensors.keys() == conversions["base"].tensors.keys()
    assert not [name for name in tensors if name.startswith(("classifier", "objective"))]
    loaded = registry.load(folder)
    assert loaded.engine.startswith("onnxruntime")
    assert loaded.fingerprint == described.fingerprint
    prepared = [loaded.prepare(recording) for recording in folders.recordings()]
    vectors = {
        engine: load(folder, EngineSettings(engine=engine)).embed(prepared) for engine in ("onnxruntime", "torch")
    }
    assert cosine_distance(vectors["onnxruntime"], vectors["torch"]) < 1e-5
    np.testing.assert_allclose(np.linalg.norm(vectors["torch"], axis=1), 1.0, atol=1e-6)


def test_loading_a_bundle_needs_no_network(
    conversions: dict[str, Conversion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bundle(tmp_path / "bundle", conversions["base"])
    network = Network(monkeypatch)
    for engine in ("onnxruntime", "torch"):
        model = load(folder, EngineSettings(engine=engine))
        assert np.isfinite(raw(model, [speech_like(1.0, 1)])).all()
    assert network.wanted == []


def test_a_recording_too_short_for_the_network_is_refused_before_it(
    conversions: dict[str, Conversion], tmp_path: Path
) -> None:
    model = encoder(tmp_path / "bundle", conversions["base"], "onnxruntime")
    least = model.prepare(speech_like(0.5, 1)[:4096]).features.size
    shortest = WavLMSpec.from_json(conversions["base"].network).min_samples
    assert least >= shortest
    with pytest.raises(AudioError, match="are too short for wavlm") as refusal:
        model.prepare(speech_like(0.5, 1)[: shortest - 1])
    assert refusal.value.code == "too-short"
    assert np.isfinite(raw(model, [speech_like(0.5, 1)[:shortest]])).all()


def as_bin(tensors: folders.Weights, folder: Path) -> None:
    torch.save({name: torch.tensor(tensor) for name, tensor in tensors.items()}, folder / "pytorch_model.bin")


def as_half(tensors: folders.Weights, folder: Path) -> None:
    save_file({name: tensor.astype(np.float16) for name, tensor in tensors.items()}, folder / "model.safetensors")


def as_shards(tensors: folders.Weights, folder: Path) -> None:
    placed = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(tensors)}
    for shard in set(placed.values()):
        save_file({name: tensors[name] for name in tensors if placed[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": placed}), encoding="utf-8")


def as_old_bin(tensors: folders.Weights, folder: Path) -> None:
    as_bin(folders.old_names(tensors), folder)


@pytest.mark.usefixtures("graphless")
@pytest.mark.parametrize("write", [as_bin, as_old_bin, as_shards, as_half])
def test_every_way_to_keep_the_weights_gives_the_same_model(
    write: Callable[[folders.Weights, Path], None], conversions: dict[str, Conversion], tmp_path: Path
) -> None:
    config = folders.CONFIGS["base"]
    tensors = folders.weights(config)
    folder = folders.write_folder(tmp_path / "model", config, tensors, with_weights=False)
    write(tensors, folder)
    found, expected = from_folder(folder).tensors, conversions["base"].tensors
    assert found.keys() == expected.keys()
    assert "wavlm.encoder.pos_conv_embed.conv.weight_g" in found
    for name, tensor in found.items():
        assert tensor.dtype == np.float32
        rounded = expected[name].astype(np.float16).astype(np.float32) if write is as_half else expected[name]
        np.testing.assert_array_equal(tensor, rounded)


@pytest.mark.usefixtures("graphless")
def test_what_training_left_over_may_have_any_shape_or_be_missing(
    conversions: dict[str, Conversion], tmp_path: Path
) -> None:
    config = folders.CONFIGS["base"]
    tensors = folders.weights(config)
    tensors["objective.weight"] = np.zeros((3, 5999), np.float32)
    tensors["classifier.weight"] = np.full(2, np.nan, np.float32)
    del tensors["wavlm.masked_spec_embed"]
    read = from_folder(folders.write_folder(tmp_path / "model", config, tensors))
    assert as_bundle(read, name="a", description="", licence="MIT", source={}).fingerprint == (
        as_bundle(conversions["base"], name="b", description="", licence="MIT", source={}).fingerprint
    )
    assert any("not needed: classifier.bias, classifier.weight, objective.weight" in note for note in read.notes)


@pytest.mark.usefixtures("graphless")
def test_code_beside_the_weights_is_not_run(tmp_path: Path) -> None:
    config = {
        **folders.CONFIGS["base"],
        "auto_map": {"AutoConfig": "modeling.Evil", "AutoModel": "somebody/else--modeling.Evil"},
        "trust_remote_code": True,
    }
    folder = folders.write_folder(tmp_path / "model", config, folders.weights(folders.CONFIGS["base"]))
    mark = tmp_path / "ran"
    (folder / "modeling.py").write_text(f"open({str(mark)!r}, 'w')", encoding="utf-8")
    read = from_folder(folder)
    assert any("names code of its own, which was not run" in note for note in read.notes)
    assert not mark.exists()
    assert "auto_map" not in read.network


Change = Callable[[Path], None]


def configuration(**changes: Any) -> Change:
    return json_file("config.json", **changes)


def preprocessor(**changes: Any) -> Change:
    return json_file("preprocessor_config.json", **changes)


def json_file(name: str, **changes: Any) -> Change:
    def change(folder: Path) -> None:
        values = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps({**values, **changes}), encoding="utf-8")

    return change


def removal(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def tensors(change: Callable[[dict[str, NDArray[Any]]], object]) -> Change:
    def write(folder: Path) -> None:
        held = load_file(folder / "model.safetensors")
        change(held)
        save_file(held, folder / "model.safetensors")

    return write


def overwritten(name: str, content: bytes) -> Change:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return change


POSITIONS = "wavlm.encoder.pos_conv_embed.conv"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (removal("config.json"), r"config\.json: is missing"),
        (removal("preprocessor_config.json"), r"preprocessor_config\.json: is missing"),
        (removal("model.safetensors"), "holds no weights"),
        (configuration(model_type="wav2vec2"), "model_type is 'wav2vec2', expected 'wavlm'"),
        (configuration(model_type=["wavlm"]), "model_type is"),
        (configuration(architectures=["WavLMModel"]), r"architectures is \['WavLMModel'\], expected WavLMForXVector"),
        (configuration(architectures=None), "architectures is None"),
        (configuration(architectures="WavLMForXVector"), "architectures is 'WavLMForXVector'"),
        (configuration(architectures=["x" * 10**6]), "architectures is"),
        (configuration(add_adapter=True), "has an adapter"),
        (configuration(hidden_size=10**12), r"config\.json: hidden_size is 1000000000000"),
        (configuration(num_hidden_layers=10**9), "num_hidden_layers is 1000000000"),
        (configuration(conv_dim=[4096] * 10**6), "conv_dim has 1000000 entries"),
        (
            configuration(num_hidden_layers=64, hidden_size=4096, num_attention_heads=64),
            r"its network holds \d+ numbers",
        ),
        (configuration(hidden_act="torch.load"), "hidden_act is 'torch.load'"),
        (configuration(do_stable_layer_norm=True), "tie_last_hidden_states"),
        (configuration(hidden_size=48), r"of another shape .* instead of \(24|of another shape"),
        (
            configuration(num_hidden_layers=3),
            r"its tensors do not fit: missing wavlm\.encoder\.layers\.2.* and \d+ more",
        ),
        (configuration(num_hidden_layers=1), r"its tensors do not fit: not expected wavlm\.encoder\.layers\.1"),
        (preprocessor(sampling_rate=8000), "sampling_rate is 8000, expected 16000"),
        (preprocessor(do_normalize="yes"), "do_normalize is 'yes', expected true or false"),
        (preprocessor(do_normalize=None), "do_normalize is None"),
        (preprocessor(feature_extractor_type="SeamlessM4TFeatureExtractor"), "feature_extractor_type is"),
        (preprocessor(feature_size=80), "feature_size is 80, expected 1"),
        (tensors(lambda held: held.pop("projector.bias")), "do not fit: missing projector.bias"),
        (tensors(lambda held: held.update(extra=np.zeros(1, np.float32))), "do not fit: not expected extra"),
        (tensors(lambda held: held["projector.bias"].fill(np.nan)), "do not fit: not finite projector.bias"),
        (
            tensors(lambda held: held.update({"projector.bias": np.zeros(7, np.float32)})),
            r"of another shape projector\.bias \(7,\) instead of \(20,\)",
        ),
        (tensors(lambda held: held.update({"projector.bias": np.zeros(20)})), "projector.bias is float64"),
        (
            tensors(lambda held: held.update({f"{POSITIONS}.weight_g": np.ones((1, 1, 16), np.float32)})),
            "holds .*weight_g twice, by an old and a new name",
        ),
        # Nothing can be divided by a length of zero.
        (
            tensors(lambda held: held[f"{POSITIONS}.parametrizations.weight.original1"].fill(0.0)),
            "with these weights the network gives no numbers",
        ),
        (overwritten("model.safetensors", b"\x80\x02c__builtin__\neval\n."), "do not trust this file"),
        (overwritten("model.safetensors", b""), "is empty"),
        (overwritten("config.json", b"[" * 10**5), "is not JSON"),
    ],
)
@pytest.mark.usefixtures("graphless")
def test_a_broken_or_hostile_folder_is_refused_in_one_line(change: Change, complaint: str, tmp_path: Path) -> None:
    config = folders.CONFIGS["base"]
    folder = folders.write_folder(tmp_path / "model", config, folders.weights(config))
    change(folder)
    with pytest.raises(ModelError, match=complaint) as refusal:
        from_folder(folder)
    message = str(refusal.value)
    assert str(folder) in message
    assert "\n" not in message
    assert len(message) < len(str(folder)) + 900


def test_a_graph_that_computes_something_else_is_left_out(
    conversions: dict[str, Conversion], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vecsv.networks import export

    monkeypatch.setattr(export, "onnx_graph", lambda *_, **__: conversions["base"].graph)
    config = folders.CONFIGS["base"]
    weights = folders.weights(config)
    same = from_folder(folders.write_folder(tmp_path / "same", config, weights))
    assert same.graph is not None
    weights["projector.bias"] += 0.1
    other = from_folder(folders.write_folder(tmp_path / "other", config, weights))
    assert other.graph is None
    assert "only PyTorch can run it: its ONNX graph gives other embeddings than PyTorch" in other.notes


def test_a_graph_too_large_for_a_file_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wavlm_xvector, "_LARGEST_GRAPH", 1000)
    config = folders.CONFIGS["base"]
    read = from_folder(folders.write_folder(tmp_path / "model", config, folders.weights(config)))
    assert read.graph is None
    assert "only PyTorch can run it: it is too large for one ONNX file" in read.notes


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (json_file("bundle.json", family="ge2e"), "is of the family ge2e, not wavlm-xvector"),
        (json_file("bundle.json", network={}), "its network: unknown or missing: conv_bias"),
        (json_file("bundle.json", frontend=KaldiSpec().to_json()), "its network takes the waveform"),
        (removal(TENSORS_FILE), "missing or damaged"),
        (overwritten(TENSORS_FILE, b"damaged"), "missing or damaged"),
        (
            lambda folder: save_file({"projector.bias": np.zeros(2, np.float32)}, folder / TENSORS_FILE),
            "its tensors are not those of its network",
        ),
    ],
)
def test_a_damaged_bundle_is_refused(
    change: Change, complaint: str, conversions: dict[str, Conversion], tmp_path: Path
) -> None:
    folder = bundle(tmp_path / "bundle", conversions["large"])
    assert read_bundle(folder).network == conversions["large"].network
    change(folder)
    with pytest.raises(ModelError, match=complaint):
        load(folder, EngineSettings(engine="torch"))
