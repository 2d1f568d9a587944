"""What features of centred frames share, in NumPy: the frames, the logarithm, the normalisation over time."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vecsv.arrays import Waveform
from vecsv.frontend.filterbank import without_mean
from vecsv.frontend.spec import LogMelSpec, SpectrogramSpec

CentredSpec: TypeAlias = LogMelSpec | SpectrogramSpec
"""A spec of frames centred on multiples of the hop."""

DB_PER_NEPER: Final = 10.0 / float(np.log(10.0))
"""``10 log10(x)`` is this many times ``ln(x)``."""

DEVIATION_OFFSET: Final = 1e-5
"""What is added to a band's standard deviation before the band is divided by it."""


def padding(spec: CentredSpec) -> tuple[int, int]:
    """Samples before and after the waveform that windows see; the zeros around a window do not count.

    Examples
    --------
    >>> padding(LogMelSpec(n_fft=512))
    (200, 200)
    """
    half, gap = spec.n_fft // 2, (spec.n_fft - spec.window_length) // 2
    return half - gap, half - (spec.n_fft - spec.window_length - gap)


def frame_count(spec: CentredSpec, samples: int) -> int:
    """How many frames a waveform of this many samples has.

    Examples
    --------
    >>> [frame_count(LogMelSpec(), samples) for samples in (0, 1, 159, 160, 16000)]
    [0, 1, 1, 2, 101]
    """
    half = spec.n_fft // 2
    needed = max(half + 1 if spec.padding == "reflect" else 1, 2 if spec.preemphasis_edge == "reflect" else 1)
    if samples < needed:
        return 0
    if spec.frames == "whole-hops":
        return samples // spec.hop
    return 1 + (samples + 2 * half - spec.n_fft) // spec.hop


def frames_of(spec: CentredSpec, waveform: Waveform) -> NDArray[np.float32]:
    """Cut a waveform into what windows see of it, pre-emphasised.

    Parameters
    ----------
    spec : LogMelSpec or SpectrogramSpec
        How.
    waveform : ndarray
        Mono float32 ``(samples,)`` at the spec's rate.

    Returns
    -------
    ndarray
        Float32 ``(frames, window_length)``, a view in which frames overlap; see `frame_count`.

    Examples
    --------
    >>> frames_of(LogMelSpec(), np.zeros(1600, dtype=np.float32)).shape
    (11, 400)
    """
    count = frame_count(spec, waveform.size)
    if count == 0:
        return np.empty((0, spec.window_length), dtype=np.float32)
    seen = _padded(spec, _preemphasised(spec, waveform))
    return sliding_window_view(seen, spec.window_length)[:: spec.hop][:count]


def logarithms(spec: CentredSpec, powers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace powers, float32 ``(frames, bands)``, by the logarithm that a spec asks for; they are written over."""
    if spec.log == "none" or not len(powers):
        return powers
    if spec.log_floor > 0.0:
        np.maximum(powers, np.float32(spec.log_floor), out=powers)
    if spec.log_offset > 0.0:
        powers += np.float32(spec.log_offset)
    values = np.log(powers, out=powers)
    if spec.log == "db":
        values *= np.float32(DB_PER_NEPER)
    if spec.range_db is not None:
        np.maximum(values, values.max() - np.float32(spec.range_db), out=values)
    return values


def normalised(values: NDArray[np.float32], how: str) -> NDArray[np.float32]:
    """Normalise each band, of float32 ``(frames, bands)``, over time: ``"none"``, ``"mean"`` or ``"mean-std"``.

    Examples
    --------
    >>> normalised(np.array([[1.0], [3.0], [5.0]], dtype=np.float32), "mean").tolist()
    [[-2.0], [0.0], [2.0]]
    """
    if how == "none":
        return values
    centred = without_mean(values)
    if how == "mean-std":
        # Of one frame the toolkits' own deviation is not a number, which NeMo 2 replaces by 0.
        freedom = max(len(centred) - 1, 1)
        deviation = np.sqrt(np.square(centred, dtype=np.float64).sum(axis=0) / freedom)
        centred /= (deviation + DEVIATION_OFFSET).astype(np.float32)
    return centred


def _preemphasised(spec: CentredSpec, waveform: Waveform) -> Waveform:
    coefficient = np.float32(spec.preemphasis)
    if coefficient == 0.0:
        return waveform
    emphasised = np.empty(waveform.size, dtype=np.float32)
    emphasised[0] = waveform[0]
    if spec.preemphasis_edge == "reflect":
        emphasised[0] -= coefficient * waveform[1]
    np.subtract(waveform[1:], coefficient * waveform[:-1], out=emphasised[1:])
    return emphasised


def _padded(spec: CentredSpec, waveform: Waveform) -> Waveform:
    (before, after), samples = padding(spec), waveform.size
    padded = np.zeros(before + samples + after, dtype=np.float32)
    padded[before : before + samples] = waveform
    if spec.padding == "reflect":
        padded[:before] = waveform[before:0:-1]
        padded[before + samples :] = waveform[-2 : -2 - after : -1]
    return padded
