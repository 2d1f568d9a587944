"""Numbers, weights and voice-like signals for golden values: the same bits on any NumPy.

No distribution of NumPy's or PyTorch's is used, whose streams may change between versions: the scripts of
``benchmarks/parity`` make the same inputs and weights for the original implementations.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

RATE = 16000


def uniform(shape: int | tuple[int, ...], seed: int, low: float = 0.0, high: float = 1.0) -> NDArray[np.float64]:
    """Uniform random numbers in [low, high): the upper 53 bits of PCG64's raw output, over 2**53.

    Examples
    --------
    >>> uniform(2, 7).tolist()
    [0.625095466604667, 0.8972138009695755]
    """
    size = int(np.prod(shape))
    raw: NDArray[np.uint64] = np.random.PCG64(seed).random_raw(size)
    unit = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return low + (high - low) * unit.reshape(shape)


def speech_like(seconds: float, seed: int) -> NDArray[np.float32]:
    """Syllables of a gliding harmonic voice with three resonances, pauses between some of them, in a little noise.

    Parameters
    ----------
    seconds : float
        How long, at 16 kHz.
    seed : int
        Who speaks, and what.

    Returns
    -------
    ndarray
        Float32 ``(samples,)``; loudest sample at 0.2 to 0.5. Samples are multiples of 2**-15, as in a 16-bit file: so
        the last bit of a machine's sine changes none of them.

    Examples
    --------
    >>> signal = speech_like(1.5, seed=1)
    >>> signal.shape, signal.dtype, bool(0.19 < abs(signal).max() < 0.51)
    ((24000,), dtype('float32'), True)
    """
    samples = round(seconds * RATE)
    draws = uniform(16, seed)
    time = np.arange(samples) / RATE
    pitch = (90.0 + 130.0 * draws[0]) * (1.0 + 0.15 * np.sin(2.0 * np.pi * (0.4 + 0.5 * draws[1]) * time))
    phase = 2.0 * np.pi * np.cumsum(pitch) / RATE
    resonances = np.array([300.0, 900.0, 2200.0]) + np.array([500.0, 900.0, 1000.0]) * draws[2:5]
    voice = np.zeros(samples)
    for harmonic in range(1, 30):
        strength = sum(1.0 / (1.0 + ((harmonic * pitch - centre) / 150.0) ** 2) for centre in resonances)
        voice += strength * np.sin(harmonic * phase)
    syllables_s = 3.0 + 2.0 * draws[5]
    openness = np.clip(np.sin(2.0 * np.pi * (syllables_s * time + draws[6])) + 0.5, 0.0, None)
    # A pause of a third of a second about every two seconds.
    spoken = np.mod(time + 2.0 * draws[7], 2.0) > 1.0 / 3.0
    signal = voice * openness * spoken
    loudest = float(np.abs(signal).max(initial=0.0)) or 1.0
    signal = signal * ((0.2 + 0.3 * draws[8]) / loudest) + uniform(samples, seed + 2**32, -1e-3, 1e-3)
    rounded: NDArray[np.float32] = (np.rint(signal * 2.0**15) * 2.0**-15).astype(np.float32)
    return rounded


def drawn(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    """Draw a state dict: weights that keep a signal's size, and BatchNorms that differ from doing nothing.

    Each tensor is drawn by its own name, so that one in the wrong place shows in every embedding.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Name and shape of each tensor; a weight of one axis is a BatchNorm's.
    """
    tensors = {}
    for name, shape in shapes.items():
        kind = name.rpartition(".")[2]
        if kind == "running_var" or (kind == "weight" and len(shape) == 1):
            low, high = 0.4, 1.6
        elif kind == "weight":
            high = float(np.sqrt(3.0 / np.prod(shape[1:])))
            low = -high
        else:
            low, high = -0.3, 0.3
        tensors[name] = uniform(shape, zlib.crc32(name.encode()), low, high).astype(np.float32)
    return tensors
