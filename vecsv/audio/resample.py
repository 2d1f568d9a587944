"""Changing the sampling rate of a stream, and cutting a stream into blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from vecsv.arrays import Waveform

QUALITY: Final = "HQ"
"""soxr's quality setting: 20 bits, pass band to 91% of the lower Nyquist frequency."""


def resample(chunks: Iterable[Waveform], from_rate: int, to_rate: int) -> Iterator[Waveform]:
    """Resample a stream; where it is cut into chunks makes no difference.

    Parameters
    ----------
    chunks : iterable of ndarray
        Mono float32 ``(samples,)`` each.
    from_rate, to_rate : int
        Sampling rates, in Hz. Equal ones pass everything through untouched.

    Yields
    ------
    ndarray
        Float32 ``(samples,)``, never empty. All of them joined are what soxr gives for all chunks joined.

    Raises
    ------
    ValueError
        When soxr cannot convert between these rates.

    Examples
    --------
    >>> sum(len(part) for part in resample([np.zeros(500, np.float32)] * 16, 8000, 16000))
    16000
    """
    if from_rate == to_rate:
        yield from chunks
        return
    import soxr

    try:
        stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality=QUALITY)
    except (RuntimeError, ValueError) as failure:
        raise ValueError(f"cannot resample from {from_rate} to {to_rate} Hz") from failure
    for chunk in chunks:
        part: Waveform = stream.resample_chunk(chunk)
        if part.size:
            yield part
    rest: Waveform = stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
    if rest.size:
        yield rest


def regroup(chunks: Iterable[Waveform], size: int) -> Iterator[Waveform]:
    """Cut a stream into blocks of one length; the last one may be shorter.

    Parameters
    ----------
    chunks : iterable of ndarray
        One-dimensional, of any lengths.
    size : int
        Length of a block, in samples; at least 1.

    Yields
    ------
    ndarray
        ``(size,)``, the last one ``(1 to size,)``; at most one block and one chunk are held at a time.

    Examples
    --------
    >>> [block.size for block in regroup([np.zeros(5, np.float32)] * 3, 6)]
    [6, 6, 3]
    """
    if size < 1:
        raise ValueError("a block needs at least one sample")
    pending: list[Waveform] = []
    held = 0
    for chunk in chunks:
        rest = chunk
        while held + rest.size >= size:
            needed = size - held
            yield _joined([*pending, rest[:needed]])
            rest = rest[needed:]
            pending, held = [], 0
        if rest.size:
            pending.append(rest)
            held += rest.size
    if held:
        yield _joined(pending)


def _joined(parts: list[Waveform]) -> Waveform:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
