from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vecsv.errors import TrainingError
from vecsv.health.signals import uniform
from vecsv.training.specs import LossSpec

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F  # noqa: N812 - what PyTorch's users call it
else:
    torch = pytest.importorskip("torch")
    F = torch.nn.functional

from vecsv.training.losses import MarginHead, Scored, carried_over

BATCH, DIM, CLASSES = 12, 3, 7
SPECS = {
    "aam": LossSpec("aam", margin=0.2),
    "aam wide": LossSpec("aam", margin=0.5, scale=64.0),
    "am": LossSpec("am", margin=0.4),
    "aam sub-centres": LossSpec("aam", margin=0.2, centres=3),
    "am sub-centres": LossSpec("am", margin=0.3, centres=2),
    "aam inter-top-k": LossSpec("aam", margin=0.2, top_k=3, top_k_penalty=0.3),
    "am inter-top-k": LossSpec("am", margin=0.2, top_k=2),
    "all of it": LossSpec("aam", margin=0.3, scale=20.0, centres=2, top_k=5, top_k_penalty=0.1),
    "no margin": LossSpec("aam", margin=0.0),
    "only a penalty": LossSpec("am", margin=0.0, top_k=2),
}
every_loss = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
every_kind = pytest.mark.parametrize("kind", ["aam", "am"])


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def head_of(spec: LossSpec, dim: int = DIM, classes: int = CLASSES) -> MarginHead:
    head = MarginHead(dim, classes, spec).double()
    head.weight.data.copy_(torch.tensor(uniform((classes, spec.centres, dim), 5, -2.0, 2.0)))
    return head


