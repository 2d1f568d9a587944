"""What every filterbank is made of: windows, mel scales, bands, and the sum of a spectrum's power in each band.

Two mel scales are in use. Slaney's (Auditory Toolbox, M. Slaney, Interval Research Technical Report 1998-010; librosa's
default) is linear below 1 kHz and logarithmic above. HTK's is ``2595 log10(1 + f / 700)`` (The HTK Book, section 5.4);
Kaldi writes it as ``1127 ln(1 + f / 700)``, which puts bands in the same places.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

_LINEAR_HZ_PER_MEL: Final = 200.0 / 3.0
_BREAK_HZ: Final = 1000.0
_BREAK_MEL: Final = _BREAK_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP: Final = float(np.log(6.4)) / 27.0

# OpenBLAS, which NumPy comes with, starts threads of its own for matrix products with more multiplications
# than this (``interface/gemm.c``: SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD). Beside the embedding
# stage's one thread for each core they only wait for each other: on a busy machine that made a front end
# twenty times slower.
_UNTHREADED_MULTIPLICATIONS: Final = 4 * 65536

_NEPERS_PER_DECADE: Final = float(np.log(10.0))
_COSINE_FLOORS: Final = {"hann": 0.5, "hamming": 0.54}


def hz_to_mel(hertz: NDArray[np.float64], scale: str = "slaney") -> NDArray[np.float64]:
    """Convert frequencies in Hz to mels of the scale ``"slaney"`` or ``"htk"``.

    Examples
    --------
    >>> [round(float(mel), 9) for mel in hz_to_mel(np.array([200.0, 1000.0, 6400.0]))]
    [3.0, 15.0, 42.0]
    >>> round(float(hz_to_mel(np.array([1000.0]), "htk")[0]), 3)
    999.986
    """
    if scale == "htk":
        return np.log1p(hertz / 700.0) * (2595.0 / _NEPERS_PER_DECADE)
    above = _BREAK_MEL + np.log(np.maximum(hertz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hertz < _BREAK_HZ, hertz / _LINEAR_HZ_PER_MEL, above)


def mel_to_hz(mels: NDArray[np.float64], scale: str = "slaney") -> NDArray[np.float64]:
    """Convert mels to frequencies in Hz; the inverse of `hz_to_mel`."""
    if scale == "htk":
        return np.expm1(mels * (_NEPERS_PER_DECADE / 2595.0)) * 700.0
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mels, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mels < _BREAK_MEL, mels * _LINEAR_HZ_PER_MEL, above)


def mel_edges(mels: int, f_min: float, f_max: float, scale: str) -> NDArray[np.float64]:
    """Lower edge of the first band, centre of each, upper edge of the last: equally spaced in mels, in mels.

    Returns
    -------
    ndarray
        Float64 ``(mels + 2,)``.
    """
    ends = hz_to_mel(np.array([f_min, f_max]), scale)
    return np.linspace(ends[0], ends[1], mels + 2)


def bin_frequencies(n_fft: int, sample_rate: int) -> NDArray[np.float64]:
    """Frequencies of a transform's bins in Hz, float64 ``(n_fft // 2 + 1,)``."""
    return np.arange(n_fft // 2 + 1, dtype=np.float64) * (sample_rate / n_fft)


def triangles(
    points: NDArray[np.float64], edges: NDArray[np.float64], *, shape: str = "triangle"
) -> NDArray[np.float64]:
    """Weights of points on an axis in bands on it.

    Parameters
    ----------
    points : ndarray
        Where the transform's bins lie, ``(points,)``.
    edges : ndarray
        Lower edge of the first band, centre of each band, upper edge of the last, ``(bands + 2,)``, in the same unit.
    shape : str
        ``"triangle"``: a band rises from the centre of the one below to its own and falls to that of the one above;
        ``"left-bandwidth"``: it falls as steeply as it rises.

    Returns
    -------
    ndarray
        Float64 ``(points, bands)``, 1 at a band's centre.
    """
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (points[:, np.newaxis] - lower) / (centre - lower)
    falling = 2.0 - rising if shape == "left-bandwidth" else (upper - points[:, np.newaxis]) / (upper - centre)
    return np.maximum(0.0, np.minimum(rising, falling))


def mel_weights(
    *,
    n_fft: int,
    sample_rate: int,
    mels: int,
    f_min: float,
    f_max: float,
    scale: str = "slaney",
    norm: str = "slaney",
    shape: str = "triangle",
) -> NDArray[np.float64]:
    """Weights of a transform's bins in mel bands whose slopes are straight in Hz.

    Parameters
    ----------
    n_fft, sample_rate : int
        The transform's length, and the audio's rate in Hz.
    mels : int
        How many bands.
    f_min, f_max : float
        Lower edge of the first and upper edge of the last band, in Hz.
    scale : str
        ``"slaney"`` or ``"htk"``.
    norm : str
        ``"slaney"``: triangles of equal area; ``"none"``: of height 1.
    shape : str
        See `triangles`.

    Returns
    -------
    ndarray
        Float64 ``(n_fft // 2 + 1, mels)``.

    Examples
    --------
    >>> mel_weights(n_fft=400, sample_rate=16000, mels=40, f_min=0.0, f_max=8000.0).shape
    (201, 40)
    """
    edges = mel_to_hz(mel_edges(mels, f_min, f_max, scale), scale)
    weights = triangles(bin_frequencies(n_fft, sample_rate), edges, shape=shape)
    return weights * (2.0 / (edges[2:] - edges[:-2])) if norm == "slaney" else weights


def analysis_window(name: str, length: int) -> NDArray[np.float64]:
    """Return what a frame is multiplied with before it is transformed.

    Parameters
    ----------
    name : str
        ``"hann-periodic"``, ``"hann-symmetric"``, ``"hamming-periodic"``, ``"hamming-symmetric"``, or ``"povey"``:
        a symmetric Hann window to the power of 0.85 (Kaldi, ``feat/feature-window.cc``).
    length : int
        In samples.

    Returns
    -------
    ndarray
        Float64 ``(length,)``.

    Examples
    --------
    >>> analysis_window("hann-periodic", 4).round(3).tolist()
    [0.0, 0.5, 1.0, 0.5]
    >>> analysis_window("povey", 3).round(3).tolist()
    [0.0, 1.0, 0.0]
    """
    if length == 1:
        return np.ones(1)
    if name == "povey":
        return analysis_window("hann-symmetric", length) ** 0.85
    family, _, ends = name.partition("-")
    floor = _COSINE_FLOORS[family]
    phase = 2.0 * np.pi * np.arange(length) / (length if ends == "periodic" else length - 1)
    # The cosine of a whole turn may come out above 1, and a negative number has no power of 0.85.
    return np.maximum(0.0, floor - (1.0 - floor) * np.cos(phase))


class Filterbank:
    """Power of frames' spectra in bands; safe to share between threads.

    Parameters
    ----------
    window : ndarray
        What frames are multiplied with, float64 ``(length,)``.
    weights : ndarray or None
        Weights of the transform's bins in the bands, float64 ``(n_fft // 2 + 1, bands)``; None makes each bin a band.
    n_fft : int
        Length of the transform; frames shorter than it are followed by zeros.
    power : float
        Exponent of the spectrum's magnitude.

    Examples
    --------
    >>> weights = mel_weights(n_fft=512, sample_rate=16000, mels=40, f_min=0.0, f_max=8000.0)
    >>> filterbank = Filterbank(analysis_window("hann-periodic", 400), weights, n_fft=512)
    >>> filterbank(np.zeros((3, 400), dtype=np.float32)).shape
    (3, 40)
    """

    def __init__(
        self, window: NDArray[np.float64], weights: NDArray[np.float64] | None, *, n_fft: int, power: float = 2.0
    ) -> None:
        self._window = window.astype(np.float32)
        self._weights = None if weights is None else weights.astype(np.float32)
        self._n_fft = n_fft
        self._power = power
        bins = n_fft // 2 + 1
        self._bands = bins if self._weights is None else self._weights.shape[1]
        self._block_frames = _block_rows(bins if self._weights is None else self._weights.size)

    def __call__(
        self,
        framed: NDArray[np.float32],
        condition: Callable[[NDArray[np.float32]], NDArray[np.float32]] | None = None,
    ) -> NDArray[np.float32]:
        """Compute the bands of frames.

        Parameters
        ----------
        framed : ndarray
            Float32 ``(frames, length)``, which may be a view of a waveform; it is not written to.
        condition : callable, optional
            What is done to frames before the window, for some of them at a time.

        Returns
        -------
        ndarray
            Float32 ``(frames, bands)``.
        """
        count = len(framed)
        bands = np.empty((count, self._bands), dtype=np.float32)
        for start in range(0, count, self._block_frames):
            block = slice(start, min(start + self._block_frames, count))
            frames = framed[block] if condition is None else condition(framed[block])
            spectrum = np.fft.rfft(frames * self._window, self._n_fft)
            powers = spectrum.real**2 + spectrum.imag**2
            if self._power != 2.0:
                powers **= np.float32(self._power / 2.0)
            if self._weights is None:
                bands[block] = powers
            else:
                np.matmul(powers, self._weights, out=bands[block])
        return bands


def product(rows: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply rows with a matrix, some at a time, on the calling thread alone.

    Parameters
    ----------
    rows : ndarray
        Float32 ``(frames, bands)``.
    matrix : ndarray
        Float32 ``(bands, columns)``.

    Returns
    -------
    ndarray
        Float32 ``(frames, columns)``.
    """
    result = np.empty((len(rows), matrix.shape[1]), dtype=np.float32)
    step = _block_rows(matrix.size)
    for start in range(0, len(rows), step):
        np.matmul(rows[start : start + step], matrix, out=result[start : start + step])
    return result


def _block_rows(multiplications: int) -> int:
    """How many rows may be taken at once when each costs so many multiplications."""
    return max(1, _UNTHREADED_MULTIPLICATIONS // multiplications)


def without_mean(bands: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take each band's mean over time away; float32 ``(frames, bands)``, and nothing from nothing."""
    if not len(bands):
        return bands
    # In float64, because NumPy adds rows one after another: the rounding would grow with the recording.
    centred: NDArray[np.float32] = bands - bands.mean(axis=0, dtype=np.float64).astype(np.float32)
    return centred
