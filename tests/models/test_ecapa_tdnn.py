from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.fixtures import ecapa
from tests.models.ecapa_checkpoints import CASES, checkpoint, spec_of
from vecsv.engines.protocol import EngineSettings
from vecsv.errors import ModelError
from vecsv.frontend import known
from vecsv.frontend.compute import front_end
from vecsv.frontend.spec import FrontendSpec
from vecsv.health.original_networks import ecapa_shapes
from vecsv.health.originals import golden
from vecsv.models import ecapa_conversion, ecapa_tdnn
from vecsv.models.bundle import verify_bundle
from vecsv.models.conversion import Conversion, as_bundle, write_conversion
from vecsv.models.protocol import Prepared
from vecsv.networks.ecapa_spec import EcapaSpec

if TYPE_CHECKING:
    import torch
else:
    torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from vecsv.networks.ecapa_tdnn import EcapaTdnn

#: Relative L2 distance to the original implementations that is allowed.
TOLERANCE = 1e-4

READ = {"speechbrain": ecapa_tdnn.from_speechbrain, "wespeaker": ecapa_tdnn.from_wespeaker}
FRONT_ENDS = {"speechbrain": known.SPEECHBRAIN, "wespeaker": known.WESPEAKER}
Tensors = dict[str, NDArray[Any]]

