"""SpecAugment: bars of frames and of bands that a network does not see.

Which bars is drawn without torch, where crops are read; they are laid over features where those are computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vecsv.training.specs import SpectrumSpec

if TYPE_CHECKING:
    from torch import Tensor


def draw_masks(
    spec: SpectrumSpec | None, generator: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw the bars of one crop.

    Widths are drawn evenly from 0 to the widest, and then starts evenly from all that leave the bar inside.

    Parameters
    ----------
    spec : SpectrumSpec or None
        How many and how wide; None: none.
    generator : Generator
        What is drawn from.

    Returns
    -------
    time_masks, band_masks : ndarray
        Float32 ``(time_masks, 2)`` and ``(band_masks, 2)``: start and width of each, as parts of all frames and of all
        bands.

    Examples
    --------
    >>> time_masks, band_masks = draw_masks(SpectrumSpec(), np.random.default_rng(1))
    >>> time_masks.shape, bool((time_masks[:, 1] <= 0.1).all()), draw_masks(None, np.random.default_rng(1))[0].shape
    ((2, 2), True, (0, 2))
    """
    if spec is None:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    time_masks = _bars(spec.time_masks, spec.time_part, generator)
    return time_masks, _bars(spec.band_masks, spec.band_part, generator)


def mask_spectrum(features: Tensor, time_masks: Tensor, band_masks: Tensor) -> Tensor:
    """Lay bars over features: what is under one becomes the mean of its band over all frames of its recording.

    Of features whose bands have zero mean over time that is 0; of others it is what says nothing about the voice but
    the level of the band, while 0 would be a sound of its own.

    Parameters
    ----------
    features : Tensor
        Floating point ``(batch, frames, bands)``.
    time_masks, band_masks : Tensor
        Float32 ``(batch, any, 2)`` on the same device: start and width as parts of all frames or bands. A bar covers
        ``floor(width * n)`` of n cells from number ``floor(start * n)`` on.

    Returns
    -------
    Tensor
        As `features`, which are not changed.
    """
    import torch

    frames, bands = features.shape[1:]
    hidden = _covered(time_masks, frames)[:, :, None] | _covered(band_masks, bands)[:, None, :]
    return torch.where(hidden, features.mean(dim=1, keepdim=True), features)


def _bars(count: int, widest: float, generator: np.random.Generator) -> NDArray[np.float32]:
    widths = generator.uniform(0.0, widest, count)
    starts = generator.uniform(0.0, 1.0, count) * (1.0 - widths)
    return np.stack([starts, widths], axis=1).astype(np.float32)


def _covered(bars: Tensor, cells: int) -> Tensor:
    """Which cells lie under a bar: bool ``(batch, cells)``."""
    import torch

    first, width = (bars * cells).floor().unbind(dim=-1)
    places = torch.arange(cells, device=bars.device)
    after_first = places >= first[..., None]
    before_end = places < (first + width)[..., None]
    return (after_first & before_end).any(dim=1)
