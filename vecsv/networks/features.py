"""Front ends as PyTorch modules: to run on a GPU beside their network, and to become part of an exported graph.

They compute what the NumPy front ends of `vecsv.frontend` do, of a batch of recordings of equal length. The Fourier
transform is a product with a matrix: at these lengths that is no slower, and unlike a complex transform every ONNX
engine has it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vecsv.errors import ModelError
from vecsv.frontend import centred, kaldi, log_mel, mel, mfcc
from vecsv.frontend.filterbank import analysis_window
from vecsv.frontend.spec import (
    FrontendSpec,
    KaldiSpec,
    LogMelSpec,
    MelSpectrogramSpec,
    MfccSpec,
    SpectrogramSpec,
    WaveformSpec,
)
from vecsv.frontend.waveform import VARIANCE_OFFSET


def feature_module(spec: FrontendSpec) -> nn.Module:
    """Make the front end of a spec as a PyTorch module.

    Parameters
    ----------
    spec : FrontendSpec
        Any kind of front end.

    Returns
    -------
    torch.nn.Module
        In evaluation mode. Takes float32 ``(batch, samples)``, recordings of equal length that is long enough for a
        frame; gives float32 ``(batch, frames, bands)``, or ``(batch, samples)`` for a spec of kind ``"waveform"``. No
        recording depends on the others of its batch. It holds buffers that follow from the spec, and no parameters.

    Raises
    ------
    ModelError
        When the spec asks for a volume or for trimming: those are no part of a network.

    Examples
    --------
    >>> feature_module(KaldiSpec())(torch.zeros(2, 16000)).shape
    torch.Size([2, 98, 80])
    """
    match spec:
        case MelSpectrogramSpec():
            return _MelSpectrogram(spec).eval()
        case LogMelSpec() | SpectrogramSpec():
            return _CentredSpectrogram(spec).eval()
        case MfccSpec():
            return _Mfcc(spec).eval()
        case KaldiSpec():
            return _KaldiFilterbank(spec).eval()
        case WaveformSpec():
            return _ScaledWaveform(spec).eval()


class _Filterbank(nn.Module):
    """Powers of frames' spectra in bands: float32 ``(batch, frames, length)`` to ``(batch, frames, bands)``."""

    transform: Tensor
    weights: Tensor | None

    def __init__(
        self, window: NDArray[np.float64], weights: NDArray[np.float64] | None, *, n_fft: int, power: float = 2.0
    ) -> None:
        super().__init__()
        self._bins, self._power = n_fft // 2 + 1, power
        turns = np.outer(np.arange(window.size), np.arange(self._bins)) * (2.0 * np.pi / n_fft)
        transform = np.hstack([np.cos(turns), np.sin(turns)]) * window[:, np.newaxis]
        _register(self, "transform", transform)
        _register(self, "weights", weights)

    def forward(self, frames: Tensor) -> Tensor:
        real, imaginary = torch.split(torch.matmul(frames, self.transform), self._bins, dim=-1)
        powers = real * real + imaginary * imaginary
        if self._power != 2.0:
            powers = powers ** (self._power / 2.0)
        return powers if self.weights is None else torch.matmul(powers, self.weights)


class _MelSpectrogram(nn.Module):
    """See `vecsv.frontend.mel.MelSpectrogram`."""

    def __init__(self, spec: MelSpectrogramSpec) -> None:
        super().__init__()
        if spec.volume_dbfs is not None or spec.trimming is not None:
            raise ModelError(
                "raising the volume and trimming silences cannot be part of a network",
                where="front end",
                hint="leave volume_dbfs and trimming null",
            )
        self._spec = spec
        self._filterbank = _Filterbank(*mel.filterbank_of(spec), n_fft=spec.n_fft, power=spec.power)

    def forward(self, waveforms: Tensor) -> Tensor:
        if self._spec.centre:
            half = self._spec.n_fft // 2
            # An odd transform sees one sample more behind its centre.
            waveforms = nn.functional.pad(waveforms, (half, self._spec.n_fft - half))
        frames: Tensor = self._filterbank(waveforms.unfold(1, self._spec.n_fft, self._spec.hop))
        return frames


