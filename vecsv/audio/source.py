"""What a decoder has to offer, and the one exception it may raise before it has started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

CHUNK_VALUES: Final = 1 << 19
"""Values (frames times channels) decoded at a time: 2 MiB as float32, whatever the number of channels."""


class UnknownFormatError(Exception):
    """A decoder does not know the format of a file; another one may."""


class Source(Protocol):
    """An open recording, decoded as it is read."""

    @property
    def rate(self) -> int:
        """Sampling rate, in Hz."""

    @property
    def channels(self) -> int:
        """Number of channels."""

    @property
    def frames(self) -> int | None:
        """Frames the header promises, or None where it promises none until `chunks` has come to the end."""

    def chunks(self, start: int, stop: int | None) -> Iterator[NDArray[np.float32]]:
        """Decode the frames from `start` to before `stop`, or to the end; may be called once.

        Nothing beyond `stop` is decoded, so damage there does no harm.

        Yields
        ------
        ndarray
            Float32 ``(frames, channels)``, integers scaled to [-1, 1), never empty.

        Raises
        ------
        AudioError
            ``truncated`` when the recording ends before it should.
        """

    def close(self) -> None:
        """Give back the file or the process behind it; harmless when called again."""
