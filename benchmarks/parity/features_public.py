"""The public side of the front ends' parity check: features by the toolkits' own code.

Run by ``features.py`` in a virtual environment that holds torch, torchaudio, speechbrain, transformers and librosa, and
beside it two versions of nemo_toolkit, unpacked; it imports nothing of vecsv.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch


def speechbrain(waveform: torch.Tensor) -> torch.Tensor:
    """What ``spkrec-ecapa-voxceleb`` computes before its network."""
    from speechbrain.lobes.features import Fbank
    from speechbrain.processing.features import InputNormalization

    normalise = InputNormalization(norm_type="sentence", std_norm=False)
    features: torch.Tensor = normalise(Fbank(n_mels=80)(waveform), torch.ones(1))[0]
    return features


def kaldi(window: str, scale: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """What WeSpeaker and 3D-Speaker compute before their networks."""

    def features(waveform: torch.Tensor) -> torch.Tensor:
        from torchaudio.compliance.kaldi import fbank

        settings = {"frame_length": 25.0, "frame_shift": 10.0, "sample_frequency": 16000.0, "dither": 0.0}
        bands: torch.Tensor = fbank(waveform * scale, num_mel_bins=80, window_type=window, use_energy=False, **settings)
        return bands - bands.mean(dim=0)

    return features


def redimnet(waveform: torch.Tensor) -> torch.Tensor:
    """What ReDimNet's MelBanks computes: pre-emphasis after a reflection, torchaudio's bands, logarithm, mean."""
    from torchaudio.transforms import MelSpectrogram

    bands = MelSpectrogram(
        sample_rate=16000,
        n_fft=512,
        win_length=400,
        hop_length=160,
        f_min=20,
        f_max=7600,
        n_mels=72,
        window_fn=torch.hamming_window,
    )
    emphasised = waveform - 0.97 * torch.nn.functional.pad(waveform[None], (1, 0), "reflect")[0][:, :-1]
    values = (bands(emphasised) + 1e-6).log()
    centred: torch.Tensor = values - values.mean(dim=-1, keepdim=True)
    return centred[0].T


def nemo(folder: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """NeMo's FilterbankFeatures as TitaNet's configuration sets it, of the version unpacked in a folder."""
    for name, members in {
        "nemo": [],
        "nemo.utils": ["logging"],
        "nemo.collections.asr.parts.preprocessing.perturb": ["AudioAugmentor"],
        "nemo.collections.asr.parts.preprocessing.segment": ["AudioSegment"],
    }.items():
        module = types.ModuleType(name)
        module.__dict__.update({member: logging.getLogger("nemo") for member in members})
        sys.modules[name] = module
    path = folder / "nemo/collections/asr/parts/preprocessing/features.py"
    description = importlib.util.spec_from_file_location(f"features_of_{folder.name}", path)
    assert description is not None and description.loader is not None
    toolkit: Any = importlib.util.module_from_spec(description)
    description.loader.exec_module(toolkit)

    def features(waveform: torch.Tensor) -> torch.Tensor:
        filterbank = toolkit.FilterbankFeatures(
            sample_rate=16000, n_window_size=400, n_window_stride=160, n_fft=512, nfilt=80, window="hann", pad_to=0
        ).eval()
        values, lengths = filterbank(waveform, torch.tensor([waveform.shape[1]]))
        counted: torch.Tensor = values[0, :, : int(lengths[0])].T
        return counted

    return features


def wav2vec2(waveform: torch.Tensor) -> torch.Tensor:
    """What the Wav2Vec2 feature extractor gives the network."""
    from transformers import Wav2Vec2FeatureExtractor

    extractor: Any = Wav2Vec2FeatureExtractor(  # type: ignore[no-untyped-call]
        sampling_rate=16000, do_normalize=True
    )
    values: torch.Tensor = extractor(waveform[0].numpy(), sampling_rate=16000, return_tensors="pt").input_values[0]
    return values


def main(signals: Path, out: Path, nemo_1: Path, nemo_3: Path) -> None:
    """Compute every toolkit's features of every signal in `signals`; write them to `out`."""
    torch.set_num_threads(1)
    toolkits = {
        "speechbrain": speechbrain,
        "wespeaker": kaldi("hamming", 32768.0),
        "3d-speaker": kaldi("povey", 1.0),
        "redimnet": redimnet,
        "nemo-1": nemo(nemo_1),
        "nemo-3": nemo(nemo_3),
        "wav2vec2": wav2vec2,
    }
    with np.load(signals) as arrays:
        waveforms = {name: torch.from_numpy(array)[None] for name, array in arrays.items()}
    with torch.no_grad():
        features: dict[str, Any] = {
            f"{name}/{signal}": compute(waveform).numpy()
            for name, compute in toolkits.items()
            for signal, waveform in waveforms.items()
        }
    np.savez(out, **features)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