#: Seconds of the recordings that a wrong setting is shown on.
SHORT = (0.5, 2.31)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def graphless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the slow step, where only the reading is looked at."""
    monkeypatch.setattr(ecapa_conversion, "graph", lambda spec, tensors: b"")


@functools.cache
def features(spec: FrontendSpec, seconds: float) -> NDArray[np.float32]:
    return front_end(spec)(ecapa.recording(seconds))


def read(toolkit: str, tensors: Tensors) -> Conversion:
    return READ[toolkit](tensors, where="model.ckpt")


def network(conversion: Conversion, **change: object) -> EcapaTdnn:
    spec = replace(EcapaSpec.from_json(conversion.network), **change)
    return EcapaTdnn.of(spec, {name: torch.tensor(tensor) for name, tensor in conversion.tensors.items()})


def in_one_batch(subject: EcapaTdnn, frontend: FrontendSpec, lengths: tuple[float, ...]) -> NDArray[np.float32]:
    rows = [features(frontend, seconds) for seconds in lengths]
    batch = np.full((len(rows), max(map(len, rows)), 80), 1e6, dtype=np.float32)
    for place, row in enumerate(rows):
        batch[place, : len(row)] = row
    with torch.inference_mode():
        embedded: NDArray[np.float32] = subject(torch.tensor(batch), torch.tensor([len(row) for row in rows])).numpy()
    return embedded


def distances(
    toolkit: str, case: str, ours: NDArray[np.float32], lengths: tuple[float, ...] = ()
) -> NDArray[np.float64]:
    theirs = np.array(
        [golden(f"ecapa-{toolkit}")[f"{case}/{seconds}"] for seconds in lengths or ecapa.lengths_of(case)]
    )
    distance: NDArray[np.float64] = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
    return distance


@pytest.mark.usefixtures("graphless")
@pytest.mark.parametrize(("toolkit", "case"), CASES)
def test_a_batch_of_unequal_lengths_gives_what_the_toolkit_gives_one_by_one(toolkit: str, case: str) -> None:
    conversion = read(toolkit, checkpoint(toolkit, case))
    ours = in_one_batch(network(conversion), conversion.frontend, ecapa.lengths_of(case))
    assert distances(toolkit, case, ours).max() < TOLERANCE


@pytest.mark.parametrize("toolkit", READ)
def test_features_are_the_toolkits(toolkit: str) -> None:
    for seconds in sorted({*ecapa.LENGTHS["small"], *ecapa.LENGTHS["full"]}):
        expected = dict(golden(f"ecapa-{toolkit}")[f"features/{seconds}"])
        ours = features(FRONT_ENDS[toolkit], seconds)
        assert len(ours) == expected.pop("frames")
        for place, row in expected.items():
            assert np.linalg.norm(ours[int(place)] - row) < TOLERANCE * np.linalg.norm(row)


@pytest.mark.usefixtures("graphless")
@pytest.mark.parametrize(
    "wrong",
    [
        {"padding": "zero"},
        {"dilations": (1, 2, 3, 3, 1)},
        {"passed_part": "last"},
        {"norm_first": True},
        {"context_deviation": "sample"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_wrong_design_is_not_taken_for_speechbrains(wrong: dict[str, object]) -> None:
    conversion = read("speechbrain", checkpoint("speechbrain", "small"))
    ours = in_one_batch(network(conversion, **wrong), conversion.frontend, SHORT)
    assert distances("speechbrain", "small", ours, SHORT).max() > TOLERANCE


@pytest.mark.usefixtures("graphless")
@pytest.mark.parametrize(
    "wrong",
    [
        {"window": "hann-periodic"},
        {"window": "hamming-symmetric"},
        {"mel_scale": "slaney"},
        {"mel_shape": "triangle"},
        {"padding": "reflect"},
        {"f_max": 7600.0},
        {"normalise": "mean-std"},
        {"range_db": None},
        {"log": "ln", "range_db": None},
    ],
    ids=lambda wrong: " ".join(map(str, wrong.items())),
)
def test_a_wrong_front_end_is_not_taken_for_speechbrains(wrong: dict[str, Any]) -> None:
    conversion = read("speechbrain", checkpoint("speechbrain", "small"))
    ours = in_one_batch(network(conversion), replace(known.SPEECHBRAIN, **wrong), SHORT)
    assert distances("speechbrain", "small", ours, SHORT).max() > TOLERANCE


@pytest.mark.usefixtures("graphless")
@pytest.mark.parametrize(
    "wrong",
    [{"window": "povey"}, {"scale": 1.0}, {"f_min": 0.0}, {"preemphasis": 0.95}, {"subtract_mean": False}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_wrong_front_end_is_not_taken_for_wespeakers(wrong: dict[str, Any]) -> None:
    conversion = read("wespeaker", checkpoint("wespeaker", "small"))
    ours = in_one_batch(network(conversion), replace(known.WESPEAKER, **wrong), SHORT)
    assert distances("wespeaker", "small", ours, SHORT).max() > TOLERANCE


@pytest.mark.usefixtures("graphless")
@pytest.mark.parametrize(
    ("toolkit", "norm"),
    [("speechbrain", "blocks.1.res2net_block.blocks.3.norm.norm"), ("speechbrain", "asp_bn.norm"), ("wespeaker", "bn")],
)
@pytest.mark.parametrize("statistic", ["running_mean", "running_var"])
def test_statistics_of_an_untrained_batchnorm_are_not_taken_for_the_models(
    toolkit: str, norm: str, statistic: str
) -> None:
    tensors = checkpoint(toolkit, "small")
    tensors[f"{norm}.{statistic}"] = np.full_like(tensors[f"{norm}.{statistic}"], statistic == "running_var")
    conversion = read(toolkit, tensors)
    ours = in_one_batch(network(conversion), conversion.frontend, SHORT)
    assert distances(toolkit, "small", ours, SHORT).max() > TOLERANCE


@pytest.mark.parametrize(("toolkit", "case"), CASES)
def test_the_key_map_names_all_tensors_that_the_toolkit_has(toolkit: str, case: str) -> None:
    assert ecapa.listing(ecapa_shapes(toolkit, spec_of(toolkit, case))) == golden(f"ecapa-{toolkit}")[f"{case}/tensors"]


@pytest.mark.usefixtures("graphless")
@pytest.mark.parametrize(("toolkit", "case"), CASES)
def test_the_design_is_worked_out_from_the_tensors(toolkit: str, case: str) -> None:
    conversion = read(toolkit, checkpoint(toolkit, case))
    assert EcapaSpec.from_json(conversion.network) == spec_of(toolkit, case)
    assert conversion.dim == spec_of(toolkit, case).dim
    assert conversion.frontend == FRONT_ENDS[toolkit]
    assert conversion.windowing is None


@pytest.mark.parametrize("toolkit", READ)
def test_a_checkpoints_toolkit_is_recognised(toolkit: str) -> None:
    assert ecapa_tdnn.recognise(checkpoint(toolkit, "small")) == toolkit


@pytest.mark.parametrize("names", [[], ["lstm.weight_ih_l0", "linear.bias"], ["blocks.0.conv.conv.weight"]])
def test_anothers_checkpoint_is_not_recognised(names: list[str]) -> None:
    assert ecapa_tdnn.recognise(names) is None


def _without(name: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        del tensors[name]

    return change


def _renamed(name: str, other: str) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[other] = tensors.pop(name)

    return change


def _with(name: str, made: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name] = made(tensors[name])

    return change


def _poisoned(tensor: NDArray[Any]) -> NDArray[Any]:
    tensor = tensor.copy()
    tensor.flat[-1] = np.nan
    return tensor


@pytest.mark.usefixtures("graphless")
@pytest.mark.parametrize(
    ("toolkit", "change", "complaint"),
    [
        ("speechbrain", _without("mfa.norm.norm.running_var"), r"missing mfa\.norm\.norm\.running_var$"),
        ("speechbrain", _without("fc.conv.weight"), r"missing fc\.conv\.weight$"),
        ("speechbrain", _without("blocks.0.conv.conv.weight"), r"missing blocks\.0\.conv\.conv\.weight$"),
        (
            "speechbrain",
            _renamed("asp.conv.conv.bias", "asp.conv.bias"),
            r"missing asp\.conv\.conv\.bias; not expected asp\.conv\.bias$",
        ),
        (
            "speechbrain",
            _with("blocks.2.tdnn1.conv.conv.weight", lambda tensor: tensor[:-1]),
            r"of another shape blocks\.2\.tdnn1\.conv\.conv\.weight \(63, 64, 1\) instead of \(64, 64, 1\)$",
        ),
        (
            "speechbrain",
            _with("fc.conv.bias", lambda tensor: tensor[None]),
            r"of another shape fc\.conv\.bias \(1, 48\) instead of \(48,\)$",
        ),
        (
            "speechbrain",
            _with("asp_bn.norm.weight", lambda tensor: tensor.sum()),
            r"of another shape asp_bn\.norm\.weight \(\) instead of \(192,\)$",
        ),
        ("speechbrain", _with("asp_bn.norm.weight", _poisoned), r"not finite asp_bn\.norm\.weight$"),
        (
            "wespeaker",
            _without("layer3.se_res2block.1.bns.6.running_mean"),
            r"missing layer3\.se_res2block\.1\.bns\.6\.running_mean$",
        ),
        ("wespeaker", _renamed("linear.weight", "fc.weight"), r"missing linear\.weight; not expected fc\.weight$"),
        (
            "wespeaker",
            _with("layer2.se_res2block.1.convs.0.weight", lambda tensor: np.concatenate([tensor] * 2, axis=1)),
            r"of another shape layer2\.se_res2block\.1\.convs\.0\.weight \(8, 16, 3\) instead of \(8, 8, 3\)$",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(toolkit: str, change: Callable[[Tensors], None], complaint: str) -> None:
    tensors: Tensors = dict(checkpoint(toolkit, "small"))
    change(tensors)
    with pytest.raises(ModelError, match=rf"^model\.ckpt: its tensors do not fit: {complaint}"):
        read(toolkit, tensors)


@pytest.mark.usefixtures("graphless")
def test_whole_numbers_are_no_weights() -> None:
    tensors: Tensors = dict(checkpoint("speechbrain", "small"))
    tensors["asp_bn.norm.weight"] = tensors["asp_bn.norm.weight"].astype(np.int64)
    with pytest.raises(ModelError, match=r"asp_bn\.norm\.weight is int64"):
        read("speechbrain", tensors)


@pytest.mark.usefixtures("graphless")
def test_every_tensor_that_does_not_fit_is_counted_and_the_line_stays_short() -> None:
    tensors = {f"elsewhere.{number}": np.zeros(1) for number in range(200)}
    with pytest.raises(ModelError, match=r"missing .* and \d+ more; not expected .* and 195 more$") as caught:
        read("speechbrain", tensors)
    assert len(str(caught.value)) < 1500


@pytest.mark.usefixtures("graphless")
def test_a_layer_number_out_of_all_proportion_does_not_make_a_network_of_that_size() -> None:
    tensors: Tensors = dict(checkpoint("speechbrain", "small"))
    tensors["blocks.999999999.res2net_block.blocks.0.conv.conv.weight"] = np.zeros((8, 8, 3), dtype=np.float32)
    with pytest.raises(ModelError, match=r"not expected blocks\.999999999\."):
        read("speechbrain", tensors)


@pytest.mark.usefixtures("graphless")
@pytest.mark.parametrize("toolkit", READ)
def test_what_only_training_needs_is_left_out_and_noted(toolkit: str) -> None:
    tensors: Tensors = dict(checkpoint(toolkit, "small"))
    plain = read(toolkit, tensors)
    bulky: Tensors = {**tensors, "blocks.0.norm.norm.num_batches_tracked": np.array(7)}
    if toolkit == "wespeaker":
        bulky["projection.weight"] = np.zeros((3, 48), dtype=np.float32)
    conversion = read(toolkit, bulky)
    assert conversion.tensors.keys() == plain.tensors.keys()
    assert any("not needed" in note for note in conversion.notes)
    assert not any("not needed" in note for note in plain.notes)


@pytest.mark.usefixtures("graphless")
def test_a_speechbrain_checkpoint_with_a_classifier_in_it_is_refused() -> None:
    tensors: Tensors = {**checkpoint("speechbrain", "small"), "projection.weight": np.zeros((3, 48), dtype=np.float32)}
    with pytest.raises(ModelError, match=r"not expected projection\.weight$"):
        read("speechbrain", tensors)


@pytest.mark.usefixtures("graphless")
def test_half_precision_is_widened_and_noted() -> None:
    tensors = {name: tensor.astype(np.float16) for name, tensor in checkpoint("wespeaker", "small").items()}
    conversion = read("wespeaker", tensors)
    assert {tensor.dtype for tensor in conversion.tensors.values()} == {np.dtype(np.float32)}
    assert any("float32" in note for note in conversion.notes)


def test_without_torch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match=r"pip install 'vecsv\[torch\]'"):
        read("wespeaker", checkpoint("wespeaker", "small"))


def test_importing_the_family_does_not_import_torch() -> None:
    code = "import sys, vecsv.models.ecapa_tdnn; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the small SpeechBrain model, its graph included."""
    conversion = read("speechbrain", checkpoint("speechbrain", "small"))
    described = as_bundle(conversion, name="small", description="made up", licence="Apache-2.0", source={})
    return write_conversion(tmp_path_factory.mktemp("models") / "small", conversion, described)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch"])
