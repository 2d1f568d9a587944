from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.networks.ecapa_reference import Reference
from vecsv.errors import ModelError
from vecsv.health.signals import drawn, uniform
from vecsv.networks.ecapa_spec import ORIGINAL, SPEECHBRAIN, VARIANTS, WESPEAKER_512_GLOBAL, EcapaSpec, tensor_shapes

if TYPE_CHECKING:
    import torch
else:
    torch = pytest.importorskip("torch")

from vecsv.networks.ecapa_tdnn import EcapaTdnn

SMALL = {"bands": 12, "channels": (16, 16, 16, 16, 24), "se_width": 6, "attention_width": 10, "dim": 14}
DESIGNS = {name: replace(spec, **SMALL) for name, spec in VARIANTS.items() if "1024" not in name} | {
    "norm first": replace(SPEECHBRAIN, **SMALL, norm_first=True),
    "uneven": replace(SPEECHBRAIN, **{**SMALL, "channels": (10, 16, 24, 8, 30)}, kernels=(3, 5, 3, 1, 3)),
    "two blocks": replace(
        ORIGINAL, **{**SMALL, "channels": (12, 12, 12, 20)}, scale=3, kernels=(5, 3, 3, 1), dilations=(2, 1, 3, 1)
    ),
}
every_design = pytest.mark.parametrize("spec", DESIGNS.values(), ids=DESIGNS)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def network(spec: EcapaSpec) -> EcapaTdnn:
    return EcapaTdnn.of(spec, {name: torch.tensor(tensor) for name, tensor in drawn(tensor_shapes(spec)).items()})


def recordings(*frames: int, bands: int = 12) -> list[NDArray[np.float64]]:
    return [uniform((count, bands), 31 * count + place, -4.0, 4.0) for place, count in enumerate(frames)]


def padded(features: list[NDArray[np.float64]], filler: float) -> torch.Tensor:
    batch = np.full((len(features), max(map(len, features)) + 3, features[0].shape[1]), filler)
    for row, one in enumerate(features):
        batch[row, : len(one)] = one
    return torch.tensor(batch)


