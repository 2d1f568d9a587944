"""Everything between a batch and its loss as one module: front end, SpecAugment, network, margin softmax.

One module, because the processes of a distributed training exchange gradients of what goes through one ``forward``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vecsv.frontend.spec import FrontendSpec
from vecsv.networks.features import feature_module
from vecsv.training.losses import MarginHead, Scored
from vecsv.training.spectrum import mask_spectrum


class Learner(nn.Module):
    """A network with what it sees through and what it is judged by.

    Parameters
    ----------
    front_end : FrontendSpec
        What the network sees; computed in float32 whatever the rest is computed in.
    network : Module
        From features or waveforms to embeddings.
    head : MarginHead
        From embeddings and labels to a loss.
    frozen_norms : bool
        Whether BatchNorms use the statistics they have, and keep them.
    """

    def __init__(
        self, front_end: FrontendSpec, network: nn.Module, head: MarginHead, *, frozen_norms: bool = False
    ) -> None:
        super().__init__()
        self.front_end = feature_module(front_end)
        self.network = network
        self.head = head
        self._frozen_norms = frozen_norms

    def train(self, mode: bool = True) -> Learner:
        """Switch between training and evaluation; the front end knows no difference."""
        super().train(mode)
        self.front_end.eval()
        if self._frozen_norms:
            for module in self.network.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def embed(self, waves: Tensor) -> Tensor:
        """Embed waveforms ``(batch, samples)`` of one length; ``(batch, dim)``, not scaled to unit length."""
        embeddings: Tensor = self.network(self._features(waves))
        return embeddings

    def named(self, waves: Tensor) -> Tensor:
        """Label of the nearest speaker of each waveform, int64 ``(batch,)``."""
        return self.head.cosines(self.embed(waves)).argmax(dim=1)

    def forward(self, waves: Tensor, labels: Tensor, time_masks: Tensor, band_masks: Tensor, margin: float) -> Scored:
        """Score a batch.

        Parameters
        ----------
        waves : Tensor
            Float32 ``(batch, samples)``.
        labels : Tensor
            Int64 ``(batch,)``.
        time_masks, band_masks : Tensor
            See `vecsv.training.spectrum.mask_spectrum`; features of a waveform front end have none.
        margin : float
            Of the loss, now.
        """
        features = self._features(waves)
        if features.ndim == 3:
            features = mask_spectrum(features, time_masks, band_masks)
        scored: Scored = self.head(self.network(features), labels, margin)
        return scored

    def _features(self, waves: Tensor) -> Tensor:
        with torch.no_grad(), torch.autocast(waves.device.type, enabled=False):
            features: Tensor = self.front_end(waves)
        return features