def test_a_bundle_gives_what_the_toolkit_gives_on_every_engine(bundle: Path, engine: str) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    encoder = ecapa_tdnn.load(bundle, EngineSettings(engine=engine))
    prepared = [encoder.prepare(ecapa.recording(seconds)) for seconds in ecapa.lengths_of("small")]
    assert distances("speechbrain", "small", encoder.raw(prepared)).max() < TOLERANCE
    assert engine in encoder.engine.lower()
    assert np.allclose(np.linalg.norm(encoder.embed(prepared), axis=1), 1.0, atol=1e-6)


def test_a_bundle_is_whole_and_its_fingerprint_holds(bundle: Path) -> None:
    described = verify_bundle(bundle)
    assert (described.family, described.dim, described.sample_rate) == ("ecapa-tdnn", 48, 16000)


def test_a_bundles_module_is_the_same_network(bundle: Path) -> None:
    module = ecapa_tdnn.module(bundle)
    assert not module.training
    ours = in_one_batch(module, known.SPEECHBRAIN, ecapa.lengths_of("small"))
    assert distances("speechbrain", "small", ours).max() < TOLERANCE


@pytest.mark.usefixtures("graphless")
def test_another_padding_is_another_fingerprint() -> None:
    conversion = read("speechbrain", checkpoint("speechbrain", "small"))
    other = replace(conversion, network={**conversion.network, "padding": "zero"})
    described = [
        as_bundle(one, name="x", description="", licence="Apache-2.0", source={}).fingerprint
        for one in (conversion, other)
    ]
    assert described[0] != described[1]


