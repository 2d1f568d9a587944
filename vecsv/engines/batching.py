"""Which inputs go through the network together: a plan made from their lengths alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class BatchLimits:
    """How large a batch may grow.

    Attributes
    ----------
    items : int
        Inputs in a batch.
    size : int
        Frames (or samples) of a batch, padding counted. An input that is longer has a batch of its own.
    waste : float
        Share of a batch that may be padding, in [0, 1).
    """

    items: int
    size: int
    waste: float = 0.1

    def __post_init__(self) -> None:
        if self.items < 1 or self.size < 1 or not 0.0 <= self.waste < 1.0:
            raise ValueError("a batch takes at least one input and frame, and is not padding alone")


@dataclass(frozen=True)
class PlannedBatch:
    """Inputs that share a call of the network.

    Attributes
    ----------
    positions : tuple of int
        Where the inputs stand in what was planned for.
    length : int
        Frames (or samples) that each is filled up to: those of the longest.
    """

    positions: tuple[int, ...]
    length: int


def plan_batches(lengths: Sequence[int], limits: BatchLimits, *, pads: bool) -> list[PlannedBatch]:
    """Put inputs of like lengths together.

    Parameters
    ----------
    lengths : sequence of int
        Frames (or samples) of each input.
    limits : BatchLimits
    pads : bool
        Whether inputs of unequal lengths may share a batch.

    Returns
    -------
    list of PlannedBatch
        Every position exactly once, longest batches first: what would not fit into memory fails at once, not after an
        hour.

    Examples
    --------
    >>> [batch.positions for batch in plan_batches([5, 9, 5, 10], BatchLimits(items=8, size=100), pads=True)]
    [(3, 1), (0, 2)]
    >>> [batch.positions for batch in plan_batches([5, 9, 5, 10], BatchLimits(items=8, size=100), pads=False)]
    [(3,), (1,), (0, 2)]
    """
    batches: list[PlannedBatch] = []
    positions: list[int] = []
    longest = filled = 0
    # The sort is stable: inputs of one length keep their order, and a plan never depends on anything but lengths.
    for position in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        length = lengths[position]
        padded = longest * (len(positions) + 1)
        fits = (
            len(positions) < limits.items
            and padded <= limits.size
            and (length == longest or pads)
            and padded - filled - length <= limits.waste * padded
        )
        if positions and not fits:
            batches.append(PlannedBatch(tuple(positions), longest))
            positions = []
        if not positions:
            longest, filled = length, 0
        positions.append(position)
        filled += length
    if positions:
        batches.append(PlannedBatch(tuple(positions), longest))
    return batches
