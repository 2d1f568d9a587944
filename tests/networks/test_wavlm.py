from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests.fixtures import wavlm as folders  # noqa: E402
from vecsv.errors import ModelError  # noqa: E402
from vecsv.health.signals import speech_like  # noqa: E402
from vecsv.networks import wavlm  # noqa: E402
from vecsv.networks.wavlm_spec import WavLMSpec  # noqa: E402

torch.set_num_threads(1)


def ours(kind: str) -> wavlm.WavLMXVector:
    """The network with random weights, their head left out."""
    config = folders.CONFIGS[kind]
    spec = WavLMSpec.from_config(config)
    found = {wavlm.canonical_name(name): tensor for name, tensor in folders.weights(config).items()}
    return wavlm.with_tensors(spec, {name: torch.tensor(found[name]) for name in wavlm.expected_shapes(spec)})


def theirs(kind: str) -> Any:
    """The package's model with the same weights, nothing changed on it."""
    config = folders.CONFIGS[kind]
    model = transformers.WavLMForXVector(transformers.WavLMConfig(**config))
    model.load_state_dict({name: torch.tensor(tensor) for name, tensor in folders.weights(config).items()})
    return model.eval()


def run(module: Any, waves: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        result = module(torch.from_numpy(waves))
    return (result if isinstance(result, torch.Tensor) else result.embeddings).numpy()


def distance(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Largest distance, as a share of the expected row's length."""
    return float((np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)).max())


def cosine_distance(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    one, other = (rows.astype(np.float64) / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (found, expected))
    return float(np.square(one - other).sum(axis=1).max()) / 2.0


WAVES = np.stack([speech_like(1.7, seed) for seed in range(3)])


@pytest.mark.parametrize("kind", folders.CONFIGS)
def test_it_is_the_package_s_network(kind: str) -> None:
    expected = run(theirs(kind), WAVES)
    assert distance(run(ours(kind), WAVES), expected) < 1e-6
    # The recordings' embeddings are far enough apart for that to mean something.
    assert distance(expected[:1], expected[1:2]) > 1e-2


@pytest.mark.parametrize("kind", folders.CONFIGS)
def test_every_tensor_matters(kind: str) -> None:
    module = ours(kind)
    expected = run(module, WAVES[:1])
    insensitive = []
    for name, parameter in module.network.named_parameters():
        kept = parameter.detach().clone()
        # Keys are shifted for all frames alike by their bias, which attention's softmax takes out again.
        if name.endswith("k_proj.bias"):
            continue
        parameter.data = kept + 0.3 * torch.rand(parameter.shape, generator=torch.Generator().manual_seed(0))
        if not distance(run(module, WAVES[:1]), expected) > 2e-6:
            insensitive.append(name)
        parameter.data = kept
    assert insensitive == []


@pytest.mark.parametrize("tied", [True, False])
def test_the_last_layer_is_normalised_or_not_as_the_configuration_says(
    tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(ours("large"), WAVES)
    monkeypatch.setitem(folders.CONFIGS["large"], "tie_last_hidden_states", tied)
    assert distance(run(ours("large"), WAVES), run(theirs("large"), WAVES)) < 1e-6
    assert (distance(run(ours("large"), WAVES), expected) > 1e-3) == (not tied)


def test_a_package_that_cannot_take_the_last_layer_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(folders.CONFIGS["large"], "tie_last_hidden_states", False)
    # As if the field meant nothing to it.
    made = transformers.WavLMConfig.__init__
    monkeypatch.setattr(
        transformers.WavLMConfig,
        "__init__",
        lambda self, **rest: made(self, **{**rest, "tie_last_hidden_states": True}),
    )
    with pytest.raises(ModelError, match="the installed transformers has no tie_last_hidden_states"):
        ours("large")


@pytest.mark.parametrize("kind", folders.CONFIGS)
def test_recordings_of_one_length_share_a_batch_as_if_alone(kind: str) -> None:
    module = ours(kind)
    alone = np.concatenate([run(module, wave[None]) for wave in WAVES])
    assert cosine_distance(run(module, WAVES), alone) < 1e-10


def test_padding_would_change_an_embedding() -> None:
    module = ours("base")
    padded = np.pad(WAVES, ((0, 0), (0, 8000)))
    assert distance(run(module, padded), run(module, WAVES)) > 1e-3


@pytest.mark.parametrize("kind", folders.CONFIGS)
def test_the_shortest_recording_is_just_long_enough(kind: str) -> None:
    module = ours(kind)
    shortest = WavLMSpec.from_config(folders.CONFIGS[kind]).min_samples
    assert np.isfinite(run(module, WAVES[:, :shortest])).all()
    # One frame has no standard deviation.
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert np.isnan(run(module, WAVES[:, : shortest - 1])).all()


def test_threads_do_not_mix_up_each_other_s_layers() -> None:
    module = ours("base")
    waves = [speech_like(1.0 + 0.1 * number, number)[None] for number in range(8)]
    expected = np.concatenate([run(module, wave) for wave in waves])
    with ThreadPoolExecutor(4) as pool:
        found = np.concatenate(list(pool.map(lambda wave: run(module, wave), waves)))
    assert distance(found, expected) < 1e-6


def test_the_head_over_speakers_of_its_training_is_not_part_of_it() -> None:
    names = wavlm.expected_shapes(WavLMSpec()).keys()
    assert not [name for name in names if name.startswith(("classifier", "objective"))]
    assert "wavlm.masked_spec_embed" not in names


def test_shapes_of_a_network_larger_than_vecsv_takes_are_refused_without_memory() -> None:
    spec = WavLMSpec(hidden_size=4096, num_hidden_layers=64, intermediate_size=16384, num_attention_heads=64)
    with pytest.raises(ModelError, match=r"its network holds \d+ numbers, but vecsv takes at most 1000000000"):
        wavlm.expected_shapes(spec)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_tensors_of_another_network_are_refused(change: str) -> None:
    spec = WavLMSpec.from_config(folders.CONFIGS["base"])
    tensors = {name: torch.zeros(shape) for name, shape in wavlm.expected_shapes(spec).items()}
    if change == "missing":
        del tensors["projector.bias"]
    elif change == "unknown":
        tensors["projector.scale"] = torch.zeros(1)
    else:
        tensors["projector.bias"] = torch.zeros(3)
    with pytest.raises(ModelError, match="its tensors are not those of its network"):
        wavlm.with_tensors(spec, tensors)


def test_the_graph_computes_the_same_for_any_length_and_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    import onnxruntime

    from vecsv.networks.export import onnx_graph

    # Writing a graph takes seconds, more with every layer: two of each kind have to do here.
    layers = {"conv_dim": [12, 12], "conv_kernel": [20, 12], "conv_stride": [16, 10]}
    tdnn = {"tdnn_dim": [20, 30], "tdnn_kernel": [5, 3], "tdnn_dilation": [1, 3]}
    monkeypatch.setitem(folders.CONFIGS, "shallow", {**folders.CONFIGS["large"], **layers, **tdnn})
    module = ours("shallow")
    graph = onnx_graph(
        module,
        torch.zeros(2, 16000),
        input_name="wave",
        output_name="embeddings",
        dynamic={0: "batch", 1: "samples"},
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", "samples"]
    for batch, seconds in ((1, 0.5), (3, 0.73), (1, 3.0), (2, 11.3), (1, 30.0)):
        waves = np.stack([speech_like(seconds, seed) for seed in range(batch)])
        (found,) = session.run(["embeddings"], {"wave": waves})
        assert cosine_distance(found, run(module, waves)) < 1e-9
