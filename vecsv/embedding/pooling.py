"""Several stretches of one speaker made one recording."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vecsv.audio.activity import WINDOW_SECONDS
from vecsv.audio.quality import Quality
from vecsv.embedding.recordings import EmbeddedRecording
from vecsv.errors import VecsvError


def pool(stretches: Sequence[EmbeddedRecording | VecsvError]) -> EmbeddedRecording | VecsvError:
    """The mean of the stretches' unit vectors, weighted by the seconds of speech in each, scaled to unit length.

    Stretches that gave no embedding count for nothing; where none gave one, the first error is the result.

    Parameters
    ----------
    stretches : sequence of EmbeddedRecording or VecsvError
        At least one.
    """
    if len(stretches) == 1:
        return stretches[0]
    heard = [one for one in stretches if isinstance(one, EmbeddedRecording)]
    if not heard:
        return stretches[0]
    weights = np.array([max(one.quality.speech_s, WINDOW_SECONDS) for one in heard])
    total = np.einsum("i,ij->j", weights, np.stack([one.vector for one in heard]).astype(np.float64))
    vector = (total / np.linalg.norm(total)).astype(np.float32)
    return EmbeddedRecording(vector, _together([one.quality for one in heard]), heard[0].audio_sha256)


def _together(parts: Sequence[Quality]) -> Quality:
    durations = np.array([part.duration_s for part in parts])
    known = [(part.snr_db, part.speech_s) for part in parts if part.snr_db is not None and part.speech_s > 0.0]
    return Quality(
        duration_s=float(durations.sum()),
        speech_s=sum(part.speech_s for part in parts),
        snr_db=sum(snr * speech for snr, speech in known) / sum(speech for _, speech in known) if known else None,
        clipped=float(np.average([part.clipped for part in parts], weights=durations)),
        peak=max(part.peak for part in parts),
    )