def test_a_recording_of_fewer_frames_than_are_reflected_is_too_short(bundle: Path) -> None:
    encoder = ecapa_tdnn.load(bundle, EngineSettings(engine="onnxruntime"))
    speech = ecapa.recording(2.31)[4000:]
    from vecsv.audio.activity import Activity, detect
    from vecsv.errors import AudioError

    heard: Activity = detect(speech)
    assert encoder.prepare(speech[:640], heard).features.shape == (5, 80)
    with pytest.raises(AudioError, match="too short") as caught:
        encoder.prepare(speech[:639], heard)
    assert caught.value.code == "too-short"
    assert encoder.embed([Prepared(features(known.SPEECHBRAIN, 0.5)[:5], 0.05)]).shape == (1, 48)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"family": "ge2e"}, "is of the family ge2e, not ecapa-tdnn"),
        ({"network": {}}, "unknown or missing: aggregation_norm"),
    ],
)
def test_a_bundle_of_something_else_is_refused(
    bundle: Path, tmp_path: Path, change: dict[str, object], complaint: str
) -> None:
    values = json.loads((bundle / "bundle.json").read_text())
    (tmp_path / "bundle.json").write_text(json.dumps({**values, **change}))
    with pytest.raises(ModelError, match=complaint):
        ecapa_tdnn.load(tmp_path)


def test_a_module_of_damaged_tensors_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_bytes((bundle / "bundle.json").read_bytes())
    with pytest.raises(ModelError, match="pull the model again"):
        ecapa_tdnn.module(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((bundle / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ModelError, match="pull the model again"):
        ecapa_tdnn.module(tmp_path)
