"""ECAPA-TDNN once more, slowly, in NumPy at double precision: the equations of Desplanques et al. (2020).

One recording at a time and no masks: what `vecsv.networks.ecapa_tdnn` has to give whatever else is in its batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vecsv.networks.ecapa_spec import EcapaSpec

Matrix = NDArray[np.float64]


class Reference:
    """The network of a spec and its tensors, under vecsv's names."""

    def __init__(self, spec: EcapaSpec, tensors: Mapping[str, NDArray[Any]]) -> None:
        self.spec = spec
        self.tensors = {name: np.asarray(tensor, dtype=np.float64) for name, tensor in tensors.items()}

    def __call__(self, features: NDArray[Any]) -> Matrix:
        """Embed one recording: ``(frames, bands)`` to ``(dim,)``."""
        spec = self.spec
        frames = self.layer("stem", features.astype(np.float64).T, spec.dilations[0])
        outputs = []
        for block, dilation in enumerate(spec.dilations[1:-1]):
            frames = self.block(f"blocks.{block}", frames, dilation)
            outputs.append(frames)
        pooled = self.pool(self.layer("aggregation", np.concatenate(outputs), spec.dilations[-1]))
        return self.norm("output_norm", self.dense("projection", self.norm("pooling_norm", pooled)))

    def layer(self, name: str, frames: Matrix, dilation: int = 1) -> Matrix:
        convolved = self.convolve(f"{name}.convolution", frames, dilation)
        if self.spec.norm_first:
            return np.maximum(self.norm(f"{name}.norm", convolved), 0.0)
        return self.norm(f"{name}.norm", np.maximum(convolved, 0.0))

    def convolve(self, name: str, frames: Matrix, dilation: int) -> Matrix:
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        count, half = frames.shape[1], weight.shape[2] // 2
        result = np.repeat(bias[:, np.newaxis], count, axis=1)
        for tap in range(weight.shape[2]):
            for frame in range(count):
                seen = frame + (tap - half) * dilation
                if self.spec.padding == "reflect":
                    seen = abs(seen) if seen < count else 2 * (count - 1) - seen
                if 0 <= seen < count:
                    result[:, frame] += weight[:, :, tap] @ frames[:, seen]
        return result

    def norm(self, name: str, values: Matrix) -> Matrix:
        if f"{name}.weight" not in self.tensors:
            return values
        parts = [self.tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
        weight, bias, mean, variance = (part.reshape(-1, *[1] * (values.ndim - 1)) for part in parts)
        return (values - mean) / np.sqrt(variance + 1e-5) * weight + bias

    def dense(self, name: str, values: Matrix) -> Matrix:
        bias = self.tensors[f"{name}.bias"]
        product: Matrix = self.tensors[f"{name}.weight"] @ values + (bias if values.ndim == 1 else bias[:, np.newaxis])
        return product

    def block(self, name: str, frames: Matrix, dilation: int) -> Matrix:
        parts = np.split(self.layer(f"{name}.entry", frames), self.spec.scale)
        outputs: list[Matrix] = []
        if self.spec.passed_part == "first":
            before, *parts = parts
            outputs.append(before)
        last: Matrix | float = 0.0
        for number in range(self.spec.scale - 1):
            last = self.layer(f"{name}.parts.{number}", parts[number] + last, dilation)
            outputs.append(last)
        outputs += parts[self.spec.scale - 1 :]
        dense = self.layer(f"{name}.exit", np.concatenate(outputs))
        squeezed = np.maximum(self.dense(f"{name}.squeeze", dense.mean(axis=1)), 0.0)
        gates = 1.0 / (1.0 + np.exp(-self.dense(f"{name}.excite", squeezed)))
        if f"{name}.shortcut.weight" in self.tensors:
            frames = self.convolve(f"{name}.shortcut", frames, 1)
        return frames + gates[:, np.newaxis] * dense

    def pool(self, frames: Matrix) -> Matrix:
        spec = self.spec
        seen = frames
        if spec.global_context:
            mean = frames.mean(axis=1, keepdims=True)
            if spec.context_deviation == "population":
                deviation = np.sqrt(np.maximum(frames.var(axis=1, keepdims=True), spec.variance_floor))
            else:
                deviation = np.sqrt(frames.var(axis=1, keepdims=True, ddof=1) + spec.variance_floor)
            seen = np.concatenate(
                [frames, np.broadcast_to(mean, frames.shape), np.broadcast_to(deviation, frames.shape)]
            )
        hidden = self.dense("attention.hidden", seen)
        if spec.attention_norm:
            if spec.norm_first:
                hidden = np.maximum(self.norm("attention.norm", hidden), 0.0)
            else:
                hidden = self.norm("attention.norm", np.maximum(hidden, 0.0))
        scores = self.dense("attention.scores", np.tanh(hidden))
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        mean = (weights * frames).sum(axis=1)
        variance = (weights * frames**2).sum(axis=1) - mean**2
        return np.concatenate([mean, np.sqrt(np.maximum(variance, spec.variance_floor))])
