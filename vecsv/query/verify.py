"""1:1: is this the same person?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vecsv.arrays import Vectors
from vecsv.audio.quality import Quality
from vecsv.calibration.llr import LlrMapping
from vecsv.calibration.normalise import Cohort
from vecsv.query.thresholds import Threshold

#: Below this much speech, in seconds, a score says little, whatever the model.
LITTLE_SPEECH_S = 1.5
#: Above this share of samples at full scale a recording is distorted.
MUCH_CLIPPING = 0.01
#: Below this, in dB, noise is as loud as it gets before speech is lost in it.
LOW_SNR_DB = 5.0


@dataclass(frozen=True)
class Side:
    """One side of a comparison: a recording, or a speaker the store knows.

    Attributes
    ----------
    name : str
        The recording as it was given, or the speaker.
    vectors : ndarray
        float32 ``(n, dim)``: one row for a recording, all the speaker's rows for a speaker.
    quality : Quality or None
        Of a recording.
    """

    name: str
    vectors: Vectors
    quality: Quality | None = None


@dataclass(frozen=True)
class Verification:
    """The answer to "is this the same person?".

    Attributes
    ----------
    score : float
        Higher is more alike: the cosine, or the normalised score where the calibration is for those.
    cosine : float
        In [-1, 1]. Against a speaker it is the mean over that speaker's recordings.
    normalised : bool
        Whether `score` is normalised against a cohort.
    same : bool or None
        The decision; None where no threshold is calibrated.
    threshold : Threshold or None
    llr : float or None
        Natural log-likelihood ratio that a calibration gives this score: how many times likelier it is from one
        speaker than from two. It informs; the threshold decides. None without a calibration.
    first, second : Side
    model, fingerprint : str
    engine : str
        What ran the model's network, with device and precision.
    warnings : tuple of str
    """

    score: float
    cosine: float
    normalised: bool
    same: bool | None
    threshold: Threshold | None
    llr: float | None
    first: Side
    second: Side
    model: str
    fingerprint: str
    engine: str
    warnings: tuple[str, ...]


def compare(
    first: Side,
    second: Side,
    threshold: Threshold | None,
    *,
    model: str,
    fingerprint: str,
    engine: str = "",
    mapping: LlrMapping | None = None,
    cohort: Cohort | None = None,
) -> Verification:
    """Score two sides and decide.

    A speaker's score is the mean of the scores against each of that speaker's recordings: it lies on the scale that
    pairs of recordings were calibrated on, which the cosine to a normalised mean embedding does not.

    Examples
    --------
    >>> side = Side("a.wav", np.array([[0.6, 0.8]], dtype=np.float32))
    >>> compare(side, side, None, model="ge2e", fingerprint="0").score
    1.0
    """
    cosine = score_sides(first.vectors, second.vectors)
    score = cosine if cohort is None else cohort.score(first.vectors, second.vectors)
    warnings = [*quality_warnings(first), *quality_warnings(second)]
    if threshold is None:
        warnings.append("no calibrated threshold: run vecsv calibrate")
    else:
        warnings += threshold.warnings
        if cohort is not None and threshold.origin == "given":
            warnings.append("the given threshold was compared with the normalised score, not with the cosine")
    return Verification(
        score=score,
        cosine=cosine,
        normalised=cohort is not None,
        same=None if threshold is None else threshold.accepts(score),
        threshold=threshold,
        llr=None if mapping is None else llr_of_sides(mapping, score, first, second),
        first=first,
        second=second,
        model=model,
        fingerprint=fingerprint,
        engine=engine,
        warnings=tuple(warnings),
    )


def score_sides(first: Vectors, second: Vectors) -> float:
    """Mean cosine over all pairs of rows, as float32, kept within [-1, 1]."""
    score = np.float32(first.mean(axis=0, dtype=np.float64) @ second.mean(axis=0, dtype=np.float64))
    return float(np.clip(score, np.float32(-1), np.float32(1)))


def llr_of_sides(mapping: LlrMapping, score: float, first: Side, second: Side) -> float:
    """Natural log-likelihood ratio of a score, with the poorer side's duration and noise where the mapping asks.

    A speaker the store knows counts as no worse than the recording. The ratio is that of a pair of recordings: against
    a speaker with several it is on the careful side.
    """
    known = [side.quality for side in (first, second) if side.quality is not None]
    noise = [quality.snr_db for quality in known if quality.snr_db is not None]
    return mapping.llr(
        score,
        speech_s=min((quality.speech_s for quality in known), default=None),
        snr_db=min(noise) if noise and len(noise) == len(known) else None,
    )


def quality_warnings(side: Side) -> list[str]:
    """What about a recording makes its score less sure."""
    quality = side.quality
    if quality is None:
        return []
    warnings = []
    if quality.speech_s < LITTLE_SPEECH_S:
        warnings.append(f"{side.name}: only {quality.speech_s:.1f} s of speech, scores are less sure")
    if quality.clipped > MUCH_CLIPPING:
        warnings.append(f"{side.name}: {quality.clipped:.1%} of the samples are clipped")
    if quality.snr_db is not None and quality.snr_db < LOW_SNR_DB:
        warnings.append(f"{side.name}: much noise (signal-to-noise ratio about {quality.snr_db:.0f} dB)")
    return warnings
