"""Recordings as mono float32 at one sampling rate, in blocks, whatever the file is.

Short and long recordings take the same way: decode a chunk, downmix it, resample it, hand out blocks. Memory
is bounded by the block, never by the recording.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Waveform
from vecsv.audio.ffmpeg import FfmpegSource
from vecsv.audio.files import looks_like_text, printable, require_readable, sha256
from vecsv.audio.resample import regroup, resample
from vecsv.audio.sndfile import SndfileSource
from vecsv.audio.source import Source, UnknownFormatError
from vecsv.errors import AudioError

__all__ = [
    "CUT_TOLERANCE_S",
    "MIN_RATE",
    "Clip",
    "blocks",
    "channels",
    "extent",
    "mono_chunks",
    "open_source",
    "read",
    "sha256",
]

CUT_TOLERANCE_S: Final = 0.1
"""How far a cut may end beyond its recording, in seconds: lists of segments often round up."""

MIN_RATE: Final = 1000
"""Lowest sampling rate that is believed, in Hz: from a damaged header, a few bytes would become hours."""


@dataclass(frozen=True)
class Clip:
    """A recording, or a part of one.

    Attributes
    ----------
    path : Path
        The file.
    channel : int, optional
        Which channel, counted from 1; None is the mean of all.
    start_s, end_s : float, optional
        The part, in seconds from the beginning of the recording; None is its beginning and its end.
    """

    path: Path
    channel: int | None = None
    start_s: float | None = None
    end_s: float | None = None

    @property
    def name(self) -> str:
        """What errors call it."""
        return str(self.path)

    def blocks(self, sample_rate: int, block_s: float) -> Iterator[Waveform]:
        """Stream it as blocks of one length; see `blocks`."""
        return blocks(self, sample_rate=sample_rate, block_s=block_s)

    def audio_sha256(self) -> str:
        """SHA-256 of the file's bytes, in hex."""
        return sha256(self.path)


def blocks(clip: Clip, *, sample_rate: int = 16000, block_s: float = 60.0) -> Generator[Waveform, None, None]:
    """Stream a recording as blocks of one length.

    libsndfile decodes what it knows; anything else goes through the program ``ffmpeg`` where that is
    installed. Integer samples are scaled to [-1, 1); floating-point ones stay as they are, and so does a
    constant offset.

    Parameters
    ----------
    clip : Clip
        What to read.
    sample_rate : int
        Sampling rate of the result, in Hz.
    block_s : float
        Length of a block, in seconds. Where blocks are cut changes no sample.

    Yields
    ------
    ndarray
        Float32 ``(round(block_s * sample_rate),)``, finite; the last one may be shorter. There is at least
        one.

    Raises
    ------
    AudioError
        With one of these codes, at the first block or, for what only decoding can tell, at a later one:
        ``missing``, ``is-folder``, ``unreadable``, ``empty``, ``not-audio``, ``needs-ffmpeg``, ``truncated``,
        ``no-samples``, ``not-finite``, ``bad-channel``, ``bad-cut``.

    Examples
    --------
    >>> import tempfile, soundfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "stereo.wav"
    ...     soundfile.write(path, np.zeros((48000, 2)), 48000)
    ...     [block.size for block in blocks(Clip(path), block_s=0.75)]
    [12000, 4000]
    """
    where = printable(clip.path)
    with closing(open_source(clip.path)) as source:
        start, stop = extent(clip, source, where)
        mono = mono_chunks(clip, source, start, stop, where)
        empty = True
        for block in regroup(resample(mono, source.rate, sample_rate), round(block_s * sample_rate)):
            empty = False
            yield block
        if empty:
            raise AudioError("no-samples", "too short to hold a sample after resampling", where=where)


def read(clip: Clip, *, sample_rate: int = 16000, max_s: float | None = None) -> Waveform:
    """Read a recording in one piece.

    Parameters
    ----------
    clip : Clip
        What to read.
    sample_rate : int
        Sampling rate of the result, in Hz.
    max_s : float, optional
        Stop after this many seconds; of what follows, nothing is decoded but the rest of the chunk in hand.

    Returns
    -------
    ndarray
        Float32 ``(samples,)``.

    Raises
    ------
    AudioError
        As `blocks` does.
    """
    stream = blocks(clip, sample_rate=sample_rate, block_s=60.0 if max_s is None else max_s)
    with closing(stream):
        return next(stream) if max_s is not None else np.concatenate(list(stream))


def channels(path: Path) -> int:
    """How many channels a recording has.

    Raises
    ------
    AudioError
        When it cannot be read as audio.
    """
    with closing(open_source(path)) as source:
        return source.channels


