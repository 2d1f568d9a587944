"""How the trials behind a calibration scored, in few enough numbers to draw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from vecsv.arrays import Flags, Scores
from vecsv.calibration.trials import Trials

BINS: Final = 60


@dataclass(frozen=True)
class ScoreHistogram:
    """Trials by score.

    Attributes
    ----------
    edges : tuple of float
        Limits of the bins, ascending; the last bin has both of its.
    targets, non_targets : tuple of int
        Trials in each bin: one number fewer than `edges`.
    """

    edges: tuple[float, ...]
    targets: tuple[int, ...]
    non_targets: tuple[int, ...]


def histogram_of(path: Path) -> ScoreHistogram | None:
    """The histogram of a store's trial list; None where there is none, as with thresholds taken over from elsewhere."""
    import pyarrow.parquet as pq

    if not path.is_file():
        return None
    trials = Trials.from_table(pq.ParquetFile(path).read())
    return histogram(trials.score, trials.target)


def histogram(scores: Scores, targets: Flags, *, bins: int = BINS) -> ScoreHistogram:
    """Count scores in bins of equal width, from the lowest to the highest.

    Parameters
    ----------
    scores : ndarray
        float32 ``(n,)``, n at least 1.
    targets : ndarray
        bool ``(n,)``: pairs of one speaker.
    bins : int

    Examples
    --------
    >>> found = histogram(np.float32([0, 0.2, 0.9, 1]), np.array([False, False, True, True]), bins=2)
    >>> found.edges, found.targets, found.non_targets
    ((0.0, 0.5, 1.0), (0, 2), (2, 0))
    """
    edges = np.histogram_bin_edges(scores.astype(np.float64), bins)
    counts = [np.histogram(scores[chosen], edges)[0] for chosen in (targets, ~targets)]
    return ScoreHistogram(
        tuple(round(float(edge), 6) for edge in edges), tuple(counts[0].tolist()), tuple(counts[1].tolist())
    )
