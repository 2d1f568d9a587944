"""Small corpora of made voices: pulses of a speaker's pitch through a speaker's resonances."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import lfilter

from vecsv.training.configuration import TrainingConfig, config_from

RATE = 16000


def voice(speaker: int, take: int, seconds: float) -> NDArray[np.float32]:
    """A second or more of a person; takes of one differ in rhythm, melody and noise."""
    person, moment = np.random.default_rng((1, speaker)), np.random.default_rng((2, speaker, take))
    samples = round(seconds * RATE)
    melody = np.interp(np.linspace(0, 1, samples), np.linspace(0, 1, 6), moment.normal(1.0, 0.03, 6))
    phase = np.cumsum(80.0 * 1.13**speaker * melody) / RATE
    wave = np.diff(np.floor(phase), prepend=0.0) + moment.normal(0, 0.01, samples)
    for low, high in ((300, 900), (1000, 2200), (2400, 3600)):
        frequency, width = person.uniform(low, high), person.uniform(60, 160)
        radius = np.exp(-np.pi * width / RATE)
        wave = lfilter([1.0 - radius], [1.0, -2 * radius * np.cos(2 * np.pi * frequency / RATE), radius**2], wave)
    loudness = np.interp(np.linspace(0, 1, samples), np.linspace(0, 1, 12), moment.uniform(0.3, 1.0, 12))
    wave = wave * loudness
    return (0.5 * wave / np.abs(wave).max()).astype(np.float32)


def write_corpus(
    folder: Path, *, speakers: range, takes: int, seconds: float = 1.2, shuffled: np.random.Generator | None = None
) -> Path:
    """Write recordings and a manifest of them; `shuffled` gives each a speaker drawn anew."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"speaker{speaker}" for speaker in speakers for _ in range(takes)]
    if shuffled is not None:
        shuffled.shuffle(names)
    lines = []
    for place, (speaker, take) in enumerate((speaker, take) for speaker in speakers for take in range(takes)):
        path = folder / f"{speaker}-{take}.wav"
        soundfile.write(path, voice(speaker, take, seconds), RATE)
        lines.append(f"{path}\t{names[place]}\n")
    manifest = folder / "manifest.tsv"
    manifest.write_text("".join(lines), encoding="utf-8")
    return manifest


def small_config(**sections: dict[str, object]) -> TrainingConfig:
    """A network of a few thousand numbers on 40 bands, and a short plain training."""
    values: dict[str, object] = {
        "kind": "training",
        "family": "ecapa-tdnn",
        "front_end": {"kind": "log-mel", "mels": 40},
        "network": {
            "channels": [16, 16, 16, 32],
            "kernels": [5, 3, 3, 1],
            "dilations": [1, 2, 3, 1],
            "scale": 2,
            "se_width": 8,
            "attention_width": 8,
            "dim": 16,
            "output_norm": True,
        },
        "data": {"crop_s": 1.0, "held_out": "none"},
        "loss": {"margin": 0.1, "scale": 15.0},
        "optimiser": {"learning_rate": 0.005, "warm_up_steps": 2},
        "run": {"epochs": 2, "batch": 8, "patience": 0},
    }
    for name, section in sections.items():
        before = values.get(name)
        values[name] = {**before, **section} if isinstance(before, dict) else section
    return config_from(values, where="test")
