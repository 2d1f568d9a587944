"""Trying a bundle on synthetic sound before anybody relies on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from vecsv.arrays import Vectors, Waveform
from vecsv.audio.activity import WINDOW_SECONDS, Activity
from vecsv.errors import AudioError, ModelError
from vecsv.models import apart
from vecsv.models.bundle import read_bundle
from vecsv.models.families import load_bundle
from vecsv.models.protocol import Embedder

TIME_LIMIT_S: Final = 300.0
MEMORY_LIMIT: Final = 16 << 30
"""Bytes of address space: several times what the largest speaker models take."""

# Some networks have no use for less than ten seconds.
_SECONDS: Final = (3.0, 12.0)
_UNIT: Final = 1e-4
_ALONE: Final = 1e-4
_SAME: Final = 1e-9


def self_test(folder: Path, *, where: str, time_limit_s: float = TIME_LIMIT_S) -> None:
    """Load a bundle in a process of its own and embed two synthetic sounds.

    Parameters
    ----------
    folder : Path
        The bundle; its files are as they should be.
    where : str
        What to call it in errors.
    time_limit_s : float
        Seconds that it may take.

    Raises
    ------
    ModelError
        When it cannot be loaded or run, or what it gives are not embeddings: numbers that are not finite, not of unit
        length or not as many as the bundle says, the same whatever it is given, or different beside other sounds.
    """
    apart.ask(
        "vecsv.models.selftest", {"folder": str(folder)}, where=where, time_limit_s=time_limit_s, memory=MEMORY_LIMIT
    )


def find_out(folder: Path) -> None:
    """Try a bundle in this very process; errors as `self_test`."""
    bundle = read_bundle(folder)
    embedder = load_bundle(folder, bundle.family)
    try:
        together, alone = _embeddings(embedder)
    except AudioError as error:
        raise ModelError(f"cannot embed synthetic sound: {error.what}") from error
    if together.shape != (2, bundle.dim):
        raise ModelError(f"gives shape {together.shape} for two sounds, expected (2, {bundle.dim})")
    if not np.isfinite(together).all():
        raise ModelError("gives embeddings that are not finite")
    if np.abs(np.linalg.norm(together, axis=1) - 1.0).max() > _UNIT:
        raise ModelError("gives embeddings that are not of unit length")
    if 1.0 - float(alone[0] @ together[0]) > _ALONE:
        raise ModelError("gives a sound another embedding when it is in a batch")
    if float(np.square(together[0] - together[1]).sum()) / 2.0 < _SAME:
        raise ModelError("gives two different sounds the same embedding")


def _embeddings(embedder: Embedder) -> tuple[Vectors, Vectors]:
    """Two sounds of equal length embedded in one batch, and the first of them alone."""
    for seconds in _SECONDS:
        waveforms = [_sound(embedder.sample_rate, seconds, pitch_hz) for pitch_hz in (110.0, 205.0)]
        # The sounds need not pass for speech.
        windows = int(seconds / WINDOW_SECONDS)
        speech = Activity(np.ones(windows, dtype=np.bool_))
        try:
            prepared = [embedder.prepare(waveform, speech) for waveform in waveforms]
        except AudioError as error:
            if error.code == "too-short" and seconds != _SECONDS[-1]:
                continue
            raise
        return embedder.embed(prepared), embedder.embed(prepared[:1])
    raise AssertionError("one of the lengths was tried")


def _sound(sample_rate: int, seconds: float, pitch_hz: float) -> Waveform:
    """A gliding harmonic tone that swells and fades, in a little noise; float32 ``(samples,)``, below 0.5."""
    time = np.arange(int(sample_rate * seconds)) / sample_rate
    phase = 2.0 * np.pi * pitch_hz * (time + 0.02 * np.sin(2.0 * np.pi * 0.7 * time))
    harmonics = sum(np.sin(number * phase) / number for number in range(1, 15))
    swelling = 0.55 + 0.45 * np.sin(2.0 * np.pi * 3.1 * time + pitch_hz)
    noise = np.random.default_rng(int(pitch_hz)).uniform(-0.01, 0.01, time.size)
    sound: Waveform = (0.2 * swelling * harmonics + noise).astype(np.float32)
    return sound


def _answer(question: dict[str, Any]) -> Mapping[str, Any]:
    find_out(Path(question["folder"]))
    return {}


if __name__ == "__main__":
    apart.answer(_answer)
