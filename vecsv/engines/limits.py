"""How much a device is given at once."""

from __future__ import annotations

import os
from typing import Final

from vecsv.engines.batching import BatchLimits

CPU_IN_FLIGHT_S: Final = 120.0
"""A CPU takes recordings one after the other: more at once would only take memory."""

GPU_IN_FLIGHT_S: Final = 1200.0
"""Enough recordings to sort them into full batches of like lengths."""

# By the axes of an input. Both fill a large GPU and fit into a small one: over a waveform a network's first layer makes
# far more of a second than one over features does.
_GPU_SECONDS: Final = {1: 120, 2: 300}
_FRAMES_PER_SECOND: Final = 100
_SAMPLES_PER_SECOND: Final = 16000
_GPU_ITEMS: Final = 512

_NO_LIMIT: Final = 2**62


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_limits(items: int) -> BatchLimits:
    """Limits on the CPU, where only inputs of one length share a call: nothing is padded."""
    return BatchLimits(items=items, size=_NO_LIMIT, waste=0.0)


def gpu_limits(axes: int) -> BatchLimits:
    """Limits on a GPU, for features (2 axes) or waveforms (1 axis)."""
    return BatchLimits(items=_GPU_ITEMS, size=_GPU_SECONDS[axes] * _steps_per_second(axes))


def seconds_of(length: int, axes: int) -> float:
    """Roughly how much audio an input is: features (2 axes) at 100 frames a second, a waveform (1 axis) at 16 kHz."""
    return length / _steps_per_second(axes)


def _steps_per_second(axes: int) -> int:
    return _SAMPLES_PER_SECOND if axes == 1 else _FRAMES_PER_SECOND
