"""How a recording is cut into a network's windows, and how their embeddings become one.

Both are part of a model's fingerprint: embeddings pooled by different rules are not comparable.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vecsv.errors import ModelError


@dataclass(frozen=True)
class Windowing:
    """Overlapping windows of equal length over a recording's frames.

    Windows start every `step` frames, as long as the recording covers `min_coverage` of them; the first is there
    in any case. With the values of GE2E these are the windows of ``resemblyzer`` 0.1.4
    (``VoiceEncoder.compute_partial_slices``), on which its weights were published.

    Attributes
    ----------
    frames : int
        Length of a window, in frames.
    step : int
        Distance between the starts of two windows, in frames.
    min_coverage : float
        Smallest share of a window that the recording has to cover.

    Examples
    --------
    >>> Windowing(frames=160, step=77, min_coverage=0.75).starts(samples=48000, hop=160)
    [0, 77, 154]
    """

    frames: int
    step: int
    min_coverage: float

    def __post_init__(self) -> None:
        if not (0 < self.step <= self.frames and 0.0 < self.min_coverage <= 1.0):
            raise ModelError(f"impossible windowing {asdict(self)}")

    def starts(self, *, samples: int, hop: int) -> list[int]:
        """First frame of each window over a recording.

        Parameters
        ----------
        samples : int
            Length of the recording.
        hop : int
            Samples between two frames.

        Returns
        -------
        list of int
            Ascending, never empty.
        """
        spare = samples - self.min_coverage * self.frames * hop
        return list(range(0, 1 + max(0, math.floor(spare / hop)), self.step))

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Windowing:
        """Read a rule that `to_json` wrote; a ModelError when it is none."""
        try:
            frames, step, min_coverage = (values[name] for name in ("frames", "step", "min_coverage"))
            return cls(int(frames), int(step), float(min_coverage))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"windowing {values!r} is not a windowing rule") from error


@dataclass(frozen=True)
class Pooling:
    """How several embeddings become the one of a recording.

    Attributes
    ----------
    windows : str
        From windows to a block: the mean of unit vectors, scaled to unit length.
    block_s : float
        A longer recording is embedded in blocks of this many seconds, so that memory stays bounded.
    blocks : str
        From blocks to a recording: the mean of the blocks' unit vectors, weighted by the seconds of speech in
        each, scaled to unit length.
    """

    windows: str = "mean"
    block_s: float = 60.0
    blocks: str = "speech-weighted-mean"

    def to_json(self) -> dict[str, Any]:
        """Return the rule as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Pooling:
        """Read a rule that `to_json` wrote; a ModelError when this version pools differently."""
        block_s = values.get("block_s")
        pooling = cls()
        if isinstance(block_s, int | float) and not isinstance(block_s, bool) and block_s > 0:
            pooling = cls(block_s=float(block_s))
        if dict(values) != pooling.to_json():
            raise ModelError(
                f"pooling {dict(values)!r} is not known to this version of vecsv, which pools {pooling.to_json()!r}"
            )
        return pooling


POOLING = Pooling()
"""The rule of every model that does not say otherwise."""
