"""Decoding with libsndfile: WAV, FLAC, OGG, MP3, AIFF, SPHERE and whatever else it knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vecsv.audio.files import printable
from vecsv.audio.source import CHUNK_VALUES, UnknownFormatError
from vecsv.errors import AudioError

# Frames of these lean on frames before them, so decoding from the middle gives other samples: after a jump,
# libsndfile's Vorbis is off by some samples near the end, and its MP3 wrong for the length of a frame.
_NOT_EXACTLY_SEEKABLE: Final = frozenset({"MP3", "OGG"})
# Of those, where a jump gives nearly the same samples: Vorbis to rounding, Opus to half a percent of the level. After
# one into an MP3, the decoder writes complaints to the terminal.
_NEARLY_SEEKABLE: Final = frozenset({"OGG"})
# An MP3 without a Xing header has no length: libsndfile guesses one from the bit rate of the first frames.
_ESTIMATED_LENGTH: Final = "MP3"
_ESTIMATE_TOLERANCE: Final = 0.05
# What libsndfile gives for the length of a FLAC that was written into a pipe (SF_COUNT_MAX).
_UNKNOWN_FRAMES: Final = 2**63 - 1


class SndfileSource:
    """A recording that libsndfile decodes.

    Parameters
    ----------
    path : Path
        A file that exists and may be read.
    exact : bool
        Whether samples have to be those of a file that is decoded from its beginning, which takes longer where a format
        is not made for jumps.

    Raises
    ------
    UnknownFormatError
        When libsndfile finds no format that it knows, or a FLAC without a length, whose end it cannot read.
    """

    def __init__(self, path: Path, *, exact: bool = True) -> None:
        import soundfile

        self._path = path
        self._failure: type[Exception] = soundfile.SoundFileError
        try:
            self._file = soundfile.SoundFile(path)
        # A name that ends in .raw makes the package ask for a rate and channels, by TypeError.
        except (soundfile.SoundFileError, TypeError) as failure:
            raise UnknownFormatError from failure
        # libsndfile takes any bytes for telephone speech when the name ends in .au, .gsm or .vox.
        if self._file.format == "RAW" or self._file.frames >= _UNKNOWN_FRAMES:
            self._file.close()
            raise UnknownFormatError
        self._counted: int | None = None
        self._nearly = not exact and self._file.format in _NEARLY_SEEKABLE

    @property
    def rate(self) -> int:
        """Sampling rate, in Hz."""
        return int(self._file.samplerate)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self._file.channels)

    @property
    def frames(self) -> int | None:
        """Frames the header promises, or None where it promises none until `chunks` has come to the end."""
        return self._counted if self._file.format == _ESTIMATED_LENGTH else int(self._file.frames)

    def chunks(self, start: int, stop: int | None) -> Iterator[NDArray[np.float32]]:
        """Decode the frames from `start` to before `stop`; see `Source`."""
        size = max(1, CHUNK_VALUES // self.channels)
        position = self._seek(start)
        while stop is None or position < stop:
            try:
                wanted = size if stop is None else min(size, stop - position)
                chunk = self._file.read(wanted, dtype="float32", always_2d=True)
            except self._failure as failure:
                raise self._truncated() from failure
            if not len(chunk):
                # After a jump, the end may come some samples early.
                if not self._nearly:
                    self._check_end(position)
                return
            position += len(chunk)
            if position > start:
                yield chunk[max(0, len(chunk) - (position - start)) :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _seek(self, start: int) -> int:
        from_beginning = self._file.format in _NOT_EXACTLY_SEEKABLE and not self._nearly
        if start == 0 or from_beginning or not self._file.seekable():
            return 0
        try:
            return int(self._file.seek(start))
        except self._failure as failure:
            raise self._truncated() from failure

    def _check_end(self, position: int) -> None:
        estimated = self._file.format == _ESTIMATED_LENGTH
        if position < self._file.frames * (1 - (_ESTIMATE_TOLERANCE if estimated else 0)):
            raise self._truncated()
        self._counted = position

    def _truncated(self) -> AudioError:
        length = self._file.frames / self.rate
        return AudioError(
            "truncated",
            f"damaged or cut short: not all of its {length:.2f} s can be decoded",
            where=printable(self._path),
        )
