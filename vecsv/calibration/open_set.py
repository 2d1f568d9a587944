"""Thresholds for searches among many, also for people who are not there, and the errors they make.

The false positive identification rate (FPIR) is the share of non-mated searches that return anybody at or above the
threshold. The false negative identification rate (FNIR) is the share of mated searches that do not return the mate
first and at or above it; a mate who only ties with somebody else is missed. Terms: ISO/IEC 19795-1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Flags, Scores
from vecsv.calibration.counts import Number, exact_number
from vecsv.calibration.operating_points import FEW_ERRORS
from vecsv.errors import CalibrationError

LEVEL = 0.9


@dataclass(frozen=True)
class SearchRate:
    """An identification error rate, and how well the speakers behind it can show it.

    Attributes
    ----------
    errors, searches : int
    speakers : int
        Different speakers among the probes.
    low, high : float
        90% interval for new speakers.
    """

    errors: int
    searches: int
    speakers: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """Share of the searches that went wrong."""
        return self.errors / self.searches


def threshold_at_fpir(strangers: Scores, fpir: Number) -> float:
    """Find the lowest threshold at which another stranger raises a false alarm with probability at most `fpir`.

    It stands just above the order statistic ``ceil((1 - fpir)(n + 1))`` of the non-mated searches' best scores.
    With exchangeable probes the next one is then above it with probability at most `fpir`, for any distribution.

    Parameters
    ----------
    strangers : float32 ``(n,)``
        Best score of each non-mated search.
    fpir : float or Fraction
        In (0, 1).

    Returns
    -------
    float
        A float32 value; accept iff ``score >= threshold``.

    Raises
    ------
    CalibrationError
        When there are fewer than ``1 / fpir - 1`` probes: then no score can be the threshold.
    UsageError
        When `fpir` is out of range.

    Notes
    -----
    Source: V. Vovk, A. Gammerman and G. Shafer, "Algorithmic Learning in a Random World", 2005, chapter 2
    (conformal prediction; the guarantee of the order statistic).

    Examples
    --------
    >>> round(threshold_at_fpir(np.linspace(0, 1, 100, endpoint=False, dtype=np.float32), 0.05), 4)
    0.95
    """
    rate = exact_number(fpir, "the false positive identification rate", below=1)
    rank = math.ceil((1 - rate) * (strangers.size + 1))
    if rank > strangers.size:
        raise CalibrationError(
            f"an FPIR of {float(rate):g} is not supported by this data: {strangers.size} non-mated searches, "
            f"at least {probes_needed(rate)} are needed, and {speakers_to_trust(rate)} speakers to trust it",
            hint="embed more speakers, or ask for a higher --fpir",
        )
    return float(np.nextafter(np.partition(strangers, rank - 1)[rank - 1], np.float32(np.inf)))


def probes_needed(fpir: Number) -> int:
    """Fewest non-mated searches that can give a threshold.

    Examples
    --------
    >>> probes_needed(0.01)
    99
    """
    return math.ceil(1 / exact_number(fpir, "the false positive identification rate", below=1)) - 1


def speakers_to_trust(fpir: Number) -> int:
    """Different speakers whose searches give 30 false alarms, by the rule of 30.

    Examples
    --------
    >>> speakers_to_trust(0.01)
    3000
    """
    return math.ceil(FEW_ERRORS / exact_number(fpir, "the false positive identification rate", below=1))


def false_positives(strangers: Scores, threshold: float) -> Flags:
    """Which non-mated searches return somebody."""
    return np.asarray(strangers >= np.float32(threshold))


def false_negatives(mates: Scores, rivals: Scores, threshold: float) -> Flags:
    """Which mated searches do not return the mate, alone, first and at or above the threshold."""
    return np.asarray((mates < np.float32(threshold)) | (mates <= rivals))


def search_rate(
    errors: Flags, probe_speakers: NDArray[np.int64], closest: NDArray[np.int64] | None = None
) -> SearchRate:
    """Count errors, with a 90% interval that knows that searches by one speaker, or that find one speaker, go together.

    Parameters
    ----------
    errors : bool ``(n,)``
        Searches that went wrong; n at least 1.
    probe_speakers : int64 ``(n,)``
        Whose utterance was searched for.
    closest : int64 ``(n,)``, optional
        Who was found: some people are like many others, and every gallery has only so many of them.

    Notes
    -----
    The variance is the infinitesimal jackknife's over speakers in both roles, which is what a bootstrap by speaker
    tends to; it gives the number of independent searches that would be as telling, and that a Clopper-Pearson
    interval. Percentiles of a bootstrap fail where errors are few. Source: E. Korn and B. Graubard, "Confidence
    intervals for proportions with small expected number of positive counts", Survey Methodology 24, 1998.

    Examples
    --------
    >>> alone = search_rate(np.arange(1000) < 10, np.arange(1000))
    >>> repeated = search_rate(np.arange(1000) < 10, np.arange(1000) // 10)
    >>> alone.high < repeated.high
    True
    """
    from scipy.special import betaincinv, ndtri, stdtrit

    count, total = int(errors.sum()), int(errors.size)
    _, speakers = np.unique(probe_speakers, return_inverse=True)
    distinct = int(speakers.max()) + 1
    share = count / total
    variance = 0.0
    if 0 < count < total and distinct > 1:
        people = distinct if closest is None else max(int(probe_speakers.max()), int(closest.max())) + 1
        influence = np.bincount(probe_speakers, weights=errors - share, minlength=people)
        if closest is not None:
            found = np.bincount(closest[errors], minlength=people)
            influence = influence + found - found.mean()
        variance = float((influence**2).sum()) * distinct / (distinct - 1) / total**2
    telling = float(min(total, share * (1 - share) / variance)) if variance > 0 else float(distinct)
    tail = (1 - LEVEL) / 2
    if distinct > 1:
        # Few speakers also leave the variance itself uncertain.
        telling *= (ndtri(1 - tail) / stdtrit(distinct - 1, 1 - tail)) ** 2
    hits = share * telling
    low = 0.0 if count == 0 else float(betaincinv(hits, telling - hits + 1, tail))
    high = 1.0 if count == total else float(betaincinv(hits + 1, telling - hits, 1 - tail))
    return SearchRate(count, total, distinct, low, high)


def bound_in_larger_gallery(fpir: float, gallery_size: int, larger: int) -> float:
    """Most that an FPIR can become when the gallery grows, at the same threshold.

    Examples
    --------
    >>> round(bound_in_larger_gallery(0.01, 100, 200), 4)
    0.0199
    """
    return -math.expm1(math.log1p(-fpir) * larger / gallery_size) if fpir < 1 else 1.0


def fmr_bound(fpir: float, gallery_size: int) -> float:
    """False match rate of one comparison that would give an FPIR, were the comparisons of a search independent.

    They are not, so it is a figure to print beside the measured one and no substitute.

    Examples
    --------
    >>> round(fmr_bound(0.01, 1000) * 1e5, 3)
    1.005
    """
    return -math.expm1(math.log1p(-fpir) / gallery_size)