class _CentredSpectrogram(nn.Module):
    """See `vecsv.frontend.log_mel.LogMel` and `vecsv.frontend.spectrogram.Spectrogram`."""

    def __init__(self, spec: LogMelSpec | SpectrogramSpec) -> None:
        super().__init__()
        self._spec = spec
        if isinstance(spec, LogMelSpec):
            self._filterbank = _Filterbank(*log_mel.filterbank_of(spec), n_fft=spec.n_fft)
        else:
            self._filterbank = _Filterbank(analysis_window(spec.window, spec.window_length), None, n_fft=spec.n_fft)

    def forward(self, waveforms: Tensor) -> Tensor:
        spec = self._spec
        count = centred.frame_count(spec, waveforms.shape[1])
        seen = self._padded(self._preemphasised(waveforms))
        frames = seen.unfold(1, spec.window_length, spec.hop)[:, :count]
        return _normalised(self._logarithms(self._filterbank(frames)), spec.normalise)

    def _preemphasised(self, waveforms: Tensor) -> Tensor:
        spec = self._spec
        if spec.preemphasis == 0.0:
            return waveforms
        first = waveforms[:, :1]
        if spec.preemphasis_edge == "reflect":
            first = first - spec.preemphasis * waveforms[:, 1:2]
        return torch.cat([first, waveforms[:, 1:] - spec.preemphasis * waveforms[:, :-1]], dim=1)

    def _padded(self, waveforms: Tensor) -> Tensor:
        mode = "reflect" if self._spec.padding == "reflect" else "constant"
        # To PyTorch a reflection needs an axis of channels.
        padded = nn.functional.pad(waveforms[:, None], centred.padding(self._spec), mode)
        return padded[:, 0]

    def _logarithms(self, powers: Tensor) -> Tensor:
        spec = self._spec
        if spec.log == "none":
            return powers
        values = torch.log(torch.clamp(powers, min=spec.log_floor) + spec.log_offset)
        if spec.log == "db":
            values = values * centred.DB_PER_NEPER
        if spec.range_db is not None:
            values = torch.maximum(values, torch.amax(values, dim=(1, 2), keepdim=True) - spec.range_db)
        return values


class _Mfcc(nn.Module):
    """See `vecsv.frontend.mfcc.Mfcc`."""

    cosines: Tensor

    def __init__(self, spec: MfccSpec) -> None:
        super().__init__()
        self._spec = spec
        self._log_mel = _CentredSpectrogram(spec.log_mel())
        _register(self, "cosines", mfcc.cosines(spec))

    def forward(self, waveforms: Tensor) -> Tensor:
        return _normalised(torch.matmul(self._log_mel(waveforms), self.cosines), self._spec.normalise)


class _KaldiFilterbank(nn.Module):
    """See `vecsv.frontend.kaldi.KaldiFilterbank`."""

    def __init__(self, spec: KaldiSpec) -> None:
        super().__init__()
        self._spec = spec
        self._filterbank = _Filterbank(*kaldi.filterbank_of(spec), n_fft=kaldi.transform_length(spec))

    def forward(self, waveforms: Tensor) -> Tensor:
        spec = self._spec
        frames = (waveforms * spec.scale).unfold(1, spec.window_length, spec.hop)
        if spec.remove_dc:
            frames = frames - frames.mean(dim=2, keepdim=True)
        if spec.preemphasis != 0.0:
            before = torch.cat([frames[:, :, :1], frames[:, :, :-1]], dim=2)
            frames = frames - spec.preemphasis * before
        values = torch.log(torch.clamp(self._filterbank(frames), min=spec.log_floor))
        return values - values.mean(dim=1, keepdim=True) if spec.subtract_mean else values


class _ScaledWaveform(nn.Module):
    """See `vecsv.frontend.waveform.ScaledWaveform`."""

    def __init__(self, spec: WaveformSpec) -> None:
        super().__init__()
        self._spec = spec

    def forward(self, waveforms: Tensor) -> Tensor:
        if self._spec.normalise:
            centred = waveforms - waveforms.mean(dim=1, keepdim=True)
            variance = (centred * centred).mean(dim=1, keepdim=True)
            waveforms = centred / torch.sqrt(variance + VARIANCE_OFFSET)
        return waveforms * self._spec.scale


def _register(module: nn.Module, name: str, constant: NDArray[np.float64] | None) -> None:
    """Give a module a constant, or None, that moves to devices with it and is not saved."""
    tensor = None if constant is None else torch.from_numpy(constant.astype(np.float32))
    module.register_buffer(name, tensor, persistent=False)


def _normalised(values: Tensor, how: str) -> Tensor:
    """See `vecsv.frontend.centred.normalised`; ``(batch, frames, bands)``."""
    if how == "none":
        return values
    deviating = values - values.mean(dim=1, keepdim=True)
    if how == "mean":
        return deviating
    frames = torch.ones_like(deviating).sum(dim=1, keepdim=True)
    deviation = torch.sqrt((deviating * deviating).sum(dim=1, keepdim=True) / torch.clamp(frames - 1.0, min=1.0))
    return deviating / (deviation + centred.DEVIATION_OFFSET)
