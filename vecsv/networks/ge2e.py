"""The GE2E encoder's network in PyTorch, for GPUs; ONNX Runtime has it as `vecsv.models.ge2e_conversion` writes it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from vecsv.errors import ModelError


class Ge2eNetwork(nn.Module):
    """Three layers of LSTM over a window, and a linear layer with ReLU over what the last one ends with.

    Its parameters have the names and shapes of the published checkpoint.

    Parameters
    ----------
    mels, hidden, layers, dim : int
        Bands of the mel spectrogram, width and number of the LSTM's layers, length of an embedding.
    """

    def __init__(self, *, mels: int = 40, hidden: int = 256, layers: int = 3, dim: int = 256) -> None:
        super().__init__()
        self.lstm = nn.LSTM(mels, hidden, layers, batch_first=True)
        self.linear = nn.Linear(hidden, dim)

    @classmethod
    def of(cls, tensors: Mapping[str, torch.Tensor]) -> Ge2eNetwork:
        """Make the network of given tensors, in evaluation mode.

        Raises
        ------
        ModelError
            When they are not those of this network.
        """
        network = cls()
        try:
            network.load_state_dict(dict(tensors))
        except RuntimeError as error:
            raise ModelError(f"tensors do not fit: {' '.join(str(error).split())[:500]}") from error
        return network.eval()

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Embed windows ``(batch, frames, mels)``; ``(batch, dim)``, not scaled to unit length."""
        _, (hidden, _) = self.lstm(windows)
        embeddings: torch.Tensor = torch.relu(self.linear(hidden[-1]))
        return embeddings
