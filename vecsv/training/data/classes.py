"""What a network learns to tell apart: speakers, or speakers at each speed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vecsv.errors import TrainingError


@dataclass(frozen=True)
class Classes:
    """Labels of a training.

    Attributes
    ----------
    speakers : tuple of str
        All different.
    factors : tuple of float
        Speeds at which recordings are played; the first is 1.
    new_speakers : bool
        Whether a voice at another speed is another speaker.

    Examples
    --------
    >>> classes = Classes(("ann", "bob"), (1.0, 0.9), new_speakers=True)
    >>> classes.count, classes.label(1, 0), classes.label(1, 1)
    (4, 1, 3)
    >>> classes.names()
    ['ann', 'bob', 'ann, speed 0.9', 'bob, speed 0.9']
    """

    speakers: tuple[str, ...]
    factors: tuple[float, ...] = (1.0,)
    new_speakers: bool = True

    def __post_init__(self) -> None:
        if len(self.speakers) < 2:
            raise TrainingError(f"{len(self.speakers)} speakers, but it takes two to tell apart")
        if len(set(self.speakers)) != len(self.speakers):
            raise TrainingError("a speaker is there twice")
        if not self.factors or self.factors[0] != 1.0 or len(set(self.factors)) != len(self.factors):
            raise TrainingError(f"the speeds are {list(self.factors)}, but have to be different and begin with 1")

    @property
    def count(self) -> int:
        """How many classes there are."""
        return len(self.speakers) * (len(self.factors) if self.new_speakers else 1)

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """Number of each speaker, which is its label at its own speed."""
        return {speaker: number for number, speaker in enumerate(self.speakers)}

    def label(self, speaker: int, factor: int) -> int:
        """Label of a speaker at a speed, both by number; labels below ``len(speakers)`` are unchanged voices."""
        return speaker + factor * len(self.speakers) if self.new_speakers else speaker

    def names(self) -> list[str]:
        """Name of each class, for people."""
        changed = self.factors[1:] if self.new_speakers else ()
        return [*self.speakers, *(f"{speaker}, speed {speed:g}" for speed in changed for speaker in self.speakers)]

    def to_json(self) -> dict[str, Any]:
        """Return the classes as JSON values."""
        return {"speakers": list(self.speakers), "factors": list(self.factors), "new_speakers": self.new_speakers}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Classes:
        """Read what `to_json` wrote; a KeyError, TypeError or TrainingError when it is something else."""
        factors = tuple(float(factor) for factor in values["factors"])
        return cls(tuple(str(speaker) for speaker in values["speakers"]), factors, bool(values["new_speakers"]))
