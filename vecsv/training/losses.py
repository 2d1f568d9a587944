"""Margin softmax: classification by cosine, made harder for the right speaker so that voices end up further apart.

Of the angle between an embedding and a speaker's centre, ``theta``, and the margin ``m``, the right speaker's logit is

- ``scale * cos(theta + m)`` for ``"aam"`` (J. Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face
  Recognition", CVPR 2019); past ``pi - m``, where that would rise again, ``scale * (cos(theta) - 1 + cos(m))``, which
  goes on from there without a step, as WeSpeaker's does (``wespeaker/models/projections.py``);
- ``scale * (cos(theta) - m)`` for ``"am"`` (F. Wang et al., "Additive Margin Softmax for Face Verification", 2018).

A speaker with several sub-centres is as near as the nearest of them (J. Deng et al., "Sub-center ArcFace", ECCV 2020).
The inter-top-k penalty ``p`` pushes the nearest wrong speakers away (M. Zhao et al., "The SpeakIn System for VoxCeleb
Speaker Recognition Challenge 2021", and "Multi-query multi-head attention pooling and inter-topK penalty for speaker
verification", ICASSP 2022): their logits are ``scale * cos(theta - p)``, under ``theta = p`` ``scale * (cos(theta) + 1
- cos(p))``; for ``"am"`` ``scale * (cos(theta) + p)``. It grows together with the margin, as WeSpeaker's does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - what PyTorch's users call it
from torch import Tensor, nn

from vecsv.errors import TrainingError
from vecsv.training.specs import LossSpec

__all__ = ["MarginHead", "Scored", "carried_over"]

# A shorter vector has no direction worth learning from, and the gradient of its direction has no bound.
_SHORTEST: Final = 1e-6


class Scored(NamedTuple):
    """What a head says of a batch.

    Attributes
    ----------
    loss : Tensor
        ``()``: cross-entropy with margins, the mean over the batch.
    correct : Tensor
        Bool ``(batch,)``: whether the right speaker is nearest, without any margin.
    """

    loss: Tensor
    correct: Tensor


class MarginHead(nn.Module):
    """A classifier by cosine that is trained with a margin, and not kept after training.

    Parameters
    ----------
    dim : int
        Length of an embedding.
    classes : int
        Speakers.
    spec : LossSpec
        Which loss.
    generator : torch.Generator, optional
        What its weights are drawn from; by default PyTorch's own.

    Attributes
    ----------
    weight : Parameter
        Float32 ``(classes, centres, dim)``; only directions count.

    Examples
    --------
    >>> head = MarginHead(2, 3, LossSpec())
    >>> _ = head.weight.data.copy_(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[-1.0, 0.0]]]))
    >>> scored = head(torch.tensor([[2.0, 0.1], [0.1, 3.0]]), torch.tensor([0, 2]), margin=0.2)
    >>> scored.correct.tolist()
    [True, False]
    """

    def __init__(self, dim: int, classes: int, spec: LossSpec, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.spec = spec
        self.weight = nn.Parameter(torch.empty(classes, spec.centres, dim))
        nn.init.xavier_uniform_(self.weight.view(classes * spec.centres, dim), generator=generator)

    def extra_repr(self) -> str:
        """What `print` shows of it."""
        classes, centres, dim = self.weight.shape
        return f"dim={dim}, classes={classes}, centres={centres}, kind={self.spec.kind}"

    def cosines(self, embeddings: Tensor) -> Tensor:
        """How near embeddings are to every speaker, computed in float32 or wider whatever autocast says.

        Parameters
        ----------
        embeddings : Tensor
            ``(batch, dim)``, of any length and any floating type.

        Returns
        -------
        Tensor
            ``(batch, classes)``: cosine to the nearest of a speaker's centres.
        """
        classes, centres, dim = self.weight.shape
        # Of bfloat16's 8 bits nothing is left of a cosine near 1 once it is multiplied with the scale.
        with torch.autocast(embeddings.device.type, enabled=False):
            wide = torch.promote_types(torch.promote_types(embeddings.dtype, self.weight.dtype), torch.float32)
            points = F.normalize(embeddings.to(wide), dim=1, eps=_SHORTEST)
            directions = F.normalize(self.weight.to(wide).view(classes * centres, dim), dim=1, eps=_SHORTEST)
            every = (points @ directions.T).view(-1, classes, centres)
            # Unlike amax, max lets only one of several equal centres learn: centres that start alike can part.
            return every.max(dim=2).values

    def logits(self, cosines: Tensor, labels: Tensor, margin: float) -> Tensor:
        """What softmax is taken of.

        Parameters
        ----------
        cosines : Tensor
            ``(batch, classes)``, of `cosines`.
        labels : Tensor
            Int64 ``(batch,)``: the right speakers.
        margin : float
            The margin now; the penalty of the nearest wrong speakers is to its full size what this is to the spec's.

        Returns
        -------
        Tensor
            ``(batch, classes)``.
        """
        spec = self.spec
        harder = _harder_right if spec.kind == "aam" else _subtracted
        easier = _nearer_wrong if spec.kind == "aam" else _added
        right = labels[:, None]
        marked = cosines.scatter(1, right, harder(cosines.gather(1, right), margin))
        top_k = min(spec.top_k, cosines.shape[1] - 1)
        if top_k:
            # Below every cosine, so that the right speaker is never among the wrong ones.
            wrong = cosines.detach().scatter(1, right, -2.0).topk(top_k, dim=1).indices
            part = margin / spec.margin if spec.margin else 1.0
            marked = marked.scatter(1, wrong, easier(cosines.gather(1, wrong), part * spec.top_k_penalty))
        return spec.scale * marked

    def forward(self, embeddings: Tensor, labels: Tensor, margin: float) -> Scored:
        """Loss of a batch.

        Parameters
        ----------
        embeddings : Tensor
            ``(batch, dim)``, of any length and any floating type.
        labels : Tensor
            Int64 ``(batch,)``: the right speakers.
        margin : float
            The margin now, which is the spec's once it has warmed up.

        Returns
        -------
        Scored
            Loss in float32 or wider, and who was recognised.
        """
        cosines = self.cosines(embeddings)
        with torch.autocast(embeddings.device.type, enabled=False):
            loss = F.cross_entropy(self.logits(cosines, labels, margin), labels)
        return Scored(loss, cosines.detach().argmax(dim=1) == labels)

    def start_from(
        self, weights: Tensor, old_names: Sequence[str], new_names: Sequence[str], generator: torch.Generator
    ) -> int:
        """Take over another head's centres for the classes that both know.

        Parameters
        ----------
        weights, old_names, new_names, generator
            As for `carried_over`; ``new_names`` are this head's.

        Returns
        -------
        int
            How many classes both know.

        Raises
        ------
        TrainingError
            If the other head has other embeddings or another number of centres.
        """
        if weights.shape[1:] != self.weight.shape[1:] or len(new_names) != len(self.weight):
            raise TrainingError(
                f"the classifier to start from has {_shape(weights)}, this one {_shape(self.weight)}: "
                "set the same loss.centres and embedding length, or start without it"
            )
        mine, kept = carried_over(weights, old_names, new_names, generator)
        with torch.no_grad():
            self.weight.copy_(mine)
        return kept


def carried_over(
    weights: Tensor, old_names: Sequence[str], new_names: Sequence[str], generator: torch.Generator
) -> tuple[Tensor, int]:
    """A classifier for other classes: known ones keep their centres, by name; others are drawn.

    Drawn centres point anywhere and are as long as the known ones are on average: an optimiser turns long ones slower.

    Parameters
    ----------
    weights : Tensor
        ``(old classes, centres, dim)``.
    old_names, new_names : sequence of str
        Names of the old and of the new classes, each once, in the order of their labels.
    generator : torch.Generator
        What new centres are drawn from.

    Returns
    -------
    Tensor
        ``(new classes, centres, dim)``, of the old ones' type.
    int
        How many classes were known.

    Examples
    --------
    >>> old = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    >>> new, kept = carried_over(old, ["ann", "bob"], ["bob", "eve"], torch.Generator().manual_seed(0))
    >>> new[0].tolist(), round(float(new[1].norm()), 6), kept
    ([[0.0, 1.0]], 1.0, 1)
    """
    old = weights.detach().cpu()
    places = {name: place for place, name in enumerate(old_names)}
    for names, rows in ((old_names, len(old)), (new_names, len(new_names))):
        if len(set(names)) != rows or len(names) != rows:
            raise ValueError(f"{len(names)} names, {len(set(names))} of them different, for {rows} classes")
    drawn = torch.randn(len(new_names), *old.shape[1:], generator=generator, dtype=old.dtype)
    drawn = F.normalize(drawn, dim=-1) * old.norm(dim=-1).mean()
    known = [label for label, name in enumerate(new_names) if name in places]
    drawn[known] = old[[places[new_names[label]] for label in known]]
    return drawn.to(weights.device), len(known)


def _harder_right(cosines: Tensor, margin: float) -> Tensor:
    """``cos(theta + margin)``, falling all the way to ``theta = pi``."""
    turned = cosines * math.cos(margin) - _sines(cosines) * math.sin(margin)
    return torch.where(cosines > -math.cos(margin), turned, cosines - (1.0 - math.cos(margin)))


def _nearer_wrong(cosines: Tensor, penalty: float) -> Tensor:
    """``cos(theta - penalty)``, falling all the way from ``theta = 0``."""
    turned = cosines * math.cos(penalty) + _sines(cosines) * math.sin(penalty)
    return torch.where(cosines < math.cos(penalty), turned, cosines + (1.0 - math.cos(penalty)))


def _subtracted(cosines: Tensor, margin: float) -> Tensor:
    return cosines - margin


def _added(cosines: Tensor, penalty: float) -> Tensor:
    return cosines + penalty


def _sines(cosines: Tensor) -> Tensor:
    """Sines of angles from 0 to pi; at 0 and pi, where the slope has no bound, the slope is 0."""
    return ((1.0 - cosines) * (1.0 + cosines)).clamp_min(torch.finfo(cosines.dtype).eps).sqrt()


def _shape(weights: Tensor) -> str:
    classes, centres, dim = weights.shape
    return f"{classes} classes of {centres} centres of {dim} values"
