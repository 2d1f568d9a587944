"""Enrolling a person from a few recordings, found by the next search at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vecsv.audio.decode import Clip
from vecsv.embedding.recordings import EmbeddedRecording, embed_all
from vecsv.embedding.windowed import rule_of
from vecsv.errors import UsageError
from vecsv.models.protocol import Embedder
from vecsv.query.verify import Side, quality_warnings
from vecsv.store import enrolments
from vecsv.store.generation import open_or_create


@dataclass(frozen=True)
class Enrolled:
    """What an enrolment added.

    Attributes
    ----------
    speaker : str
    added : int
        Recordings that are new.
    already : int
        Recordings the speaker was enrolled with before.
    total : int
        Recordings the speaker is enrolled with now.
    speech_s : float
        Seconds of speech in the recordings given.
    warnings : tuple of str
    """

    speaker: str
    added: int
    already: int
    total: int
    speech_s: float
    warnings: tuple[str, ...]


def enroll(folder: Path, embedder: Embedder, speaker: str, clips: Sequence[Clip], names: Sequence[str]) -> Enrolled:
    """Enrol a person: with all of the recordings, or with none when one is unusable.

    Parameters
    ----------
    folder : Path
        The store; made when it is not there.
    embedder : Embedder
    speaker : str
    clips : sequence of Clip
        At least one.
    names : sequence of str
        The recordings as they were given, which become their utterance ids.

    Raises
    ------
    AudioError
        When a recording gives no embedding.
    FingerprintMismatchError
        When the store is another model's.
    """
    if not speaker.strip():
        raise UsageError("the speaker needs a name")
    if not clips:
        raise UsageError("give at least one recording")
    heard = embed_all(embedder, clips)
    open_or_create(
        folder, model=embedder.name, fingerprint=embedder.fingerprint, dim=embedder.dim, windows=rule_of(embedder)
    )
    given = [_enrolment(speaker, *one) for one in zip(names, clips, heard, strict=True)]
    added = enrolments.add(folder, embedder.fingerprint, given)
    return Enrolled(
        speaker=speaker,
        added=added,
        already=len(given) - added,
        total=enrolments.count(folder, speaker),
        speech_s=sum(one.speech_s for one in given),
        warnings=tuple(
            warning
            for name, one in zip(names, heard, strict=True)
            for warning in quality_warnings(Side(name, one.vector, one.quality))
        ),
    )


def _enrolment(speaker: str, name: str, clip: Clip, recording: EmbeddedRecording) -> enrolments.Enrolment:
    quality = recording.quality
    return enrolments.Enrolment(
        speaker=speaker,
        utt_id=name,
        path=str(clip.path.resolve()),
        channel=clip.channel,
        duration_s=quality.duration_s,
        speech_s=quality.speech_s,
        snr_db=quality.snr_db,
        clipped=quality.clipped,
        audio_sha256=recording.audio_sha256,
        embedding=recording.vector,
    )
