"""Recordings, and a table of them: a million as objects would be copied, object by object, to each worker process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording to draw crops from, or a part of one.

    Attributes
    ----------
    utt_id : str
        Its name in the manifest.
    path : Path
        The file.
    channel : int or None
        Which channel, counted from 1; None is the mean of all.
    speaker : str
        Who speaks.
    rate : int
        Sampling rate of the file, in Hz.
    start, stop : int
        Its first frame and the one after its last, at the file's own rate.
    narrow : bool
        Whether the file's rate is below that of the network: nothing is heard in the upper part of the spectrum.
    """

    utt_id: str
    path: Path
    channel: int | None
    speaker: str
    rate: int
    start: int
    stop: int
    narrow: bool = False

    @property
    def duration_s(self) -> float:
        """Length, in seconds."""
        return (self.stop - self.start) / self.rate


class RecordingTable(Sequence[Recording]):
    """Recordings that are made when they are asked for.

    Parameters
    ----------
    recordings : sequence of Recording
        What is packed.

    Examples
    --------
    >>> ann = Recording("a.wav", Path("a.wav"), None, "ann", rate=16000, start=0, stop=16000)
    >>> RecordingTable([ann])[0] == ann
    True
    """

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._names = _Texts([recording.utt_id for recording in recordings])
        self._paths = _Texts([str(recording.path) for recording in recordings])
        self._speakers = sorted({recording.speaker for recording in recordings})
        numbers = {speaker: number for number, speaker in enumerate(self._speakers)}
        # Channels count from 1, which leaves 0 for the mean of all.
        self._numbers = np.array(
            [
                (
                    numbers[recording.speaker],
                    recording.channel or 0,
                    recording.rate,
                    recording.start,
                    recording.stop,
                    recording.narrow,
                )
                for recording in recordings
            ],
            dtype=np.int64,
        ).reshape(-1, 6)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> Recording: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Recording]: ...

    def __getitem__(self, place: int | slice) -> Recording | Sequence[Recording]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        if not 0 <= place < len(self):
            raise IndexError(place)
        speaker, channel, rate, start, stop, narrow = self._numbers[place].tolist()
        path = Path(self._paths[place])
        name = self._speakers[speaker]
        return Recording(self._names[place], path, channel or None, name, rate, start, stop, bool(narrow))


class _Texts:
    """Texts end to end."""

    def __init__(self, texts: Sequence[str]) -> None:
        # Names of files may hold bytes that are no UTF-8, which Python keeps as surrogates.
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        self._bytes = b"".join(encoded)
        self._ends: NDArray[np.int64] = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def __getitem__(self, place: int) -> str:
        start, stop = self._ends[place : place + 2].tolist()
        return self._bytes[start:stop].decode("utf-8", "surrogatepass")