def relative(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


@every_design
def test_it_computes_the_papers_equations(spec: EcapaSpec) -> None:
    reference = Reference(spec, drawn(tensor_shapes(spec)))
    doubled = network(spec).double()
    for one in recordings(spec.min_frames, 9, 40):
        with torch.inference_mode():
            ours = doubled(torch.tensor(one)[None])[0].numpy()
        assert relative(ours, reference(one)) < 1e-12


@pytest.mark.parametrize(
    "wrong",
    [
        {"padding": "zero"},
        {"dilations": (1, 2, 3, 3, 1)},
        {"passed_part": "last"},
        {"norm_first": True},
        {"context_deviation": "sample"},
        {"attention_norm": False},
        {"aggregation_norm": False},
        {"variance_floor": 1.0},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_wrong_choice_in_the_design_shows(wrong: dict[str, object]) -> None:
    right = DESIGNS["speechbrain"]
    tensors = drawn(tensor_shapes(right))
    other = replace(right, **wrong)
    (one,) = recordings(9)
    kept = {name: torch.tensor(tensors[name]) for name in tensor_shapes(other)}
    with torch.inference_mode():
        ours = EcapaTdnn.of(other, kept)(torch.tensor(one, dtype=torch.float32)[None])[0].numpy()
    assert relative(ours, Reference(right, tensors)(one)) > 1e-3


@pytest.mark.parametrize("filler", [0.0, 1e6, float("nan"), float("inf")])
@every_design
def test_padding_changes_nothing(spec: EcapaSpec, filler: float) -> None:
    features = recordings(25, spec.min_frames, 40, 11, 39)
    lengths = torch.tensor([len(one) for one in features])
    subject = network(spec)
    with torch.inference_mode():
        together = subject(padded(features, filler).float(), lengths).numpy()
        alone = [subject(torch.tensor(one, dtype=torch.float32)[None])[0].numpy() for one in features]
    for row, by_itself in zip(together, alone, strict=True):
        assert relative(row, by_itself) < 2e-6


def test_the_order_of_a_batch_changes_nothing() -> None:
    features = recordings(25, 7, 40, 11)
    lengths = torch.tensor([len(one) for one in features])
    subject, order = network(DESIGNS["speechbrain"]), torch.tensor([2, 0, 3, 1])
    batch = padded(features, 5.0).float()
    with torch.inference_mode():
        straight, shuffled = subject(batch, lengths), subject(batch[order], lengths[order])
    assert torch.allclose(straight[order], shuffled, rtol=1e-5, atol=1e-6)


@every_design
def test_full_lengths_are_the_same_as_none(spec: EcapaSpec) -> None:
    batch = torch.tensor(np.stack(recordings(20, 20))).float()
    subject = network(spec)
    with torch.inference_mode():
        masked, plain = subject(batch, torch.tensor([20, 20])), subject(batch)
    assert relative(masked.numpy(), plain.numpy()) < 2e-6


@every_design
def test_frames_that_do_not_count_get_no_gradient(spec: EcapaSpec) -> None:
    batch = padded(recordings(20, 9), 2.0).requires_grad_()
    network(spec).double()(batch, torch.tensor([20, 9])).square().sum().backward()
    assert batch.grad is not None
    assert not batch.grad[0, 20:].any()
    assert not batch.grad[1, 9:].any()
    assert batch.grad[0, :20].any(dim=1).all()
    assert batch.grad[1, :9].any(dim=1).all()


def test_the_gradient_is_that_of_the_recording_alone() -> None:
    features = recordings(20, 9)
    subject = network(DESIGNS["speechbrain"]).double()
    batch, alone = padded(features, 2.0).requires_grad_(), torch.tensor(features[1]).requires_grad_()
    subject(batch, torch.tensor([20, 9]))[1].square().sum().backward()
    subject(alone[None]).square().sum().backward()
    assert batch.grad is not None
    assert alone.grad is not None
    assert torch.allclose(batch.grad[1, :9], alone.grad, rtol=1e-9, atol=1e-12)
    assert not batch.grad[0].any()


@every_design
def test_training_reaches_every_parameter_and_updates_the_statistics(spec: EcapaSpec) -> None:
    subject = network(spec).train()
    before = subject.state_dict()["pooling_norm.running_mean"].clone()
    subject(torch.tensor(np.stack(recordings(20, 20, 20))).float())[:, 0].square().sum().backward()
    untouched = [name for name, value in subject.named_parameters() if value.grad is None]
    assert not untouched
    assert all(torch.isfinite(value.grad).all() for value in subject.parameters())
    assert not torch.equal(before, subject.state_dict()["pooling_norm.running_mean"])


def test_training_on_padded_batches_is_refused() -> None:
    subject = network(DESIGNS["original"]).train()
    with pytest.raises(ValueError, match="give no lengths"):
        subject(torch.zeros(2, 20, 12), torch.tensor([20, 10]))


@pytest.mark.parametrize("spec", VARIANTS.values(), ids=VARIANTS)
def test_its_tensors_are_the_listed_ones(spec: EcapaSpec) -> None:
    with torch.device("meta"):
        state = EcapaTdnn(spec).state_dict()
    found = {name: tuple(tensor.shape) for name, tensor in state.items() if "num_batches" not in name}
    assert found == tensor_shapes(spec)


def test_fewer_frames_than_are_reflected_do_not_pass() -> None:
    spec = DESIGNS["speechbrain"]
    with pytest.raises(RuntimeError, match=r"[Pp]adding"):
        network(spec)(torch.zeros(1, spec.min_frames - 1, 12))


def test_one_frame_has_no_sample_deviation() -> None:
    subject = network(replace(WESPEAKER_512_GLOBAL, **SMALL))
    with pytest.raises(ZeroDivisionError):
        subject(torch.ones(1, 1, 12))


def test_half_precision_stays_close() -> None:
    subject = network(DESIGNS["speechbrain"])
    features = recordings(60, 33)
    batch, lengths = padded(features, 0.0).float(), torch.tensor([60, 33])
    with torch.inference_mode():
        full = subject(batch, lengths)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = subject(batch, lengths)
    assert torch.nn.functional.cosine_similarity(full, half.float()).min() > 1.0 - 1e-3


@pytest.mark.parametrize("change", ["missing", "renamed", "misshapen"])
def test_tensors_of_another_network_are_refused(change: str) -> None:
    spec = DESIGNS["original"]
    tensors = {name: torch.tensor(tensor) for name, tensor in drawn(tensor_shapes(spec)).items()}
    taken = tensors.pop("projection.weight")
    if change == "renamed":
        tensors["projection.weights"] = taken
    if change == "misshapen":
        tensors["projection.weight"] = taken.T
    with pytest.raises(ModelError, match=r"projection\.weight"):
        EcapaTdnn.of(spec, tensors)