def open_source(path: Path, *, exact: bool = True) -> Source:
    """Open a file with what can decode it: libsndfile, else ``ffmpeg``.

    Parameters
    ----------
    path : Path
        The file.
    exact : bool
        Whether samples from its middle have to be those of a file that is decoded from its beginning, to the last bit;
        nearly the same ones take less time in Vorbis and Opus.

    Raises
    ------
    AudioError
        When it cannot be read, is text, or needs an ``ffmpeg`` that is not installed.
    """
    require_readable(path)
    try:
        return SndfileSource(path, exact=exact)
    except UnknownFormatError:
        where = printable(path)
        if looks_like_text(path):
            raise AudioError("not-audio", "is text, not audio", where=where) from None
        program = shutil.which("ffmpeg")
        if program is None:
            raise AudioError(
                "needs-ffmpeg",
                "it is in no format that can be read without ffmpeg",
                where=where,
                hint="install ffmpeg, or convert it to WAV or FLAC",
            ) from None
    return FfmpegSource(program, path)


def extent(clip: Clip, source: Source, where: str) -> tuple[int, int | None]:
    """First frame of a clip and the one after its last, as far as they can be known before decoding.

    Parameters
    ----------
    clip : Clip
        What is wanted.
    source : Source
        The opened file.
    where : str
        What errors call the recording.

    Returns
    -------
    start : int
    stop : int or None
        None is the end of the recording, wherever that is.

    Raises
    ------
    AudioError
        ``not-audio``, ``bad-channel``, ``no-samples`` or ``bad-cut``: what the header shows to be impossible.
    """
    if source.rate < MIN_RATE:
        raise AudioError("not-audio", f"no speech has a sampling rate of {source.rate} Hz", where=where)
    _check_channel(clip, source, where)
    return _frame_range(clip, source, where)


def _check_channel(clip: Clip, source: Source, where: str) -> None:
    if clip.channel is not None and not 1 <= clip.channel <= source.channels:
        has = "1 channel" if source.channels == 1 else f"{source.channels} channels"
        raise AudioError(
            "bad-channel",
            f"has {has}, there is no channel {clip.channel}",
            where=where,
            hint="channels count from 1",
        )


def _frame_range(clip: Clip, source: Source, where: str) -> tuple[int, int | None]:
    start_s = 0.0 if clip.start_s is None else clip.start_s
    end_s = math.inf if clip.end_s is None else clip.end_s
    # Written so that not-a-number fails it too.
    if not 0.0 <= start_s < end_s or clip.end_s == math.inf:
        raise AudioError("bad-cut", f"a cut from {start_s:g} s to {end_s:g} s has no length", where=where)
    start = round(start_s * source.rate)
    stop = None if clip.end_s is None else round(end_s * source.rate)
    if stop == start:
        raise AudioError("bad-cut", f"a cut from {start_s} s to {end_s} s holds no sample", where=where)
    _check_length(clip, source, where)
    return start, stop


def _check_length(clip: Clip, source: Source, where: str) -> None:
    frames, rate = source.frames, source.rate
    if frames is None:
        return
    if frames == 0:
        raise AudioError("no-samples", "holds no samples", where=where)
    length = f"beyond the end of the recording at {frames / rate:.2f} s"
    if clip.start_s is not None and round(clip.start_s * rate) >= frames:
        raise AudioError("bad-cut", f"the cut starts at {clip.start_s:g} s, {length}", where=where)
    if clip.end_s is not None and clip.end_s > frames / rate + CUT_TOLERANCE_S:
        raise AudioError("bad-cut", f"the cut ends at {clip.end_s:g} s, {length}", where=where)


def mono_chunks(
    clip: Clip, source: Source, start: int, stop: int | None, where: str
) -> Generator[Waveform, None, None]:
    """The clip's own frames, one channel, checked; whether a stream was long enough shows only at its end.

    Parameters
    ----------
    clip : Clip
        Which channel, and which part has to be there.
    source : Source
        The opened file.
    start, stop : int, int or None
        First frame, and the one after the last; None is the end.
    where : str
        What errors call the recording.
    """
    position = start
    for frames in source.chunks(start, stop):
        mono = frames[:, clip.channel - 1] if clip.channel is not None else _downmix(frames)
        _check_finite(mono, position, source.rate, where)
        position += len(mono)
        yield np.ascontiguousarray(mono)
    # How long a stream is shows only at its end; where the clip ends before that, it is not known still.
    _check_length(clip, source, where)


def _downmix(frames: NDArray[np.float32]) -> Waveform:
    """Mean over channels; column by column, so that every sample is rounded alike wherever chunks are cut."""
    if frames.shape[1] == 1:
        return frames[:, 0]
    total = frames[:, 0].copy()
    for channel in range(1, frames.shape[1]):
        # Infinities of both signs make NaN, which the next step reports.
        with np.errstate(invalid="ignore"):
            total += frames[:, channel]
    return total / np.float32(frames.shape[1])


def _check_finite(mono: Waveform, position: int, rate: int, where: str) -> None:
    finite = np.isfinite(mono)
    if not finite.all():
        seconds = (position + int(np.argmin(finite))) / rate
        raise AudioError(
            "not-finite", f"a sample is not a finite number (NaN or infinite) at {seconds:.3f} s", where=where
        )
