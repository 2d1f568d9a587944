"""The public side of the ECAPA-TDNN parity check: features and embeddings by SpeechBrain's and WeSpeaker's own code.

Run by ``ecapa.py`` in a virtual environment that holds torch, torchaudio, speechbrain and wespeaker; it imports nothing
of vecsv. Recordings go through one by one: no padding takes part.
"""

from __future__ import annotations

import importlib
import sys
import types
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fixtures import ecapa
from vecsv.health.signals import drawn

BANDS = 80


def with_drawn_weights(network: Any, key: str, results: dict[str, np.ndarray]) -> Any:
    """Fill a network from the bit-exact generator, by its own tensors' names; note which it has."""
    state = {name: tensor for name, tensor in network.state_dict().items() if "num_batches" not in name}
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    results[f"{key}/tensors"] = np.array(ecapa.listing(shapes))
    weights = drawn(shapes)
    network.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()}, strict=False)
    return network.eval()


def speechbrain_side(results: dict[str, np.ndarray]) -> None:
    from speechbrain.lobes.features import Fbank
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
    from speechbrain.processing.features import InputNormalization

    filterbank = Fbank(n_mels=BANDS)
    normalise = InputNormalization(norm_type="sentence", std_norm=False)

    def features(waveform: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = normalise(filterbank(waveform[None]), torch.ones(1))
        return result

    for case, arguments in ecapa.SPEECHBRAIN.items():
        network = with_drawn_weights(ECAPA_TDNN(BANDS, **arguments), f"speechbrain/{case}", results)
        for seconds in ecapa.lengths_of(case):
            seen = features(torch.from_numpy(ecapa.recording(seconds)))
            results[f"speechbrain/features/{seconds}"] = seen[0].numpy()
            results[f"speechbrain/{case}/{seconds}"] = network(seen)[0, 0].numpy()


def wespeaker_side(results: dict[str, np.ndarray]) -> None:
    from torchaudio.compliance import kaldi

    # Its package imports its command line, which wants much that no network needs.
    found = find_spec("wespeaker")
    package = types.ModuleType("wespeaker")
    package.__path__ = list(found.submodule_search_locations or ()) if found else []
    sys.modules["wespeaker"] = package
    design = importlib.import_module("wespeaker.models.ecapa_tdnn").ECAPA_TDNN

    def features(waveform: torch.Tensor) -> torch.Tensor:
        bands = kaldi.fbank(
            waveform[None] * 32768,
            num_mel_bins=BANDS,
            frame_length=25,
            frame_shift=10,
            sample_frequency=16000,
            window_type="hamming",
        )
        result: torch.Tensor = (bands - bands.mean(0))[None]
        return result

    for case, arguments in ecapa.WESPEAKER.items():
        made = design(feat_dim=BANDS, pooling_func="ASTP", **arguments)
        network = with_drawn_weights(made, f"wespeaker/{case}", results)
        for seconds in ecapa.lengths_of(case):
            seen = features(torch.from_numpy(ecapa.recording(seconds)))
            results[f"wespeaker/features/{seconds}"] = seen[0].numpy()
            results[f"wespeaker/{case}/{seconds}"] = network(seen)[1][0].numpy()


def main(out_file: Path) -> None:
    """Write every case's features and embeddings to `out_file`."""
    torch.set_num_threads(1)
    results: dict[str, np.ndarray] = {}
    with torch.no_grad():
        speechbrain_side(results)
        wespeaker_side(results)
    print(f"public packages: speechbrain {version('speechbrain')}, torch {torch.__version__}")
    arrays: dict[str, Any] = dict(results)
    np.savez(out_file, **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
