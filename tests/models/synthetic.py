"""Voice-like signals made of arithmetic: enough like speech for the voice activity detector, the same everywhere.

Nothing here imports vecsv: the parity script hands these signals to the public package too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE = 16000


def voice(seed: int, seconds: float, *, level: float = 0.1) -> NDArray[np.float32]:
    """A gliding pulse train through three resonances, opened and closed about four times a second, in a little noise.

    Parameters
    ----------
    seed : int
        Who speaks.
    seconds : float
        How long.
    level : float
        Root mean square.
    """
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = random.uniform(90.0, 220.0) * (1.0 + 0.15 * np.sin(2 * np.pi * random.uniform(0.4, 0.9) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    resonances = random.uniform((300.0, 900.0, 2200.0), (800.0, 1800.0, 3200.0))
    signal = np.zeros_like(time)
    for harmonic in range(1, 36):
        strength = sum(1.0 / (1.0 + ((harmonic * pitch - centre) / 150.0) ** 2) for centre in resonances)
        signal += strength * np.sin(harmonic * phase)
    openness = np.clip(np.sin(2 * np.pi * random.uniform(3.0, 5.0) * time) + 0.5, 0.0, None)
    signal = signal * openness + 0.01 * random.standard_normal(time.size)
    scaled: NDArray[np.float64] = signal * (level / np.sqrt(np.mean(signal**2)))
    return scaled.astype(np.float32)


def signals() -> dict[str, NDArray[np.float32]]:
    """Recordings that each take another path through the front end."""
    pause = (1e-4 * np.random.default_rng(99).standard_normal(2 * RATE)).astype(np.float32)
    return {
        "plain": voice(1, 5.0),
        "quiet, so its volume is raised": voice(2, 3.3, level=0.002),
        "loud, so its volume is left": voice(3, 4.1, level=0.15),
        "two long pauses": np.concatenate([pause, voice(4, 2.5), pause, voice(4, 1.7)]),
        "shorter than a window": voice(5, 0.9),
    }
