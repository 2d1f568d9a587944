"""Which hits of a search pass, and what to know about the threshold that says so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vecsv.calibration.open_set import bound_in_larger_gallery
from vecsv.calibration.search_record import SearchCalibration
from vecsv.errors import FingerprintMismatchError

NO_SEARCH_THRESHOLD = (
    "no search threshold is calibrated, and a 1:1 threshold gives too many false alarms in a gallery: "
    "vecsv calibrate --search makes one"
)
#: Growth of the gallery that the threshold bears without a word.
_GROWTH = 1.1


@dataclass(frozen=True)
class SearchThreshold:
    """A search threshold in force.

    Attributes
    ----------
    value : float
        A hit passes iff ``score >= value``, both float32.
    fpir : float
        Share of searches for strangers it lets return somebody, in a gallery of `gallery_size` speakers.
    gallery_size : int
        What it was made for.
    searched : int
        Speakers that are searched now.
    probes, speakers : int
        Non-mated searches it rests on, and by how many speakers.
    warnings : tuple of str
    """

    value: float
    fpir: float
    gallery_size: int
    searched: int
    probes: int
    speakers: int
    warnings: tuple[str, ...]

    def accepts(self, score: float) -> bool:
        """Whether a score is at or above the threshold, compared in float32."""
        return bool(np.float32(score) >= np.float32(self.value))


def threshold_for(calibration: SearchCalibration | None, searched: int, *, fingerprint: str) -> SearchThreshold | None:
    """The threshold for a search among so many speakers, or None where none is calibrated.

    Parameters
    ----------
    calibration : SearchCalibration or None
        The store's.
    searched : int
        Speakers in the gallery now.
    fingerprint : str
        Of the model whose scores are to be judged.

    Raises
    ------
    FingerprintMismatchError
        When the calibration is another model's.
    """
    if calibration is None:
        return None
    if calibration.fingerprint != fingerprint:
        raise FingerprintMismatchError(
            f"the search threshold is for fingerprint {calibration.fingerprint[:12]}, "
            f"the scores are of fingerprint {fingerprint[:12]}",
            hint="calibrate again: vecsv calibrate --search",
        )
    warnings = []
    if not calibration.supported:
        warnings.append(f"search threshold: {calibration.note}")
    size = calibration.gallery_size
    # Calibrated on all of a store, the gallery is one less: the speaker searched for was left out.
    if searched > max(_GROWTH * size, size + 1):
        bound = bound_in_larger_gallery(calibration.fpir_asked, size, searched)
        warnings.append(
            f"the gallery has outgrown the search threshold: {searched:,} speakers, calibrated for {size:,}; up to "
            f"{bound:.2%} of strangers may pass instead of {calibration.fpir_asked:.2%}: run vecsv calibrate --search"
        )
    return SearchThreshold(
        value=calibration.threshold,
        fpir=calibration.fpir_asked,
        gallery_size=size,
        searched=searched,
        probes=calibration.fpir.searches,
        speakers=calibration.fpir.speakers,
        warnings=tuple(warnings),
    )
