"""Which part of a recording a measurement listens to, and reading such parts batch by batch.

Nothing here is drawn anew from one epoch to the next: a measurement hears the same samples each time, so that two
epochs differ by the network alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vecsv.arrays import Waveform
from vecsv.audio.decode import Clip, read
from vecsv.embedding.parallel import map_in_order
from vecsv.errors import AudioError, TrainingError
from vecsv.training.data.recordings import Recording

MOST_UNREAD: Final = 0.01
"""Part of the recordings that may turn out to be undecodable; above it a measurement would be of something else."""

_NAMED: Final = 3

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """What one of several processes does of a measurement, and how the parts become the whole.

    Attributes
    ----------
    rank, world : int
        This process, counted from 0, and how many there are.
    add : callable
        Adds a float tensor on the CPU up over all processes and gives each of them the sum, on the CPU. With
        ``accelerate``: ``lambda part: accelerator.reduce(part.to(accelerator.device), "sum").cpu()``. Each row of what
        is added is zero in all processes but one, so the sum is exact, and all get what one process alone would.
    """

    rank: int = 0
    world: int = 1
    add: Callable[[Tensor], Tensor] = lambda part: part

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every `world`-th of the items, from `rank` on."""
        return items[self.rank :: self.world]


ALONE: Final = Share()
"""A single process: all of it."""


def beginning(recording: Recording, length_s: float | None) -> Clip:
    """The first seconds of a recording, or all of it when it is shorter or `length_s` is None."""
    stop = recording.stop
    if length_s is not None:
        stop = min(stop, recording.start + round(length_s * recording.rate))
    return _clip(recording, recording.start, stop)


def middle(recording: Recording, length_s: float) -> Clip:
    """The middle of a recording, or all of it when it is shorter."""
    spare = max(0, recording.stop - recording.start - round(length_s * recording.rate))
    start = recording.start + spare // 2
    return _clip(recording, start, recording.stop - (spare - spare // 2))


def samples_of(clip: Clip, sample_rate: int) -> int:
    """How many samples a clip has at a rate, to within one."""
    return round(((clip.end_s or 0.0) - (clip.start_s or 0.0)) * sample_rate)


def repeated(wave: Waveform, samples: int) -> Waveform:
    """A waveform of a length: a longer one is cut, a shorter one repeated.

    Examples
    --------
    >>> repeated(np.float32([1, 2, 3]), 5).tolist()
    [1.0, 2.0, 3.0, 1.0, 2.0]
    """
    return np.resize(wave, samples)


def thinned(speakers: Sequence[str] | NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Which recordings to keep where there are too many: as many speakers as can have two, then more of each.

    Parameters
    ----------
    speakers : sequence, length n
        Whose each recording is.
    most : int
        How many to keep.
    seed : int
        Of what is drawn: which recordings of a speaker, and which speakers go first.

    Returns
    -------
    ndarray of int64, shape (min(n, most),)
        Positions, ascending.

    Examples
    --------
    >>> kept = thinned(list("aaaaabbbbbccccc"), 6, seed=0)
    >>> "".join("aaaaabbbbbccccc"[position] for position in kept)
    'aabbcc'
    """
    count = len(speakers)
    if count <= most:
        return np.arange(count)
    generator = np.random.Generator(np.random.PCG64(seed))
    _, codes = np.unique(np.asarray(speakers), return_inverse=True)
    shuffled = generator.permutation(count)
    together = shuffled[np.argsort(codes[shuffled], kind="stable")]
    sizes = np.bincount(codes)
    number = np.arange(count) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    turn = generator.permutation(sizes.size)[codes[together]]
    # Two of a speaker at a time: one alone would be in no target pair.
    order = np.lexsort((number, turn, number // 2))
    return np.sort(together[order[:most]])


def read_batches(
    clips: Sequence[Clip], batches: Sequence[tuple[int, ...]], sample_rate: int
) -> Iterator[list[tuple[int, Waveform | AudioError]]]:
    """Read clips batch by batch, ahead of whoever takes them, on a thread of its own.

    Parameters
    ----------
    clips : sequence of Clip
    batches : sequence of tuple of int
        Positions among the clips. At most four batches are in memory.
    sample_rate : int
        Of the waveforms, in Hz.

    Yields
    ------
    list of (int, ndarray or AudioError)
        Positions with float32 ``(samples,)``, or with why there is none.
    """

    def load(batch: tuple[int, ...]) -> list[tuple[int, Waveform | AudioError]]:
        return [(position, _read(clips[position], sample_rate)) for position in batch]

    return map_in_order(load, batches, workers=1)


def stacks(waves: Sequence[tuple[int, Waveform]]) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    """Put waveforms of equal length together: their positions, and float32 ``(waveforms, samples)``."""
    by_length: dict[int, list[tuple[int, Waveform]]] = {}
    for position, wave in waves:
        by_length.setdefault(wave.size, []).append((position, wave))
    for equal in by_length.values():
        yield [position for position, _ in equal], np.stack([wave for _, wave in equal])


def require_few(unread: Sequence[tuple[str, str]], recordings: int, what: str) -> None:
    """Refuse a measurement that has lost too much.

    Parameters
    ----------
    unread : sequence of (str, str)
        Name of each recording that could not be decoded, and why.
    recordings : int
        How many there are in all.
    what : str
        What the recordings are, as an error should call them.

    Raises
    ------
    TrainingError
        When it is more than a hundredth.
    """
    if len(unread) > MOST_UNREAD * recordings:
        named = "; ".join(f"{name}: {reason}" for name, reason in unread[:_NAMED])
        more = f" and {len(unread) - _NAMED} more" if len(unread) > _NAMED else ""
        raise TrainingError(
            f"{len(unread)} of {recordings} {what} cannot be decoded: {named}{more}",
            hint="mend them, or take them out of the manifest",
        )


def _clip(recording: Recording, start: int, stop: int) -> Clip:
    return Clip(recording.path, recording.channel, start / recording.rate, stop / recording.rate)


def _read(clip: Clip, sample_rate: int) -> Waveform | AudioError:
    try:
        return read(clip, sample_rate=sample_rate)
    except AudioError as error:
        return error
