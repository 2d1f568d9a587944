"""ECAPA-TDNN in PyTorch; see `vecsv.networks.ecapa_spec` for where it comes from and what can be chosen.

Recordings of different lengths may share a batch: with their lengths given, every convolution sees beyond a recording's
end what it would see were the recording alone, and every mean is over its own frames only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - what PyTorch's users call it
from torch import Tensor, nn

from vecsv.errors import ModelError
from vecsv.networks.ecapa_spec import EcapaSpec

__all__ = ["EcapaSpec", "EcapaTdnn"]


@dataclass(frozen=True)
class _Extent:
    """How much of each recording of a batch is real.

    Attributes
    ----------
    lengths : Tensor
        Int64 ``(batch,)``: frames that count.
    mask : Tensor
        Bool ``(batch, 1, frames)``: whether a frame counts.
    """

    lengths: Tensor
    mask: Tensor

    @classmethod
    def of(cls, lengths: Tensor, frames: int) -> _Extent:
        mask = torch.arange(frames, device=lengths.device) < lengths[:, None]
        return cls(lengths, mask[:, None, :])


class EcapaTdnn(nn.Module):
    """An ECAPA-TDNN.

    Parameters
    ----------
    spec : EcapaSpec
        Its design.

    Examples
    --------
    >>> network = EcapaTdnn(EcapaSpec(bands=8, channels=(16, 16, 16, 48), kernels=(5, 3, 3, 1), dilations=(1, 2, 3, 1)))
    >>> network.eval()(torch.zeros(2, 30, 8), torch.tensor([30, 20])).shape
    torch.Size([2, 192])
    """

    def __init__(self, spec: EcapaSpec) -> None:
        super().__init__()
        self.spec = spec
        wide = spec.channels[-1]
        layers = list(zip(pairwise(spec.channels[:-1]), spec.kernels[1:-1], spec.dilations[1:-1], strict=True))
        self.stem = _Layer(spec, spec.bands, spec.channels[0], spec.kernels[0], spec.dilations[0])
        self.blocks = nn.ModuleList(
            _SeRes2Block(spec, inputs, outputs, kernel, dilation) for (inputs, outputs), kernel, dilation in layers
        )
        self.aggregation = _Layer(
            spec, sum(spec.channels[1:-1]), wide, spec.kernels[-1], spec.dilations[-1], normed=spec.aggregation_norm
        )
        self.attention = _Attention(spec)
        self.pooling_norm = nn.BatchNorm1d(2 * wide)
        self.projection = nn.Linear(2 * wide, spec.dim)
        self.output_norm = nn.BatchNorm1d(spec.dim) if spec.output_norm else nn.Identity()

    @classmethod
    def of(cls, spec: EcapaSpec, tensors: Mapping[str, Tensor]) -> EcapaTdnn:
        """Make a network of given tensors, in evaluation mode.

        Parameters
        ----------
        spec : EcapaSpec
            Its design.
        tensors : mapping of str to Tensor
            Those of `vecsv.networks.ecapa_spec.tensor_shapes`; they are taken over, not copied.

        Raises
        ------
        ModelError
            When they are not those of the spec.
        """
        # Without memory: random weights would take longer to draw than the real ones to read.
        with torch.device("meta"):
            network = cls(spec)
        counters = {
            name: torch.zeros(counter.shape, dtype=counter.dtype)
            for name, counter in network.state_dict().items()
            if name.endswith("num_batches_tracked")
        }
        try:
            network.load_state_dict({**counters, **tensors}, assign=True)
        except RuntimeError as error:
            raise ModelError(f"tensors do not fit: {' '.join(str(error).split())[:500]}") from error
        return network.eval()

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Embed recordings.

        Parameters
        ----------
        features : Tensor
            Float ``(batch, frames, bands)``; at least `EcapaSpec.min_frames` frames of each recording.
        lengths : Tensor, optional
            Int64 ``(batch,)``: how many frames of each recording count, what stands behind them being of no
            consequence. All count when left out.

        Returns
        -------
        Tensor
            ``(batch, dim)``, not scaled to unit length.

        Raises
        ------
        ValueError
            When lengths are given in training: BatchNorm would learn from what is only padding.
        """
        if lengths is not None and self.training:
            raise ValueError("in training every recording of a batch has the same length: give no lengths")
        frames = features.transpose(1, 2)
        extent = None
        if lengths is not None:
            extent = _Extent.of(lengths, frames.shape[2])
            frames = frames.masked_fill(~extent.mask, 0.0)
        frames = self.stem(frames, extent)
        outputs = []
        for block in self.blocks:
            frames = block(frames, extent)
            outputs.append(frames)
        aggregated = self.aggregation(torch.cat(outputs, dim=1), extent)
        pooled = self.pooling_norm(self.attention(aggregated, extent))
        embeddings: Tensor = self.output_norm(self.projection(pooled))
        return embeddings


