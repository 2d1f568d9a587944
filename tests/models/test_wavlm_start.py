from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tests.fixtures import wavlm as folders  # noqa: E402
from vecsv.errors import ModelError  # noqa: E402
from vecsv.frontend.spec import WaveformSpec  # noqa: E402
from vecsv.models.bundle import TENSORS_FILE  # noqa: E402
from vecsv.models.conversion import Conversion, as_bundle, write_conversion  # noqa: E402
from vecsv.models.wavlm_start import FreshHead, read_start  # noqa: E402
from vecsv.models.windows import POOLING  # noqa: E402
from vecsv.networks import wavlm as networks  # noqa: E402

torch.set_num_threads(1)

Tensors = dict[str, NDArray[Any]]

BODY = "wavlm."


def bare(tensors: Tensors) -> Tensors:
    """As ``WavLMModel`` keeps them: nothing above the transformer, and no name for what it is in."""
    return {name.removeprefix(BODY): tensor for name, tensor in tensors.items() if name.startswith(BODY)}


def below_another_head(tensors: Tensors) -> Tensors:
    body = {name: tensor for name, tensor in tensors.items() if name.startswith(BODY)}
    return {**body, "lm_head.weight": np.zeros((4, 24), np.float32), "lm_head.bias": np.zeros(4, np.float32)}


def write_plain(
    folder: Path, kind: str, *, architecture: str = "WavLMModel", layout: Callable[[Tensors], Tensors] = bare
) -> Path:
    """A WavLM without an x-vector head, its configuration as the package writes one."""
    weights = {**folders.weights(folders.CONFIGS[kind]), "wavlm.masked_spec_embed": np.ones(24, np.float32)}
    config = {**folders.CONFIGS[kind], "architectures": [architecture], "use_weighted_layer_sum": False}
    return folders.write_folder(folder, config, layout(weights))


def as_written(kind: str) -> Mapping[str, Any]:
    tensors = folders.weights(folders.CONFIGS[kind])
    return {networks.canonical_name(name): tensor for name, tensor in tensors.items() if name.startswith(BODY)}


@pytest.mark.parametrize("layout", [bare, below_another_head])
@pytest.mark.parametrize("kind", folders.CONFIGS)
def test_a_wavlm_without_an_x_vector_head_gives_its_transformer(
    kind: str, layout: Callable[[Tensors], Tensors], tmp_path: Path
) -> None:
    architecture = "WavLMModel" if layout is bare else "WavLMForCTC"
    found = read_start(write_plain(tmp_path / "plain", kind, architecture=architecture, layout=layout))
    expected = as_written(kind)
    assert not found.has_head
    assert found.tensors.keys() == {name for name in expected if "masked_spec_embed" not in name}
    assert all(np.array_equal(tensor, expected[name]) for name, tensor in found.tensors.items())
    assert found.spec.use_weighted_layer_sum
    assert found.spec.tie_last_hidden_states
    assert any("masked_spec_embed" in note for note in found.notes)
    assert any("lm_head.bias" in note for note in found.notes) == (layout is below_another_head)


@pytest.mark.parametrize("kind", folders.CONFIGS)
def test_with_a_new_head_its_frames_are_those_of_the_package(kind: str, tmp_path: Path) -> None:
    folder = write_plain(tmp_path / "plain", kind)
    found = read_start(folder)
    head = networks.fresh_head(found.spec, torch.Generator().manual_seed(0))
    tensors = {name: torch.tensor(tensor) for name, tensor in found.tensors.items()}
    network = networks.with_tensors(found.spec, {**tensors, **head})
    package: Any = transformers.WavLMModel.from_pretrained(folder).eval()
    wave = torch.linspace(-0.5, 0.5, 9000)[None].sin()
    with torch.inference_mode():
        ours = network.network.wavlm(wave).last_hidden_state
        theirs = package(wave).last_hidden_state
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_head_that_is_there_is_kept_unless_another_is_asked_for(tmp_path: Path) -> None:
    config = folders.CONFIGS["base"]
    folder = folders.write_folder(tmp_path / "whole", config, folders.weights(config))
    kept = read_start(folder, FreshHead(dim=7))
    assert kept.has_head
    assert kept.spec.xvector_output_dim == 16
    assert "projector.weight" in kept.tensors
    drawn = read_start(folder, FreshHead(dim=7, all_layers=False), redraw=True)
    assert not drawn.has_head
    assert (drawn.spec.xvector_output_dim, drawn.spec.use_weighted_layer_sum) == (7, False)
    assert all(name.startswith(BODY) for name in drawn.tensors)


