from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests.fetching import hub_server  # noqa: E402
from tests.fixtures import wavlm as folders  # noqa: E402
from tests.models import hub_models  # noqa: E402
from vecsv.engines.protocol import EngineSettings  # noqa: E402
from vecsv.errors import ModelError, TrainingError  # noqa: E402
from vecsv.health.signals import speech_like  # noqa: E402
from vecsv.models import wavlm_xvector  # noqa: E402
from vecsv.models.bundle import ONNX_FILE, read_bundle, verify_bundle  # noqa: E402
from vecsv.models.conversion import as_bundle, write_conversion  # noqa: E402
from vecsv.networks import wavlm as networks  # noqa: E402
from vecsv.networks.wavlm_spec import WavLMSpec  # noqa: E402
from vecsv.training.families.wavlm import WavLMFineTuning, WavLMTraining, start  # noqa: E402
from vecsv.training.learner import Learner  # noqa: E402
from vecsv.training.losses import MarginHead  # noqa: E402
from vecsv.training.specs import LossSpec  # noqa: E402

torch.set_num_threads(1)

WAVES = torch.from_numpy(np.stack([speech_like(0.7, seed) for seed in range(4)]))
LABELS = torch.tensor([0, 1, 2, 3])

# As "large", but its head sees the last layer before its normalisation, which then nothing depends on.
UNTIED = {**folders.CONFIGS["large"], "use_weighted_layer_sum": True, "tie_last_hidden_states": False}
# No larger than it has to be: each layer takes its time to be written as a graph.
TINY = {
    **folders.CONFIGS["base"],
    "num_hidden_layers": 1,
    "conv_dim": [12, 12],
    "conv_stride": [16, 20],
    "conv_kernel": [16, 20],
    "tdnn_dim": [20],
    "tdnn_kernel": [3],
    "tdnn_dilation": [2],
}
CONFIGS = {**folders.CONFIGS, "untied": UNTIED}

