"""The public side of the GE2E parity check: embeddings by resemblyzer's own code.

Run by ``ge2e.py`` in a virtual environment that holds torch, librosa, webrtcvad-wheels and resemblyzer; it
imports nothing of vecsv. For each recording it writes two embeddings: after the package's own
``preprocess_wav`` (volume raised, silences trimmed), and with the volume raised only.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
import types
from pathlib import Path

import numpy as np


def stand_in(name: str, **attributes: object) -> None:
    """Provide a module that resemblyzer imports and newer packages no longer have, where it is missing."""
    try:
        importlib.import_module(name)
    except ImportError:
        module = types.ModuleType(name)
        module.__dict__.update(attributes)
        sys.modules[name] = module


def main(list_file: Path, out_file: Path) -> None:
    """Embed every file named in `list_file`, one a line; write ``trimmed`` and ``untrimmed`` rows to `out_file`."""
    from scipy.ndimage import binary_dilation

    stand_in("scipy.ndimage.morphology", binary_dilation=binary_dilation)

    import librosa
    import torch
    from resemblyzer import VoiceEncoder, preprocess_wav
    from resemblyzer.audio import normalize_volume
    from resemblyzer.hparams import audio_norm_target_dBFS, sampling_rate

    encoder = VoiceEncoder("cpu", verbose=False)
    trimmed, untrimmed = [], []
    paths = list_file.read_text(encoding="utf-8").splitlines()
    started = time.perf_counter()
    for path in paths:
        waveform, rate = librosa.load(path, sr=None)
        resampled = librosa.resample(waveform, orig_sr=rate, target_sr=sampling_rate)
        louder = normalize_volume(resampled, audio_norm_target_dBFS, increase_only=True)
        kept = preprocess_wav(Path(path))
        untrimmed.append(encoder.embed_utterance(louder))
        # Where its detector finds no speech at all, the package goes on with an empty waveform; that is no
        # embedding.
        trimmed.append(encoder.embed_utterance(kept) if len(kept) else np.full(256, np.nan, dtype=np.float32))
    print(
        f"public package: {len(paths)} recordings in {time.perf_counter() - started:.0f} s, torch {torch.__version__}"
    )
    np.savez(out_file, trimmed=np.array(trimmed), untrimmed=np.array(untrimmed))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