class _Layer(nn.Module):
    """A convolution over time that keeps the number of frames, ReLU, BatchNorm."""

    def __init__(
        self, spec: EcapaSpec, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, *, normed: bool = True
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)
        self.norm = nn.BatchNorm1d(outputs) if normed else nn.Identity()
        self._norm_first = spec.norm_first
        self._reflects = spec.padding == "reflect"
        self._edge = (kernel - 1) // 2 * dilation

    def forward(self, frames: Tensor, extent: _Extent | None) -> Tensor:
        """``(batch, inputs, frames)`` to ``(batch, outputs, frames)``; frames beyond a recording hold anything."""
        convolved = self.convolution(self._with_edges(frames, extent))
        ordered: Tensor = F.relu(self.norm(convolved)) if self._norm_first else self.norm(F.relu(convolved))
        return ordered

    def _with_edges(self, frames: Tensor, extent: _Extent | None) -> Tensor:
        edge = self._edge
        if edge == 0:
            return frames
        if extent is None:
            return F.pad(frames, (edge, edge), mode="reflect" if self._reflects else "constant")
        padded = F.pad(frames, (edge, edge))
        channels = frames.shape[1]
        steps = torch.arange(edge, device=frames.device)
        # Places of the frames right after each recording's last one.
        after = extent.lengths[:, None] + (edge + steps)
        if not self._reflects:
            return padded.scatter(2, after[:, None, :].expand(-1, channels, -1), 0.0)
        before = steps.expand_as(after)
        mirrored = torch.cat([edge - before, extent.lengths[:, None] - 2 - steps], dim=1)
        places = torch.cat([before, after], dim=1)
        values = frames.gather(2, mirrored[:, None, :].expand(-1, channels, -1))
        return padded.scatter(2, places[:, None, :].expand(-1, channels, -1), values)


class _SeRes2Block(nn.Module):
    """A Res2Net layer between two dense ones, squeeze-and-excitation, and a way around them all."""

    def __init__(self, spec: EcapaSpec, inputs: int, outputs: int, kernel: int, dilation: int) -> None:
        super().__init__()
        width = outputs // spec.scale
        self.entry = _Layer(spec, inputs, outputs)
        self.parts = nn.ModuleList(_Layer(spec, width, width, kernel, dilation) for _ in range(spec.scale - 1))
        self.exit = _Layer(spec, outputs, outputs)
        self.squeeze = nn.Linear(outputs, spec.se_width)
        self.excite = nn.Linear(spec.se_width, outputs)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv1d(inputs, outputs, 1)
        self._scale = spec.scale
        self._passes_first = spec.passed_part == "first"

    def forward(self, frames: Tensor, extent: _Extent | None) -> Tensor:
        """``(batch, inputs, frames)`` to ``(batch, outputs, frames)``."""
        channels = list(self.entry(frames, extent).chunk(self._scale, dim=1))
        passed = channels.pop(0 if self._passes_first else -1)
        outputs: list[Tensor] = []
        for part, own in zip(self.parts, channels, strict=True):
            outputs.append(part(own + outputs[-1] if outputs else own, extent))
        outputs.insert(0 if self._passes_first else len(outputs), passed)
        dense = self.exit(torch.cat(outputs, dim=1), extent)
        gates = torch.sigmoid(self.excite(F.relu(self.squeeze(_mean(dense, extent)))))
        gated: Tensor = self.shortcut(frames) + dense * gates[:, :, None]
        return gated


class _Attention(nn.Module):
    """Attentive statistics pooling: the mean and deviation of each channel, by weights of its own over time."""

    def __init__(self, spec: EcapaSpec) -> None:
        super().__init__()
        channels = spec.channels[-1]
        self.hidden = nn.Linear(channels * (3 if spec.global_context else 1), spec.attention_width)
        self.norm = nn.BatchNorm1d(spec.attention_width) if spec.attention_norm else nn.Identity()
        self.scores = nn.Linear(spec.attention_width, channels)
        self._spec = spec

    def forward(self, frames: Tensor, extent: _Extent | None) -> Tensor:
        """``(batch, channels, frames)`` to ``(batch, 2 * channels)``."""
        # Sums of squares need more than the 11 bits of a half-precision number.
        frames = frames.to(torch.promote_types(frames.dtype, torch.float32))
        hidden = self._hidden(frames, extent)
        if self._spec.attention_norm:
            activated = F.relu(self.norm(hidden)) if self._spec.norm_first else self.norm(F.relu(hidden))
        else:
            activated = hidden
        scores = F.conv1d(torch.tanh(activated), self.scores.weight[:, :, None], self.scores.bias)
        scores = scores.to(frames.dtype)
        if extent is not None:
            scores = scores.masked_fill(~extent.mask, -torch.inf)
        weights = scores.softmax(dim=2)
        mean = (weights * frames).sum(dim=2)
        centred = frames - mean[:, :, None]
        variance = (weights * centred * centred).sum(dim=2)
        return torch.cat([mean, variance.clamp(min=self._spec.variance_floor).sqrt()], dim=1)

    def _hidden(self, frames: Tensor, extent: _Extent | None) -> Tensor:
        channels = frames.shape[1]
        weight, bias = self.hidden.weight, self.hidden.bias
        hidden = F.conv1d(frames, weight[:, :channels, None], bias)
        if not self._spec.global_context:
            return hidden
        # The mean and deviation are the same for every frame: so is what the layer makes of them.
        return hidden + F.linear(self._context(frames, extent), weight[:, channels:])[:, :, None]

    def _context(self, frames: Tensor, extent: _Extent | None) -> Tensor:
        mean = _mean(frames, extent)
        centred = frames - mean[:, :, None]
        variance = _mean(centred * centred, extent)
        floor = self._spec.variance_floor
        if self._spec.context_deviation == "population":
            variance = variance.clamp(min=floor)
        else:
            count = frames.shape[2] if extent is None else extent.lengths[:, None]
            variance = variance * (count / (count - 1)) + floor
        return torch.cat([mean, variance.sqrt()], dim=1)


def _mean(frames: Tensor, extent: _Extent | None) -> Tensor:
    """Mean over each recording's frames, ``(batch, channels)``."""
    if extent is None:
        mean: Tensor = frames.mean(dim=2)
    else:
        mean = frames.masked_fill(~extent.mask, 0.0).sum(dim=2) / extent.lengths[:, None]
    return mean
