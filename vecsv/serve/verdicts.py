"""What is wrong with a clip: by itself, and beside the others that are said to be of the same person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Vectors
from vecsv.audio.activity import detect
from vecsv.audio.quality import Quality, QualityMeter
from vecsv.calibration.normalise import Cohort
from vecsv.query.thresholds import Threshold
from vecsv.query.verify import LITTLE_SPEECH_S, LOW_SNR_DB, MUCH_CLIPPING
from vecsv.serve.decoding import DecodedClip


class Reason(StrEnum):
    """Why a clip does not do; what the audio package refuses has that package's words."""

    TOO_SHORT = "too-short"
    NOISY = "noisy"
    CLIPPED = "clipped"
    UNLIKE = "unlike-the-others"


@dataclass(frozen=True)
class ClipReport:
    """What is known of one clip.

    Attributes
    ----------
    name : str
        What it was sent as.
    quality : Quality or None
        None where it could not be decoded.
    reasons : tuple of str
        What is wrong with it; empty where nothing is.
    details : tuple of str
        The same in words, one for each reason.
    """

    name: str
    quality: Quality | None
    reasons: tuple[str, ...] = ()
    details: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether nothing is wrong with it."""
        return not self.reasons

    def with_reason(self, reason: str, detail: str) -> ClipReport:
        """The report with one more reason."""
        return ClipReport(self.name, self.quality, (*self.reasons, reason), (*self.details, detail))


def measure(clip: DecodedClip) -> Quality:
    """Measure a clip that no model has heard."""
    meter = QualityMeter()
    meter.add(clip.waveform, detect(clip.waveform))
    return meter.result()


def judge_quality(name: str, quality: Quality, *, shortest_speech_s: float = LITTLE_SPEECH_S) -> ClipReport:
    """Say whether a clip by itself is good enough.

    Parameters
    ----------
    name : str
    quality : Quality
    shortest_speech_s : float
        Speech that it must have, in seconds.

    Examples
    --------
    >>> ", ".join(judge_quality("a.wav", Quality(0.9, 0.4, 2.0, 0.0, 0.5)).reasons)
    'too-short, noisy'
    """
    report = ClipReport(name, quality)
    if quality.speech_s < shortest_speech_s:
        report = report.with_reason(
            Reason.TOO_SHORT, f"{quality.speech_s:.1f} s of speech; at least {shortest_speech_s:g} s are needed"
        )
    if quality.snr_db is not None and quality.snr_db < LOW_SNR_DB:
        report = report.with_reason(
            Reason.NOISY, f"much noise: the signal-to-noise ratio is about {quality.snr_db:.0f} dB"
        )
    if quality.clipped > MUCH_CLIPPING:
        report = report.with_reason(Reason.CLIPPED, f"too loud: {quality.clipped:.1%} of the samples are clipped")
    return report


@dataclass(frozen=True)
class Likeness:
    """How a clip scores against the others of its speaker.

    Attributes
    ----------
    score : float
        The best score that at least half of the others reach.
    threshold : Threshold
    """

    score: float
    threshold: Threshold

    @property
    def alike(self) -> bool:
        """Whether at least half of the others are taken for the same person."""
        return self.threshold.accepts(self.score)


def likenesses(
    clips: Vectors, known: Vectors, threshold: Threshold | None, cohort: Cohort | None = None
) -> Sequence[Likeness | None]:
    """Hold each clip against the other clips and against what is known of the speaker.

    A clip fits when at least half of the others are taken for the same person. The mean of the scores would let one
    stranger among three clips make the two good ones look strange too.

    Parameters
    ----------
    clips : ndarray
        float32 ``(n, dim)``: unit rows.
    known : ndarray
        float32 ``(m, dim)``: embeddings that the speaker has already; m may be 0.
    threshold : Threshold or None
        None where nothing is calibrated, so that nothing can be said.
    cohort : Cohort or None
        Where the threshold is for normalised scores.

    Returns
    -------
    sequence of Likeness or None
        For each clip; None where there is nothing to hold it against.

    Examples
    --------
    >>> from vecsv.query.thresholds import given
    >>> alice, bob = [1, 0], [0, 1]
    >>> found = likenesses(np.float32([alice, bob, alice]), np.empty((0, 2), np.float32), given(0.5))
    >>> [one.alike for one in found]
    [True, False, True]
    """
    everybody = np.concatenate([clips, known])
    if threshold is None or len(everybody) < 2:
        return [None] * len(clips)
    scores = _scores(clips, everybody, cohort)
    found = []
    for place, row in enumerate(scores):
        others = np.sort(np.delete(row, place))[::-1]
        found.append(Likeness(float(others[(len(others) - 1) // 2]), threshold))
    return found


def _scores(clips: Vectors, everybody: Vectors, cohort: Cohort | None) -> NDArray[np.float32]:
    """Scores of each clip against each of all, float32 ``(clips, all)``."""
    # Not a matrix product: BLAS would start threads for it.
    cosines: NDArray[np.float32] = np.einsum("ik,jk->ij", clips, everybody)
    if cohort is None:
        return cosines
    first, second = (places.ravel() for places in np.indices(cosines.shape))
    scores: NDArray[np.float32] = np.reshape(
        cohort.score_pairs(everybody, first, second, cosines.ravel()), cosines.shape
    )
    return scores
