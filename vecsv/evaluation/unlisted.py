"""All pairs of a store that has too many of them for a list: scored in blocks, counted, and forgotten."""

from __future__ import annotations

from collections.abc import Callable

from vecsv.calibration.allpairs import evaluate_all_pairs, histogram
from vecsv.calibration.bootstrap import SpeakerIntervals
from vecsv.calibration.evaluate import Metrics, evaluate_histograms
from vecsv.calibration.overlaps import overlapping_cuts
from vecsv.calibration.utterances import Utterances
from vecsv.errors import UsageError

EXACT_PAIRS = 60_000_000
"""Beyond this the scores themselves would take more than a gigabyte, and are counted in bins."""


def evaluate_every_pair(
    utterances: Utterances, *, where: str, seed: int, progress: Callable[[int, int], None] | None = None
) -> tuple[Metrics, SpeakerIntervals | None, list[str]]:
    """Work out the figures of all pairs, exactly where memory allows, else from histograms.

    Parameters
    ----------
    utterances : Utterances
    where : str
        The store, for errors.
    seed : int
        Of the intervals' draws.
    progress : callable, optional
        Called with blocks of pairs counted and blocks in all, where histograms are made.

    Returns
    -------
    metrics : Metrics
    intervals : SpeakerIntervals or None
        None from histograms, which do not say whose a score is.
    warnings : list of str

    Raises
    ------
    UsageError
        When there are overlapping cuts of one recording: they are no pairs, and cannot be told apart here.
    CalibrationError
        When there is no pair of one speaker, or none of two.
    """
    overlapping, _ = overlapping_cuts(utterances.recordings, utterances.start_s, utterances.end_s)
    if len(overlapping):
        raise UsageError(
            f"{len(overlapping):,} pairs are overlapping cuts of one recording, which all pairs of so large a store "
            "cannot leave out",
            where=where,
            hint="leave out --all-pairs and take a sample",
        )
    count = len(utterances.speakers)
    if count * (count - 1) // 2 <= EXACT_PAIRS:
        return *evaluate_all_pairs(utterances.vectors, utterances.speakers, seed=seed), []
    counted = histogram(utterances.vectors, utterances.speakers, progress=progress)
    note = "figures are from histograms of 65,536 bins, and have no intervals; a sample of the pairs has"
    return evaluate_histograms(counted), None, [note]
