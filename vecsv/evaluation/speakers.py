"""Who speaks on each side of trials, as far as it is known or follows from the trials themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vecsv.arrays import Flags
from vecsv.calibration.populations import Positions
from vecsv.errors import TrialListError
from vecsv.evaluation.scoring import ScoredTrials


def speaker_codes(trials: ScoredTrials, lines: Positions | None = None, *, where: str = "") -> tuple[Positions, Flags]:
    """Number the speakers of the sides.

    Sides with the same known speaker are one; a side whose speaker is not known is whoever a target trial says it is.
    What no target trial ties to anybody is a speaker of its own.

    Parameters
    ----------
    trials : ScoredTrials
    lines : int64 ``(trials,)``, optional
        Where each trial stands in its list, for errors.
    where : str
        The list.

    Returns
    -------
    codes : int64 ``(sides,)``
    contradicted : bool ``(trials,)``
        Non-target trials whose two sides are one speaker by the target trials.

    Raises
    ------
    TrialListError
        When a trial's label is not what the known speakers say; names the first.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    known = _known(trials)
    first, second, labels = trials.first, trials.second, trials.labels
    both_known = (known[first] >= 0) & (known[second] >= 0)
    wrong = both_known & ((known[first] == known[second]) != labels)
    if wrong.any():
        raise _wrong_label(trials, int(np.argmax(wrong)), int(wrong.sum()), lines, where)
    sides = len(trials.sides)
    nodes = sides + int(known.max(initial=-1)) + 1
    named = np.flatnonzero(known >= 0)
    ties = labels & ~both_known
    rows = np.concatenate([named, first[ties]])
    columns = np.concatenate([sides + known[named], second[ties]])
    graph = coo_matrix((np.ones(rows.size, np.bool_), (rows, columns)), shape=(nodes, nodes))
    codes = connected_components(graph, directed=False)[1][:sides].astype(np.int64)
    return codes, ~labels & (codes[first] == codes[second])


def _known(trials: ScoredTrials) -> Positions:
    """A number for each side's speaker, -1 where that is not known."""
    seen: dict[str, int] = {}
    speakers: Sequence[str | None] = [side.speaker for side in trials.sides]
    return np.array([-1 if name is None else seen.setdefault(name, len(seen)) for name in speakers], np.int64)


def _wrong_label(trials: ScoredTrials, at: int, count: int, lines: Positions | None, where: str) -> TrialListError:
    one, other = trials.sides[trials.first[at]], trials.sides[trials.second[at]]
    line = "" if lines is None else f", line {lines[at]}"
    claim = "one speaker" if trials.labels[at] else "two speakers"
    return TrialListError(
        f"the label says {claim}, but {one.name} is of {one.speaker} and {other.name} of {other.speaker}"
        f" ({count:,} such trials)",
        where=f"{where}{line}".strip(", ") or None,
        hint="correct the list or the manifest",
    )
