from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from torch import Tensor

torch = pytest.importorskip("torch")

from vecsv.errors import TrainingError  # noqa: E402
from vecsv.frontend.spec import LogMelSpec, MfccSpec, SpectrogramSpec, WaveformSpec  # noqa: E402
from vecsv.models.conversion import as_bundle, write_conversion  # noqa: E402
from vecsv.training.families.ecapa import EcapaTraining, start  # noqa: E402

SMALL = {
    "channels": [16, 16, 16, 48],
    "kernels": [5, 3, 3, 1],
    "dilations": [1, 2, 3, 1],
    "se_width": 8,
    "attention_width": 8,
    "dim": 12,
}


def weight(trainable: EcapaTraining) -> Tensor:
    tensor: Tensor = trainable.network.state_dict()["projection.weight"]
    return tensor


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    trainable = start(LogMelSpec(mels=20), SMALL, start_from=None, seed=3)
    conversion = trainable.conversion()
    bundle = as_bundle(conversion, name="first", description="", licence="unknown", source={})
    return write_conversion(tmp_path_factory.mktemp("bundle") / "first", conversion, bundle)


@pytest.mark.parametrize("front_end", [LogMelSpec(mels=20), MfccSpec(mels=30, coefficients=20), SpectrogramSpec()])
def test_the_network_is_as_wide_as_its_front_end(front_end: LogMelSpec | MfccSpec | SpectrogramSpec) -> None:
    trainable = start(front_end, SMALL, start_from=None, seed=0)
    bands = 201 if isinstance(front_end, SpectrogramSpec) else 20
    assert trainable.network(torch.zeros(2, 30, bands)).shape == (2, trainable.dim)


def test_every_parameter_is_in_one_group_and_norms_do_not_decay() -> None:
    trainable = start(LogMelSpec(mels=20), SMALL, start_from=None, seed=0)
    groups = trainable.groups()
    listed = [id(parameter) for group in groups for parameter in group.parameters]
    assert sorted(listed) == sorted(id(parameter) for parameter in trainable.network.parameters())
    decaying = {id(parameter) for group in groups if group.decays for parameter in group.parameters}
    for name, parameter in trainable.network.named_parameters():
        assert (id(parameter) in decaying) == (parameter.ndim > 1), name


def test_weights_follow_from_the_seed_and_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (start(LogMelSpec(mels=20), SMALL, start_from=None, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(weight(one), weight(same))
    assert not torch.equal(weight(one), weight(other))


def test_a_bundle_is_gone_on_from_with_its_weights_in_training_mode(folder: Path) -> None:
    trainable = start(LogMelSpec(mels=20), SMALL, start_from=folder, seed=9)
    fresh = start(LogMelSpec(mels=20), SMALL, start_from=None, seed=3)
    assert trainable.network.training
    assert all(parameter.requires_grad for parameter in trainable.network.parameters())
    np.testing.assert_array_equal(weight(trainable), fresh.network.state_dict()["projection.weight"])


def test_a_bundle_of_another_network_or_front_end_is_refused(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"another network than the configuration's: dim"):
        start(LogMelSpec(mels=20), {**SMALL, "dim": 16}, start_from=folder, seed=0)
    with pytest.raises(TrainingError, match="sees other features"):
        start(LogMelSpec(mels=20, log="ln", range_db=None), SMALL, start_from=folder, seed=0)


@pytest.mark.parametrize(
    ("network", "complaint"),
    [
        ({"variant": "resnet"}, "variant is 'resnet'"),
        ({"bands": 80}, "bands are the front end's"),
        ({"width": 3}, "unknown: width"),
        ({"dim": 0}, "dim is 0"),
        ({"dim": "wide"}, "dim is 'wide', which is no int"),
    ],
)
def test_networks_that_cannot_be_made_are_refused(network: dict[str, object], complaint: str) -> None:
    with pytest.raises(TrainingError, match=complaint):
        start(LogMelSpec(), network, start_from=None, seed=0)


def test_a_waveform_is_no_front_end_for_it() -> None:
    with pytest.raises(TrainingError, match="bands, not a waveform"):
        start(WaveformSpec(), SMALL, start_from=None, seed=0)
