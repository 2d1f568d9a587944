"""Which crops an epoch is made of, and in which order: a pure function of the seed and the epoch.

Every recording gets the whole number of crops next below or next above its share of the epoch, and so does every
speaker. That is systematic sampling: shares are laid end to end, in an order that is drawn, and a comb of evenly spaced
teeth is put on them at a place that is drawn; each tooth is a crop. Source: W. G. Cochran, Sampling Techniques, third
edition, chapter 8.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vecsv.errors import TrainingError
from vecsv.training.data.classes import Classes
from vecsv.training.data.recordings import Corpus

# What the plan itself is drawn from must be no example's seed.
_PLAN: Final = 0
_EXAMPLES: Final = 1


class Example(NamedTuple):
    """A crop to draw.

    Attributes
    ----------
    recording : int
        Its place among the corpus' recordings.
    factor : int
        Which speed, by its place among the classes' factors.
    label : int
        Class of the two.
    seed : int
        What everything else about it is drawn from, of 64 bits.
    """

    recording: int
    factor: int
    label: int
    seed: int


class EpochPlan:
    """The crops of an epoch, in order.

    Parameters
    ----------
    corpus : Corpus
        Where they are drawn from.
    classes : Classes
        With all of the corpus' speakers; each speed gets as many crops as any other.
    crop_s : float
        Length of a crop, in seconds.
    sampling : str
        ``"natural"``: recordings in proportion to their length, where one shorter than a crop counts as a crop;
        ``"balanced"``: speakers equally often, and each one's recordings in that proportion.
    crops : int, optional
        How many; None is how many the recordings hold, each one at least, times the speeds that are other speakers.
    seed, epoch : int
        What is drawn follows from these, both at least 0.

    Raises
    ------
    TrainingError
        When the corpus has a speaker that is no class.

    Examples
    --------
    >>> from pathlib import Path
    >>> from vecsv.training.data.recordings import Recording
    >>> one, two = (Recording(name, Path(name), None, name, 16000, 0, 48000) for name in ("ann", "bob"))
    >>> plan = EpochPlan(Corpus.of([one, two]), Classes(("ann", "bob")), crop_s=1.5, seed=1, epoch=0)
    >>> len(plan), sorted(plan[position].label for position in range(4))
    (4, [0, 0, 1, 1])
    """

    def __init__(
        self,
        corpus: Corpus,
        classes: Classes,
        *,
        crop_s: float,
        sampling: str = "natural",
        crops: int | None = None,
        seed: int,
        epoch: int,
    ) -> None:
        self._classes = classes
        self._seeds = (seed, epoch)
        self._speakers = _speakers(corpus, classes)
        lengths = np.array([recording.duration_s for recording in corpus.recordings]) / crop_s
        if crops is None:
            # A little more than what there is, or a recording of three crops may be one frame short of them.
            held = int(np.maximum(1, np.floor(lengths + 1e-6)).sum())
            crops = held * (len(classes.factors) if classes.new_speakers else 1)
        generator = _generator((seed, epoch, _PLAN))
        order, shares = _shares(np.maximum(lengths, 1.0), self._speakers, sampling, generator)
        counts = _counts(shares, crops, generator)
        recordings = np.repeat(order, counts).astype(np.int32)
        # Speeds take turns along the comb, so that each speaker has each of them about equally often.
        speeds = len(classes.factors)
        factors = ((np.arange(crops) + generator.integers(speeds)) % speeds).astype(np.int16)
        shuffled = generator.permutation(crops)
        self._recordings, self._factors = recordings[shuffled], factors[shuffled]

    def __len__(self) -> int:
        return int(self._recordings.size)

    def __getitem__(self, position: int) -> Example:
        if not 0 <= position < len(self):
            raise IndexError(position)
        recording, factor = int(self._recordings[position]), int(self._factors[position])
        seed = np.random.SeedSequence((*self._seeds, _EXAMPLES, position)).generate_state(1, np.uint64)[0]
        return Example(recording, factor, self._classes.label(int(self._speakers[recording]), factor), int(seed))


def _generator(entropy: tuple[int, ...]) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy)))


def _speakers(corpus: Corpus, classes: Classes) -> NDArray[np.int32]:
    numbers = classes.numbers
    for speaker in corpus.speakers:
        if speaker not in numbers:
            raise TrainingError(f'"{speaker}" speaks in the recordings, but is none of the classes')
    return np.array([numbers[recording.speaker] for recording in corpus.recordings], dtype=np.int32)


def _shares(
    weights: NDArray[np.float64], speakers: NDArray[np.int32], sampling: str, generator: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Recordings in an order that is drawn, each speaker's together, and what part of all crops each of them gets."""
    # Speakers in an order that is drawn, and the recordings of each.
    ranks = generator.permutation(int(speakers.max()) + 1)
    order = np.lexsort((generator.random(speakers.size), ranks[speakers]))
    if sampling == "balanced":
        totals = np.bincount(speakers, weights)
        weights = weights / totals[speakers]
    elif sampling != "natural":
        raise TrainingError(f"sampling is {sampling!r}, this version knows natural, balanced")
    return order, weights[order] / weights.sum()


def _counts(shares: NDArray[np.float64], crops: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """How many crops each share gets; together they are exactly as many as there are to be."""
    teeth = np.floor(np.cumsum(shares) * crops + generator.random()).astype(np.int64)
    # Sums of floats are off by little, which could be one crop too many or too few.
    teeth[-1] = crops
    return np.diff(np.minimum(teeth, crops), prepend=0)
