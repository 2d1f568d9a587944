"""Toolkits whose own features are on record, their specs here, and the signals they were given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vecsv.frontend import known
from vecsv.frontend.spec import FrontendSpec
from vecsv.health.signals import speech_like, uniform

SPECS: Final[Mapping[str, FrontendSpec]] = {
    "speechbrain": known.SPEECHBRAIN,
    "wespeaker": known.WESPEAKER,
    "3d-speaker": known.THREE_D_SPEAKER,
    "redimnet": known.REDIMNET,
    "nemo-1": known.TITANET,
    "nemo-3": replace(known.TITANET, padding="zeros", frames="whole-hops"),
    "wav2vec2": known.NORMALISED_WAVEFORM,
}

# The first has an offset, so that its removal matters, and no whole number of hops; the second has one.
SIGNALS: Final[Mapping[str, NDArray[np.float32]]] = {
    "odd": (speech_like(1.28, seed=11) + np.float32(2.0**-6))[:-37],
    "whole": speech_like(0.4, seed=12),
}

WHOLE_FRAMES: Final = (0, 17, -1)
"""Frames that stand whole among the golden values: both ends, where padding shows, and one between them."""

PROJECTION_SEED: Final = 5


def projection(frames: NDArray[np.floating]) -> NDArray[np.float64]:
    """Give one number for each frame in which every band counts: so that every frame can be compared."""
    bands = int(frames.shape[1])
    projected: NDArray[np.float64] = frames.astype(np.float64) @ uniform(bands, PROJECTION_SEED, -1.0, 1.0)
    return projected / bands


def in_frames(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features as the script that wrote the golden values takes them: of a waveform, stretches of 80 samples."""
    return values if values.ndim == 2 else values[: values.size // 80 * 80].reshape(-1, 80)