def test_a_large_wavlm_of_any_version_can_be_given_a_head(tmp_path: Path) -> None:
    # Together with a mean of all layers these are two networks: but that mean is the new head's own.
    folder = write_plain(tmp_path / "plain", "large")
    config = json.loads((folder / "config.json").read_text())
    del config["tie_last_hidden_states"]
    (folder / "config.json").write_text(json.dumps({**config, "use_weighted_layer_sum": True}))
    assert read_start(folder).spec.tie_last_hidden_states


def bundle(folder: Path, family: str = "wavlm-xvector") -> Path:
    config = folders.CONFIGS["base"]
    found = read_start(folders.write_folder(folder.with_name("source"), config, folders.weights(config)))
    conversion = Conversion(
        family=family,
        dim=16,
        frontend=WaveformSpec(normalise=False),
        tensors=found.tensors,
        network=found.spec.to_json(),
        graph=None,
        pooling=POOLING,
    )
    described = as_bundle(conversion, name="mine", description="mine", licence="MIT", source={"repo": "a/b"})
    return write_conversion(folder, conversion, described)


def test_a_bundle_is_as_good_as_the_folder_it_came_from(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "mine")
    found, source = read_start(folder), read_start(tmp_path / "source")
    assert found.has_head
    assert found.spec == source.spec
    assert found.frontend == WaveformSpec(normalise=False)
    assert (found.licence, found.source["licence"], found.source["model"]) == ("MIT", "MIT", "mine")
    assert found.source["source"] == {"repo": "a/b"}
    assert all(np.array_equal(tensor, source.tensors[name]) for name, tensor in found.tensors.items())


def test_a_bundle_of_another_family_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is of the family ge2e, not wavlm-xvector"):
        read_start(bundle(tmp_path / "other" / "mine", family="ge2e"))
    folder = bundle(tmp_path / "damaged" / "mine")
    held = load_file(folder / TENSORS_FILE)
    held["projector.bias"] += 1.0
    save_file(held, folder / TENSORS_FILE)
    with pytest.raises(ModelError, match="is not the file that the bundle was made with"):
        read_start(folder)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model_type": "hubert"}, r"config\.json: model_type is 'hubert', expected 'wavlm'"),
        ({"add_adapter": True}, "has an adapter"),
        ({"num_hidden_layers": 3}, r"do not fit: missing wavlm\.encoder\.layers\.2"),
        ({"num_hidden_layers": 1}, r"do not fit: not expected wavlm\.encoder\.layers\.1"),
        ({"hidden_size": 10**12}, "hidden_size is 1000000000000"),
    ],
)
def test_another_network_is_refused(change: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    folder = write_plain(tmp_path / "plain", "base")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(ModelError, match=complaint):
        read_start(folder)


def test_a_head_out_of_range_and_a_folder_that_is_not_there_are_refused(tmp_path: Path) -> None:
    folder = write_plain(tmp_path / "plain", "base")
    with pytest.raises(ModelError, match="plain: xvector_output_dim is 0, but has to be between 1 and 4096"):
        read_start(folder, FreshHead(dim=0))
    with pytest.raises(ModelError, match="nowhere: there is no such folder"):
        read_start(tmp_path / "nowhere")