def batch_for(head: MarginHead, batch: int = BATCH) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings in all directions, some on the far side of their speaker and some very near it."""
    classes, _, dim = head.weight.shape
    labels = torch.tensor([(5 * place + 2) % classes for place in range(batch)])
    embeddings = torch.tensor(uniform((batch, dim), 11, -3.0, 3.0))
    right = head.weight.detach()[labels, 0]
    embeddings[:3] = 0.05 * embeddings[:3] - right[:3]
    embeddings[3:5] = 0.05 * embeddings[3:5] + right[3:5]
    return embeddings, labels


def angle(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """In a way that stays exact where the cosine is 1."""
    one, other = one / math.sqrt(one @ one), other / math.sqrt(other @ other)
    return 2.0 * math.atan2(math.sqrt(sum((one - other) ** 2)), math.sqrt(sum((one + other) ** 2)))


def reference(
    spec: LossSpec, weight: object, embeddings: object, labels: object, margin: float
) -> tuple[float, list[bool]]:
    """Loss and who is recognised, one crop and one speaker at a time."""
    losses, correct = [], []
    for embedding, label in zip(np.asarray(embeddings), np.asarray(labels), strict=True):
        angles = [min(angle(embedding, centre) for centre in centres) for centres in np.asarray(weight)]
        order = [other for other in sorted(range(len(angles)), key=lambda other: angles[other]) if other != label]
        penalty = spec.top_k_penalty * (margin / spec.margin if spec.margin > 0 else 1.0)
        logits = []
        for speaker, theta in enumerate(angles):
            cosine = math.cos(theta)
            if speaker == label and spec.kind == "am":
                cosine -= margin
            elif speaker == label:
                cosine = math.cos(theta + margin) if theta < math.pi - margin else cosine - 1 + math.cos(margin)
            elif speaker in order[: spec.top_k] and spec.kind == "am":
                cosine += penalty
            elif speaker in order[: spec.top_k]:
                cosine = math.cos(theta - penalty) if theta > penalty else cosine + 1 - math.cos(penalty)
            logits.append(spec.scale * cosine)
        losses.append(math.log(sum(math.exp(logit - logits[label]) for logit in logits)))
        correct.append(min(range(len(angles)), key=lambda speaker: angles[speaker]) == label)
    return float(np.mean(losses)), correct


# What it computes.


@every_loss
@pytest.mark.parametrize("part", [1.0, 0.4, 0.0], ids=["full", "warming up", "none yet"])
def test_it_computes_the_papers_loss(spec: LossSpec, part: float) -> None:
    head = head_of(spec)
    embeddings, labels = batch_for(head)
    loss, correct = reference(spec, head.weight.detach(), embeddings, labels, part * spec.margin)
    scored = head(embeddings, labels, part * spec.margin)
    assert scored.loss.item() == pytest.approx(loss, rel=1e-12)
    assert scored.correct.tolist() == correct
    single = copy.deepcopy(head).float()(embeddings.float(), labels, part * spec.margin)
    assert single.loss.dtype == torch.float32
    assert single.loss.item() == pytest.approx(loss, rel=2e-5)


@pytest.mark.parametrize(
    "changed",
    [{"kind": "am"}, {"margin": 0.31}, {"scale": 21.0}, {"centres": 1}, {"top_k": 4}, {"top_k_penalty": 0.11}],
    ids=str,
)
def test_every_setting_changes_the_loss(changed: dict[str, float | str]) -> None:
    spec = SPECS["all of it"]
    other = replace(spec, **changed)
    head = head_of(spec)
    embeddings, labels = batch_for(head)
    changed_head = head_of(other)
    changed_head.weight.data.copy_(head.weight.data[:, : other.centres])
    loss, _ = reference(spec, head.weight.detach(), embeddings, labels, spec.margin)
    assert changed_head(embeddings, labels, other.margin).loss.item() != pytest.approx(loss, rel=1e-6)


def test_the_batch_reaches_both_continuations() -> None:
    """Without this the comparisons with the reference would not see them."""
    spec = SPECS["aam inter-top-k"]
    head = head_of(spec)
    embeddings, labels = batch_for(head)
    cosines = head.cosines(embeddings).detach()
    right = cosines.gather(1, labels[:, None])
    assert (right < -math.cos(spec.margin)).sum() >= 2
    assert (cosines.scatter(1, labels[:, None], -1.0).max(1).values > math.cos(spec.top_k_penalty)).sum() >= 2


@every_loss
def test_the_original_designs_kl_divergence_is_cross_entropy(spec: LossSpec) -> None:
    """It sums the KL divergence from one-hot targets to the softmax and divides by the sum of the targets."""
    head = head_of(spec)
    embeddings, labels = batch_for(head)
    leaves = (embeddings.requires_grad_(), head.weight)
    ours = head(embeddings, labels, spec.margin).loss
    targets = F.one_hot(labels, CLASSES).double()
    guesses = torch.log_softmax(head.logits(head.cosines(embeddings), labels, spec.margin), dim=1)
    theirs = F.kl_div(guesses, targets, reduction="sum") / targets.sum()
    torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=0.0)
    torch.testing.assert_close(torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves))
    # Targets that are not one-hot have an entropy, and the two differ.
    soft = 0.9 * targets + 0.1 / CLASSES
    divergence = F.kl_div(guesses, soft, reduction="sum") / soft.sum()
    assert divergence.item() != pytest.approx(F.cross_entropy(guesses, soft).item(), rel=1e-3)


def test_without_a_margin_it_is_plain_softmax_of_cosines() -> None:
    head = head_of(LossSpec("aam", margin=0.0, scale=10.0))
    embeddings, labels = batch_for(head)
    cosines = F.cosine_similarity(embeddings[:, None], head.weight[:, 0][None], dim=2)
    expected = F.cross_entropy(10.0 * cosines, labels)
    torch.testing.assert_close(head(embeddings, labels, 0.0).loss, expected, rtol=1e-12, atol=0.0)


@every_loss
def test_only_directions_count(spec: LossSpec) -> None:
    head = head_of(spec)
    embeddings, labels = batch_for(head)
    expected = head(embeddings, labels, spec.margin).loss
    lengths = torch.tensor(uniform((BATCH, 1), 3, 0.01, 100.0))
    head.weight.data *= torch.tensor(uniform((CLASSES, spec.centres, 1), 4, 0.01, 100.0))
    torch.testing.assert_close(head(embeddings * lengths, labels, spec.margin).loss, expected)


@every_loss
def test_the_loss_of_a_batch_is_the_mean_of_its_parts_losses(spec: LossSpec) -> None:
    """What lets processes share a batch, and one process accumulate it."""
    head = head_of(spec)
    embeddings, labels = batch_for(head)
    whole = head(embeddings, labels, spec.margin)
    parts = [head(embeddings[part::3], labels[part::3], spec.margin) for part in range(3)]
    torch.testing.assert_close(sum(part.loss for part in parts) / 3, whole.loss)
    assert torch.stack([part.correct for part in parts]).T.flatten().tolist() == whole.correct.tolist()


# Who is recognised.


def test_recognition_knows_no_margin() -> None:
    head = head_of(LossSpec("aam", margin=1.5, top_k=3, top_k_penalty=1.0), dim=2, classes=2)
    head.weight.data.copy_(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))
    embeddings, labels = torch.tensor([[1.0, 0.9], [1.0, 1.1]], dtype=torch.float64), torch.tensor([0, 0])
    scored = head(embeddings, labels, 1.5)
    assert scored.correct.tolist() == [True, False]
    assert scored.correct.dtype == torch.bool
    logits = head.logits(head.cosines(embeddings), labels, 1.5)
    assert logits.argmax(dim=1).tolist() == [1, 1]


def test_a_speaker_is_as_near_as_the_nearest_sub_centre() -> None:
    head = head_of(LossSpec("am", centres=2), dim=2, classes=2)
    head.weight.data.copy_(torch.tensor([[[1.0, 0.0], [-1.0, 0.0]], [[0.0, 1.0], [0.0, 0.5]]]))
    cosines = head.cosines(torch.tensor([[-3.0, 0.0], [0.6, 0.8]], dtype=torch.float64))
    torch.testing.assert_close(cosines, torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64))


@every_kind
def test_the_penalty_is_for_the_nearest_wrong_speakers(kind: str) -> None:
    spec = LossSpec(kind, margin=0.2, scale=1.0, top_k=2, top_k_penalty=0.1)
    cosines = torch.tensor([[0.9, 0.1, 0.5, -0.2, 0.6], [0.9, 0.1, 0.5, -0.2, 0.6]], dtype=torch.float64)
    labels = torch.tensor([0, 3])
    gained = MarginHead(2, 5, spec).logits(cosines, labels, 0.2) - cosines
    assert (gained > 0).tolist() == [[False, False, True, False, True], [True, False, False, False, True]]
    assert (gained < 0).tolist() == [[True, False, False, False, False], [False, False, False, True, False]]


def test_more_nearest_speakers_than_there_are_wrong_ones_are_all_of_them() -> None:
    few, many = (LossSpec("am", top_k=top_k, top_k_penalty=0.5) for top_k in (CLASSES - 1, 1000))
    embeddings, labels = batch_for(head_of(few))
    torch.testing.assert_close(head_of(many)(embeddings, labels, 0.2), head_of(few)(embeddings, labels, 0.2))
    alone = head_of(many, classes=1)(embeddings, torch.zeros_like(labels), 0.2)
    assert alone.loss.item() == 0.0
    assert alone.correct.all()


def test_the_penalty_warms_up_with_the_margin() -> None:
    spec = LossSpec("am", margin=0.2, scale=1.0, top_k=1, top_k_penalty=0.08)
    head = MarginHead(2, 2, spec)
    cosines = torch.tensor([[0.5, 0.25]], dtype=torch.float64)
    logits = [head.logits(cosines, torch.tensor([0]), margin)[0].tolist() for margin in (0.0, 0.1, 0.2)]
    np.testing.assert_allclose(logits, [[0.5, 0.25], [0.4, 0.29], [0.3, 0.33]])


# The shape of a margin.

cosine = st.floats(-1.0, 1.0)
turn = st.floats(0.0, 1.5)


def right_logit(kind: str, cosine: float, margin: float) -> float:
    cosines = torch.tensor([[cosine, 0.0]], dtype=torch.float64)
    spec = LossSpec(kind, margin=margin, scale=1.0)
    return MarginHead(2, 2, spec).logits(cosines, torch.tensor([0]), margin)[0, 0].item()


def wrong_logit(kind: str, cosine: float, penalty: float) -> float:
    cosines = torch.tensor([[0.0, cosine]], dtype=torch.float64)
    spec = LossSpec(kind, margin=0.0, scale=1.0, top_k=1, top_k_penalty=penalty)
    return MarginHead(2, 2, spec).logits(cosines, torch.tensor([0]), 0.0)[0, 1].item()


# The rounding of a sine near 0 is that of a square root.
NEAR = 5e-8


@every_kind
@given(one=cosine, other=cosine, margin=turn)
@example(one=-1.0, other=-0.99, margin=1.0)
@example(one=1.0, other=0.9999999, margin=1.0)
@settings(max_examples=60)
def test_a_nearer_right_speaker_never_has_a_lower_logit(kind: str, one: float, other: float, margin: float) -> None:
    low, high = sorted((one, other))
    assert right_logit(kind, low, margin) <= right_logit(kind, high, margin) + NEAR


@every_kind
@given(one=cosine, other=cosine, penalty=st.floats(0.0, 1.0))
@example(one=1.0, other=0.9, penalty=1.0)
@settings(max_examples=60)
def test_a_nearer_wrong_speaker_never_has_a_lower_logit(kind: str, one: float, other: float, penalty: float) -> None:
    low, high = sorted((one, other))
    assert wrong_logit(kind, low, penalty) <= wrong_logit(kind, high, penalty) + NEAR


@every_kind
@given(cosine=cosine, margin=turn, less=st.floats(0.0, 1.0))
@settings(max_examples=60)
def test_a_larger_margin_is_never_easier(kind: str, cosine: float, margin: float, less: float) -> None:
    hard, easy = right_logit(kind, cosine, margin), right_logit(kind, cosine, margin * less)
    assert hard <= easy + NEAR
    assert easy <= cosine + NEAR
    penalty = margin / 1.5
    assert wrong_logit(kind, cosine, penalty) + NEAR >= wrong_logit(kind, cosine, penalty * less) >= cosine - NEAR


@given(margin=st.floats(0.01, 1.5))
@settings(max_examples=40)
def test_the_continuations_start_without_a_step(margin: float) -> None:
    for logit, edge, full in ((right_logit, -math.cos(margin), -1.0), (wrong_logit, math.cos(margin), 1.0)):
        if logit is wrong_logit and margin > 1.0:
            continue
        beside = [logit("aam", edge + shift, margin) for shift in (-1e-9, 1e-9)]
        np.testing.assert_allclose(beside, full, atol=1e-8)


# Gradients.


@every_loss
def test_gradients_are_those_of_finite_differences(spec: LossSpec) -> None:
    head = head_of(spec, classes=4)
    embeddings, labels = batch_for(head, batch=6)

    def loss(embeddings: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        scored = torch.func.functional_call(head, {"weight": weight}, (embeddings, labels, spec.margin))
        assert isinstance(scored, Scored)
        return scored.loss

    assert torch.autograd.gradcheck(loss, (embeddings.requires_grad_(), head.weight.detach().requires_grad_()))


@every_loss
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_gradients_stay_small_wherever_an_embedding_lies(spec: LossSpec, dtype: str) -> None:
    """At its speaker, opposite, almost there, and nowhere: slopes of angles have no bound there."""
    head = head_of(spec).float()
    labels = torch.tensor([0, 1, 2, 3, 4])
    right = head.weight.detach()[labels, 0]
    near = right + 1e-4 * torch.tensor(uniform((5, DIM), 9, -1.0, 1.0), dtype=torch.float32)
    places = torch.stack([right[0], -right[1], near[2], -near[3], torch.zeros(DIM)])
    embeddings = places.to(getattr(torch, dtype)).requires_grad_()
    scored = head(embeddings, labels, spec.margin)
    scored.loss.backward()
    assert torch.isfinite(scored.loss)
    assert embeddings.grad is not None
    assert head.weight.grad is not None
    # Per radian and speaker the loss changes by twice the scale at most.
    bound = 2.0 * spec.scale / len(labels)
    assert (embeddings.grad[:4].norm(dim=1) * places[:4].norm(dim=1)).max() <= 1.1 * bound
    assert (head.weight.grad.norm(dim=2) * head.weight.norm(dim=2)).max() <= 1.1 * bound * len(labels)
    assert torch.isfinite(embeddings.grad).all()


def test_single_precision_gradients_are_right_beside_a_centre() -> None:
    spec = LossSpec("aam", margin=0.5, scale=30.0)
    head = head_of(spec)
    labels = torch.arange(5)
    embeddings = head.weight.detach()[:5, 0] + 0.02 * torch.tensor(uniform((5, DIM), 9, -1.0, 1.0))
    grads = []
    for wide in (head, copy.deepcopy(head).float()):
        leaf = embeddings.detach().to(wide.weight.dtype).requires_grad_()
        wide(leaf, labels, spec.margin).loss.backward()
        assert leaf.grad is not None
        grads.append(leaf.grad.double())
    assert (grads[1] - grads[0]).norm() < 1e-3 * grads[0].norm()


def test_of_equal_sub_centres_one_learns() -> None:
    head = head_of(LossSpec("aam", centres=3))
    head.weight.data.copy_(head.weight.data[:, :1].expand(-1, 3, -1))
    embeddings, labels = batch_for(head)
    head(embeddings, labels, 0.2).loss.backward()
    assert head.weight.grad is not None
    assert ((head.weight.grad != 0).any(dim=2).sum(dim=1) == 1).all()


@every_kind
def test_a_margin_draws_voices_closer_to_their_speakers(kind: str) -> None:
    """Embeddings that are free to move, taught with a margin and without."""
    nearness = []
    for margin in (0.0, 0.4):
        head = head_of(LossSpec(kind, margin=margin, scale=8.0), dim=4)
        points = torch.tensor(uniform((14, 4), 2, -1.0, 1.0), requires_grad=True)
        labels = torch.arange(14) % CLASSES
        optimiser = torch.optim.Adam([points, head.weight], lr=0.1)
        for _ in range(60):
            optimiser.zero_grad()
            scored = head(points, labels, margin)
            scored.loss.backward()
            optimiser.step()
        assert scored.correct.all()
        nearness.append(head.cosines(points).gather(1, labels[:, None]).mean().item())
    assert nearness[1] > nearness[0] + 0.005


# Mixed precision.


@every_loss
def test_autocast_changes_nothing(spec: LossSpec) -> None:
    head = head_of(spec).float()
    embeddings, labels = (tensor.float() if tensor.is_floating_point() else tensor for tensor in batch_for(head))
    plain = head(embeddings, labels, spec.margin)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = head(embeddings, labels, spec.margin)
        coarse = (F.normalize(embeddings) @ F.normalize(head.weight[:, 0]).T).float()
    assert cast.loss.dtype == torch.float32
    assert torch.equal(cast.loss, plain.loss)
    assert torch.equal(cast.correct, plain.correct)
    # What would be multiplied with the scale otherwise.
    fine = F.normalize(embeddings) @ F.normalize(head.weight[:, 0]).T
    assert (coarse - fine).abs().max() > 1e-3


def test_narrow_embeddings_are_widened_before_they_are_normalised() -> None:
    spec = SPECS["all of it"]
    head = head_of(spec).float()
    embeddings, labels = batch_for(head)
    narrow = embeddings.bfloat16().requires_grad_()
    scored = head(narrow, labels, spec.margin)
    torch.testing.assert_close(scored, head(narrow.detach().float(), labels, spec.margin))
    scored.loss.backward()
    assert narrow.grad is not None
    assert narrow.grad.dtype == torch.bfloat16


# Weights.


def test_weights_follow_from_their_generator_alone() -> None:
    spec = LossSpec(centres=2)
    state = torch.random.get_rng_state()
    one, same, other = (MarginHead(8, 5, spec, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(one.weight, same.weight)
    assert not torch.equal(one.weight, other.weight)
    assert one.weight.shape == (5, 2, 8)
    assert one.weight.abs().max() <= math.sqrt(6 / (8 + 10))
    assert one.weight.norm(dim=2).min() > 0.0


def test_centres_are_carried_over_by_name() -> None:
    weights = torch.tensor(uniform((4, 2, 8), 1, -3.0, 3.0), dtype=torch.float32)
    new, kept = carried_over(weights, ["a", "b", "c", "d"], ["d", "x", "b", "y", "a"], torch.Generator().manual_seed(3))
    assert kept == 3
    assert new.shape == (5, 2, 8)
    assert new.dtype == torch.float32
    assert torch.equal(new[[0, 2, 4]], weights[[3, 1, 0]])
    mean = weights.norm(dim=2).mean().item()
    np.testing.assert_allclose(new[[1, 3]].norm(dim=2), mean, rtol=1e-5)
    directions = F.normalize(new[[1, 3]].reshape(4, 8), dim=1)
    assert (directions @ directions.T - torch.eye(4)).abs().max() < 0.95
    again, _ = carried_over(weights, ["a", "b", "c", "d"], ["d", "x", "b", "y", "a"], torch.Generator().manual_seed(3))
    assert torch.equal(again, new)


@given(
    old=st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1),
    new=st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1),
)
@settings(max_examples=50)
def test_carrying_over_keeps_exactly_what_both_know(old: list[str], new: list[str]) -> None:
    weights = torch.tensor(uniform((len(old), 1, 3), 8, -1.0, 1.0))
    before = weights.clone()
    carried, kept = carried_over(weights, old, new, torch.Generator().manual_seed(0))
    assert kept == len(set(old) & set(new))
    for name, row in zip(new, carried, strict=True):
        assert (name in old) == any(torch.equal(row, known) for known in weights)
        if name in old:
            assert torch.equal(row, weights[old.index(name)])
    assert torch.equal(weights, before)


@pytest.mark.parametrize(("old", "new"), [(["a", "a"], ["b"]), (["a"], ["b"]), (["a", "b"], ["c", "c"])])
def test_names_that_do_not_fit_the_classes_are_refused(old: list[str], new: list[str]) -> None:
    with pytest.raises(ValueError, match="different, for"):
        carried_over(torch.zeros(2, 1, 3), old, new, torch.Generator())


def test_a_head_starts_from_another() -> None:
    first, second = head_of(LossSpec()), MarginHead(DIM, 3, LossSpec("am"))
    names = [f"speaker {number}" for number in range(CLASSES)]
    kept = second.start_from(first.weight, names, ["speaker 6", "new", "speaker 0"], torch.Generator().manual_seed(0))
    assert kept == 2
    assert second.weight.requires_grad
    assert second.weight.dtype == torch.float32
    torch.testing.assert_close(second.weight[[0, 2]].double(), first.weight[[6, 0]])


@pytest.mark.parametrize("other", [MarginHead(4, 2, LossSpec()), MarginHead(3, 2, LossSpec(centres=2))], ids=str)
def test_a_head_of_another_shape_is_no_start(other: MarginHead) -> None:
    head = head_of(LossSpec(), classes=2)
    before = head.weight.detach().clone()
    with pytest.raises(TrainingError, match=r"2 classes of \d centres of \d values, this one 2 classes of 1 centres"):
        head.start_from(other.weight, ["a", "b"], ["a", "b"], torch.Generator())
    assert torch.equal(head.weight, before)