FREE = WavLMTraining(frozen_epochs=0, freeze_feature_encoder=False)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders as Hugging Face keeps them, by the names of `CONFIGS`."""
    made = tmp_path_factory.mktemp("models")
    return {
        kind: folders.write_folder(made / kind, config, folders.weights(config)) for kind, config in CONFIGS.items()
    }


@pytest.fixture
def graphless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the ONNX graph out, which takes seconds to make."""

    def refuse(*_: object) -> bytes:
        raise ModelError("not asked for")

    monkeypatch.setattr(wavlm_xvector, "_graph", refuse)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    """A hub with a model on it, and an empty cache."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "VECSV_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VECSV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    with hub_server.serving(hub_server.Hub(hub_models.wavlm(tmp_path))) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def begun(folder: Path, settings: WavLMTraining = FREE, seed: int = 0) -> WavLMFineTuning:
    return start(settings, start_from=folder, seed=seed)


def embedded(trainable: WavLMFineTuning) -> Any:
    trainable.network.eval()
    with torch.inference_mode():
        return trainable.network(WAVES)


def inferred(kind: str) -> Any:
    """What the network that embeds gives, with the same weights."""
    spec = WavLMSpec.from_config(CONFIGS[kind])
    found = {networks.canonical_name(name): tensor for name, tensor in folders.weights(CONFIGS[kind]).items()}
    tensors = {name: torch.tensor(found[name]) for name in networks.expected_shapes(spec)}
    with torch.inference_mode():
        return networks.with_tensors(spec, tensors)(WAVES)


def parameters(trainable: WavLMFineTuning) -> Iterator[tuple[str, Any]]:
    return trainable.network.model.network.named_parameters()


def copied(trainable: WavLMFineTuning) -> dict[str, Any]:
    return {name: parameter.detach().clone() for name, parameter in parameters(trainable)}


def loss_of(trainable: WavLMFineTuning) -> Any:
    """A number that every dimension of every embedding has a say in, but not their lengths."""
    embeddings = torch.nn.functional.normalize(trainable.network(WAVES))
    return (embeddings * torch.linspace(-1.0, 1.0, embeddings.numel()).reshape(embeddings.shape)).sum()


def step(trainable: WavLMFineTuning) -> set[str]:
    """Take a step with a lot of decay, and tell which parameters it moved."""
    before = copied(trainable)
    optimiser = torch.optim.AdamW(trainable.network.parameters(), lr=1e-2, weight_decay=0.5)
    loss_of(trainable).backward()
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return {name for name, parameter in parameters(trainable) if not torch.equal(parameter, before[name])}


def within(names: set[str], *prefixes: str) -> set[str]:
    return {name for name in names if name.startswith(prefixes)}


HEAD = ("layer_weights", "projector.", "tdnn.", "feature_extractor.")


class TestTheNetwork:
    @pytest.mark.parametrize("kind", CONFIGS)
    def test_it_gives_exactly_the_embeddings_of_the_network_that_embeds(
        self, kind: str, models: dict[str, Path]
    ) -> None:
        assert torch.equal(embedded(begun(models[kind])), inferred(kind))

    def test_gradient_checkpointing_and_dropout_do_not_change_them(self, models: dict[str, Path]) -> None:
        settings = replace(FREE, gradient_checkpointing=True, dropout=0.5)
        assert torch.equal(embedded(begun(models["base"], settings)), inferred("base"))

    @pytest.mark.parametrize("kind", CONFIGS)
    def test_training_masks_nothing_and_leaves_no_layer_out(self, kind: str, models: dict[str, Path]) -> None:
        trainable = begun(models[kind])
        assert trainable.network.training
        assert torch.equal(trainable.network(WAVES).detach(), inferred(kind))

    def test_the_package_would_mask_and_leave_layers_out(self) -> None:
        torch.manual_seed(0)
        model = transformers.WavLMForXVector(transformers.WavLMConfig(**CONFIGS["large"]))
        model.load_state_dict(
            {name: torch.tensor(tensor) for name, tensor in folders.weights(CONFIGS["large"]).items()}
        )
        found = model.train()(WAVES).embeddings.detach()
        assert not torch.allclose(found, inferred("large"), atol=1e-3)

    def test_dropout_follows_from_pytorch_s_seed(self, models: dict[str, Path]) -> None:
        trainable = begun(models["base"], replace(FREE, dropout=0.3))
        found = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            found.append(trainable.network(WAVES).detach())
        assert torch.equal(found[0], found[1])
        assert not torch.allclose(found[0], found[2], atol=1e-3)

    def test_nothing_is_dropped_in_what_is_frozen(self, models: dict[str, Path]) -> None:
        trainable = begun(models["base"], WavLMTraining(frozen_epochs=1, dropout=0.3))
        assert torch.equal(trainable.network.train()(WAVES).detach(), inferred("base"))
        trainable.start_epoch(1)
        assert not torch.allclose(trainable.network(WAVES).detach(), inferred("base"), atol=1e-3)

    def test_the_front_end_is_that_of_the_model(self, tmp_path: Path) -> None:
        for normalise in (True, False):
            config = CONFIGS["base"]
            folder = folders.write_folder(
                tmp_path / str(normalise), config, folders.weights(config), normalise=normalise
            )
            assert begun(folder).front_end.normalise is normalise

    @pytest.mark.parametrize("kind", CONFIGS)
    def test_everything_that_learns_has_a_gradient(self, kind: str, models: dict[str, Path]) -> None:
        trainable = begun(models[kind])
        loss_of(trainable).backward()
        assert [name for name, one in parameters(trainable) if one.requires_grad and one.grad is None] == []
        still = {name for name, one in parameters(trainable) if not one.requires_grad}
        assert still == (within(set(copied(trainable)), "wavlm.encoder.layer_norm.") if kind == "untied" else set())

    def test_channels_that_never_fire_have_finite_gradients(self, models: dict[str, Path]) -> None:
        trainable = begun(models["base"])
        with torch.no_grad():
            trainable.network.model.network.tdnn[-1].kernel.bias[:7] = -1e3
        loss_of(trainable).backward()
        assert all(torch.isfinite(one.grad).all() for _, one in parameters(trainable))

    def test_brain_floats_give_finite_gradients_in_float32(self, models: dict[str, Path]) -> None:
        trainable = begun(models["base"])
        with torch.autocast("cpu", torch.bfloat16):
            found = trainable.network(WAVES)
            (found.float() * torch.linspace(-1.0, 1.0, found.shape[1])).sum().backward()
        assert torch.nn.functional.cosine_similarity(found.detach().float(), inferred("base")).min() > 0.99
        gradients = [one.grad for _, one in parameters(trainable)]
        assert all(one.dtype == torch.float32 and torch.isfinite(one).all() for one in gradients)


class TestGroups:
    @pytest.mark.parametrize("kind", CONFIGS)
    def test_every_parameter_is_in_exactly_one_group(self, kind: str, models: dict[str, Path]) -> None:
        trainable = begun(models[kind], WavLMTraining())
        held = [id(parameter) for group in trainable.groups() for parameter in group.parameters]
        assert len(held) == len(set(held))
        assert set(held) == {id(parameter) for parameter in trainable.network.parameters()}
        again = [id(parameter) for group in trainable.groups() for parameter in group.parameters]
        assert held == again
        assert len({group.name for group in trainable.groups()}) == len(trainable.groups())

    def test_rates_fall_with_depth(self, models: dict[str, Path]) -> None:
        trainable = begun(models["base"], WavLMTraining(body_rate=0.4, layer_decay=0.5))
        rates = {group.name.partition(",")[0]: group.rate for group in trainable.groups()}
        assert rates == {
            "feature encoder": 0.05,
            "projection": 0.1,
            "layer 1": 0.2,
            "layer 2": 0.4,
            "x-vector head": 1.0,
        }

    @pytest.mark.parametrize(
        ("kind", "name", "expected"),
        [
            ("base", "wavlm.encoder.layer_norm.weight", "projection"),
            ("large", "wavlm.encoder.layer_norm.weight", "layer 2"),
            ("base", "wavlm.encoder.pos_conv_embed.conv.bias", "projection"),
            ("base", "wavlm.feature_projection.projection.weight", "projection"),
            ("base", "wavlm.feature_extractor.conv_layers.0.conv.weight", "feature encoder"),
            ("base", "wavlm.encoder.layers.0.attention.rel_attn_embed.weight", "layer 1"),
            ("base", "feature_extractor.weight", "x-vector head"),
            ("base", "layer_weights", "x-vector head"),
        ],
    )
    def test_a_parameter_stands_where_it_takes_effect(
        self, kind: str, name: str, expected: str, models: dict[str, Path]
    ) -> None:
        trainable = begun(models[kind])
        wanted = dict(parameters(trainable))[name]
        (found,) = [group for group in trainable.groups() if any(one is wanted for one in group.parameters)]
        assert found.name.partition(",")[0] == expected

    def test_only_weights_of_layers_and_convolutions_decay(self, models: dict[str, Path]) -> None:
        trainable = begun(models["large"])
        named = {id(parameter): name for name, parameter in parameters(trainable)}
        decaying = {named[id(one)] for group in trainable.groups() if group.decays for one in group.parameters}
        assert "wavlm.encoder.layers.1.attention.q_proj.weight" in decaying
        assert "tdnn.0.kernel.weight" in decaying
        kept = set(named.values()) - decaying
        assert all(name.endswith(".weight") for name in decaying)
        assert not [name for name in decaying if "norm" in name or "rel_attn_embed" in name]
        assert within(kept, "wavlm.encoder.pos_conv_embed.conv.parametrizations.weight") == {
            f"wavlm.encoder.pos_conv_embed.conv.parametrizations.weight.original{part}" for part in (0, 1)
        }
        assert "wavlm.encoder.layers.0.attention.gru_rel_pos_const" in kept


class TestFreezing:
    def test_at_first_only_the_head_learns_then_all_but_the_feature_encoder(self, models: dict[str, Path]) -> None:
        trainable = begun(models["base"], WavLMTraining(frozen_epochs=2))
        everything = set(copied(trainable))
        assert not trainable.start_epoch(0)
        assert step(trainable) == within(everything, *HEAD)
        assert not trainable.start_epoch(1)
        assert step(trainable) == within(everything, *HEAD)
        assert trainable.start_epoch(2)
        assert step(trainable) == everything - within(everything, "wavlm.feature_extractor.")
        assert not trainable.start_epoch(3)

    def test_a_resumed_training_finds_its_epoch(self, models: dict[str, Path]) -> None:
        trainable = begun(models["base"], WavLMTraining(frozen_epochs=2))
        assert trainable.start_epoch(5)
        assert len(step(trainable)) > len(within(set(copied(trainable)), *HEAD))

    def test_the_feature_encoder_learns_where_it_is_not_frozen(self, models: dict[str, Path]) -> None:
        trainable = begun(models["base"], FREE)
        assert step(trainable) == set(copied(trainable))

    def test_the_first_layers_can_stay_as_they_are(self, models: dict[str, Path]) -> None:
        trainable = begun(models["base"], replace(FREE, frozen_layers=1))
        everything = set(copied(trainable))
        assert step(trainable) == within(everything, "wavlm.encoder.layers.1.", *HEAD)

    def test_what_is_frozen_keeps_nothing_for_gradients(self, models: dict[str, Path]) -> None:
        trainable = begun(models["base"], WavLMTraining())
        found = []
        body = trainable.network.model.network.wavlm
        body.register_forward_hook(lambda _module, _inputs, output: found.append(output.last_hidden_state))
        trainable.network(WAVES)
        trainable.start_epoch(1)
        body.feature_extractor.register_forward_hook(lambda _module, _inputs, output: found.append(output))
        trainable.network(WAVES)
        assert [one.requires_grad for one in found] == [False, False, True]

    @pytest.mark.parametrize("checkpointing", [True, False])
    def test_no_gradients_of_the_waveform_are_worked_out(self, checkpointing: bool, models: dict[str, Path]) -> None:
        trainable = begun(models["base"], replace(FREE, gradient_checkpointing=checkpointing))
        seen = []
        first = trainable.network.model.network.wavlm.feature_extractor.conv_layers[0]
        first.register_forward_pre_hook(lambda _module, taken: seen.append(taken[0].requires_grad))
        loss_of(trainable).backward()
        assert seen and not any(seen)
        assert first.conv.weight.grad is not None


class TestGradientCheckpointing:
    @pytest.mark.parametrize("settings", [FREE, WavLMTraining(frozen_epochs=0, frozen_layers=1)])
    @pytest.mark.parametrize("kind", ["base", "large"])
    def test_gradients_are_the_same(self, kind: str, settings: WavLMTraining, models: dict[str, Path]) -> None:
        found = []
        for checkpointing in (False, True):
            chosen = replace(settings, gradient_checkpointing=checkpointing, dropout=0.3)
            trainable = begun(models[kind], chosen)
            torch.manual_seed(7)
            loss_of(trainable).backward()
            found.append({name: one.grad for name, one in parameters(trainable) if one.requires_grad})
        kept, again = found
        assert kept.keys() == again.keys()
        for name, gradient in kept.items():
            assert torch.allclose(again[name], gradient, rtol=1e-5, atol=1e-7), name
        # Without the same dropout they would be others.
        torch.manual_seed(8)
        loss_of(trainable).backward()
        moved = dict(parameters(trainable))["projector.weight"].grad - again["projector.weight"]
        assert not torch.allclose(moved, kept["projector.weight"], rtol=1e-2)

    def test_layers_are_computed_again_in_training_only(self, models: dict[str, Path]) -> None:
        calls: dict[bool, int] = {}
        for checkpointing in (False, True):
            trainable = begun(models["base"], replace(FREE, gradient_checkpointing=checkpointing))
            counted = []
            layers = trainable.network.model.network.wavlm.encoder.layers
            for layer in layers:
                layer.feed_forward.register_forward_hook(lambda *_: counted.append(1))  # noqa: B023
            loss_of(trainable).backward()
            calls[checkpointing] = len(counted)
            counted.clear()
            embedded(trainable)
            assert len(counted) == len(layers)
        assert calls == {False: 2, True: 4}


class TestLearning:
    def test_steps_of_am_softmax_lower_the_loss(self, models: dict[str, Path]) -> None:
        trainable = begun(models["base"], WavLMTraining(frozen_epochs=0, body_rate=0.5))
        spec = LossSpec(kind="am", margin=0.4, scale=30.0)
        head = MarginHead(trainable.dim, 4, spec, generator=torch.Generator().manual_seed(0))
        learner = Learner(trainable.front_end, trainable.network, head).train()
        optimiser = torch.optim.AdamW(
            [
                *({"params": list(group.parameters), "lr": 3e-3 * group.rate} for group in trainable.groups()),
                {"params": list(head.parameters()), "lr": 3e-3},
            ]
        )
        losses = []
        for _ in range(30):
            scored = learner(WAVES, LABELS, torch.zeros(4, 0, 2), torch.zeros(4, 0, 2), spec.margin)
            losses.append(scored.loss.item())
            scored.loss.backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        assert losses[0] > 10.0
        assert losses[-1] < 0.5 * losses[0]
        assert all(math.isfinite(one) for one in losses)


class TestConversion:
    def test_a_fine_tuned_bundle_gives_the_same_embeddings(self, tmp_path: Path) -> None:
        pytest.importorskip("onnxscript")
        source = folders.write_folder(tmp_path / "tiny", TINY, folders.weights(TINY))
        before = embedded(begun(source)).numpy()
        trainable = begun(source)
        for _ in range(2):
            step(trainable)
        conversion = trainable.conversion()
        bundle = as_bundle(conversion, name="tuned", description="tuned", licence="MIT", source={"kind": "training"})
        folder = write_conversion(tmp_path / "tuned", conversion, bundle)
        assert ONNX_FILE in verify_bundle(folder).sha256
        waves = WAVES.numpy()
        scaled = (waves - waves.mean(axis=1, keepdims=True)) / np.sqrt(waves.var(axis=1, keepdims=True) + 1e-7)
        trainable.network.eval()
        with torch.inference_mode():
            expected = trainable.network(torch.from_numpy(scaled)).numpy()
        for engine in ("onnxruntime", "torch"):
            model = wavlm_xvector.load(folder, EngineSettings(engine=engine))
            found = model.raw([model.prepare(wave) for wave in waves])
            assert cosine_distance(found, expected) < 1e-5
        assert cosine_distance(before, embedded(trainable).numpy()) > 1e-3
        # It can be trained further, from where it is.
        assert torch.equal(embedded(begun(folder)), embedded(trainable))

    @pytest.mark.parametrize("kind", ["large", "untied"])
    @pytest.mark.usefixtures("graphless")
    def test_converting_leaves_the_network_as_it_is(self, kind: str, models: dict[str, Path], tmp_path: Path) -> None:
        trainable = begun(models[kind])
        step(trainable)
        before = copied(trainable)
        conversion = trainable.conversion()
        learning = [name for name, one in parameters(trainable) if one.requires_grad]
        bundle = as_bundle(conversion, name="tuned", description="tuned", licence="MIT", source={})
        folder = write_conversion(tmp_path / "tuned", conversion, bundle)
        assert trainable.network.training
        assert len(learning) > 50
        # Nor do later steps reach into what was converted.
        step(trainable)
        with torch.no_grad():
            for name, parameter in parameters(trainable):
                parameter.copy_(before[name])
        with torch.inference_mode():
            found = wavlm_xvector.torch_module(folder)(WAVES)
        assert torch.equal(found, embedded(trainable))
        assert torch.equal(embedded(begun(folder)), found)


class TestAFreshHead:
    def test_follows_from_the_seed_and_from_nothing_else(self, models: dict[str, Path]) -> None:
        settings = replace(FREE, fresh_head=True)
        torch.manual_seed(1)
        drawn = copied(begun(models["base"], settings, seed=3))
        state = torch.random.get_rng_state()
        torch.manual_seed(2)
        again = copied(begun(models["base"], settings, seed=3))
        other = copied(begun(models["base"], settings, seed=4))
        assert all(torch.equal(drawn[name], again[name]) for name in drawn)
        different = {name for name in drawn if not torch.equal(drawn[name], other[name])}
        assert different == {name for name in within(set(drawn), *HEAD) if name.endswith(".weight")}
        torch.manual_seed(1)
        begun(models["base"], settings, seed=3)
        assert torch.equal(state, torch.random.get_rng_state())

    def test_keeps_numbers_of_the_size_they_have(self, models: dict[str, Path]) -> None:
        trainable = begun(models["base"], replace(FREE, fresh_head=True))
        sizes = []
        network = trainable.network.model.network
        for module in (network.projector, *network.tdnn, network.feature_extractor):
            module.register_forward_hook(lambda _, taken, given: sizes.append((size(taken[0]), size(given))))
        embedded(trainable)
        assert len(sizes) == 5
        assert all(0.3 < given / taken < 3.0 for taken, given in sizes)

    def test_can_be_of_another_width_and_see_the_last_layer_only(self, models: dict[str, Path]) -> None:
        settings = replace(FREE, fresh_head=True, dim=5, all_layers=False)
        trainable = begun(models["base"], settings)
        assert trainable.dim == 5
        assert embedded(trainable).shape == (4, 5)
        assert "layer_weights" not in copied(trainable)


class TestStarting:
    def test_it_tells_what_it_starts_from(self, models: dict[str, Path], tmp_path: Path, graphless: None) -> None:
        said: list[str] = []
        trainable = start(FREE, start_from=models["base"], seed=0, on_message=said.append)
        assert said[0] == f"starting from {models['base']}, with its own x-vector head"
        assert trainable.source == {"folder": "base", "weights": "model.safetensors"}
        conversion = trainable.conversion()
        bundle = as_bundle(conversion, name="mine", description="mine", licence="CC-BY-SA-3.0", source={"kind": "x"})
        folder = write_conversion(tmp_path / "mine", conversion, bundle)
        said.clear()
        from_bundle = start(replace(FREE, fresh_head=True), start_from=folder, seed=0, on_message=said.append)
        assert said == [
            f"starting from {folder}, with a new x-vector head",
            "note: its licence is CC-BY-SA-3.0, which also binds what is made of it",
        ]
        assert from_bundle.source["fingerprint"] == read_bundle(folder).fingerprint

    def test_the_command_comes_before_the_configuration(self, models: dict[str, Path]) -> None:
        settings = replace(FREE, start_from=str(models["base"]))
        assert start(settings, start_from=None, seed=0).source["folder"] == "base"
        assert start(settings, start_from=str(models["large"]), seed=0).source["folder"] == "large"

    def test_a_name_is_that_of_a_model_in_the_cache(
        self, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graphless: None
    ) -> None:
        monkeypatch.setenv("VECSV_CACHE", str(tmp_path))
        trainable = begun(models["base"])
        conversion = trainable.conversion()
        bundle = as_bundle(conversion, name="mine", description="mine", licence="MIT", source={})
        write_conversion(tmp_path / "models" / "mine", conversion, bundle)
        assert torch.equal(embedded(start(FREE, start_from="mine", seed=0)), embedded(trainable))

    @pytest.mark.parametrize("name", [hub_server.REPO, f"hub:{hub_server.REPO}"])
    def test_a_repository_of_the_hub_is_fetched_and_pinned(self, name: str, hub: hub_server.Hub) -> None:
        settings = replace(FREE, start_from=name)
        with pytest.raises(ModelError, match="nobody has pinned"):
            start(settings, start_from=None, seed=0)
        trainable = start(replace(settings, trust_first_use=True), start_from=None, seed=0)
        assert torch.equal(embedded(trainable), inferred("base"))
        assert trainable.source["revision"] == hub_server.COMMIT
        assert trainable.source["files"]["model.safetensors"] == hub_server.digest(hub.files["model.safetensors"])

    def test_one_that_vecsv_knows_is_pinned_already(
        self, hub: hub_server.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graphless: None
    ) -> None:
        hub_models.write_card(tmp_path / "cards", "tiny", hub.files, family="wavlm-xvector", dim=16)
        hub_models.use_cards(tmp_path / "cards", monkeypatch)
        trainable = start(FREE, start_from=f"hub:{hub_server.REPO}", seed=0)
        assert trainable.source["model"] == "tiny"
        assert torch.equal(embedded(trainable), inferred("base"))

    @pytest.mark.parametrize(
        ("settings", "complaint"),
        [
            (WavLMTraining(frozen_layers=3), "network.frozen_layers is 3, but it has 2 layers"),
            (WavLMTraining(dim=5), "network.dim is 5, but its x-vector head gives 16 numbers"),
        ],
    )
    def test_settings_that_do_not_go_with_the_model_are_refused(
        self, settings: WavLMTraining, complaint: str, models: dict[str, Path]
    ) -> None:
        with pytest.raises(TrainingError, match=complaint):
            begun(models["base"], settings)

    def test_nothing_to_start_from_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VECSV_CACHE", str(tmp_path))
        with pytest.raises(TrainingError, match=r"needs a model to start from .*--start-from"):
            start(WavLMTraining(), start_from=None, seed=0)
        with pytest.raises(ModelError, match="there is no model 'no-such-model'"):
            start(WavLMTraining(), start_from="no-such-model", seed=0)
        with pytest.raises(ModelError, match="nobody has pinned someone/wavlm"):
            start(WavLMTraining(), start_from="someone/wavlm", seed=0)


class TestSettings:
    @pytest.mark.parametrize(
        ("values", "complaint"),
        [
            ({"frozen_epochs": -1}, "network: frozen_epochs is -1, but has to be at least 0"),
            ({"frozen_layers": -1}, "network: frozen_layers is -1"),
            ({"layer_decay": 0}, "network: layer_decay is 0.0, but has to be above 0 and at most 1"),
            ({"body_rate": 1.5}, "network: body_rate is 1.5"),
            ({"dropout": 1.0}, "network: dropout is 1.0, but has to be at least 0 and below 1"),
            ({"gradient_checkpointing": "yes"}, "network.gradient_checkpointing: is 'yes', which is no true or false"),
            ({"layers": 3}, r"network: unknown: layers \(it may hold start_from"),
        ],
    )
    def test_what_is_wrong_is_named_with_its_place(self, values: dict[str, Any], complaint: str) -> None:
        with pytest.raises(TrainingError, match=complaint):
            WavLMTraining.from_json(values)

    def test_a_mapping_becomes_settings(self) -> None:
        assert WavLMTraining.from_json({}) == WavLMTraining()
        found = WavLMTraining.from_json(
            {"layer_decay": 1, "start_from": None, "dim": 192, "gradient_checkpointing": True}
        )
        assert found == WavLMTraining(layer_decay=1.0, dim=192, gradient_checkpointing=True)


def size(values: Any) -> float:
    return float(values.square().mean().sqrt())


def cosine_distance(found: Any, expected: Any) -> float:
    one, other = (rows.astype(np.float64) / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (found, expected))
    return float(np.square(one - other).sum(axis=1).max()) / 2.0
