"""What goes into the service and what comes out of it, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vecsv.embedding.recordings import EmbeddedRecording
from vecsv.errors import AudioError, VecsvError
from vecsv.query.people import Speaker
from vecsv.query.several import Sightings
from vecsv.serve.decoding import DecodedClip
from vecsv.serve.verdicts import ClipReport, judge_quality, measure


@dataclass(frozen=True)
class Heard:
    """A clip that was sent, and what each store's model made of it.

    Attributes
    ----------
    clip : DecodedClip
    recordings : mapping of str to EmbeddedRecording or VecsvError
        By the stores' names.
    """

    clip: DecodedClip
    recordings: Mapping[str, EmbeddedRecording | VecsvError]

    def of(self, store: str) -> EmbeddedRecording:
        """What a store's model made of it.

        Raises
        ------
        VecsvError
            Where it made nothing of it.
        """
        found = self.recordings[store]
        if isinstance(found, VecsvError):
            raise found
        return found

    def report(self, *, shortest_speech_s: float | None = None) -> ClipReport:
        """What is known of the clip and what is wrong with it, by itself."""
        errors = [found for found in self.recordings.values() if isinstance(found, VecsvError)]
        heard = [found for found in self.recordings.values() if isinstance(found, EmbeddedRecording)]
        quality = heard[0].quality if heard else measure(self.clip)
        limits = {} if shortest_speech_s is None else {"shortest_speech_s": shortest_speech_s}
        report = judge_quality(self.clip.name, quality, **limits)
        for error in errors:
            code = error.code if isinstance(error, AudioError) else "no-embedding"
            if code not in report.reasons:
                report = report.with_reason(code, error.what)
        return report


class RefusedClipsError(VecsvError):
    """Clips that nobody can be enrolled with; nothing was enrolled.

    Parameters
    ----------
    clips : sequence of ClipReport
        All that were sent, the good ones too.
    """

    def __init__(self, clips: Sequence[ClipReport]) -> None:
        bad = sum(not clip.accepted for clip in clips)
        super().__init__(
            f"{bad} of {len(clips)} recordings will not do, so none was enrolled",
            hint="send others in place of those, or leave them out",
        )
        self.clips = tuple(clips)


@dataclass(frozen=True)
class StoreEnrolment:
    """What an enrolment came to in one store: new recordings, and all that the speaker is enrolled with now."""

    added: int
    total: int


@dataclass(frozen=True)
class Enrolled:
    """An enrolment that is committed in every store.

    Attributes
    ----------
    speaker : str
    clips : tuple of ClipReport
    stores : mapping of str to StoreEnrolment
    speech_s : float
        Seconds of speech that are known of the speaker now, in the store that knows least.
    wanted_speech_s : float
    warnings : tuple of str
    """

    speaker: str
    clips: tuple[ClipReport, ...]
    stores: Mapping[str, StoreEnrolment]
    speech_s: float
    wanted_speech_s: float
    warnings: tuple[str, ...]

    @property
    def added(self) -> int:
        """Recordings that are new in at least one store."""
        return max(one.added for one in self.stores.values())

    @property
    def already(self) -> int:
        """Recordings that every store had already."""
        return len(self.clips) - self.added

    @property
    def total(self) -> int:
        """Recordings that the speaker is enrolled with everywhere."""
        return min(one.total for one in self.stores.values())

    @property
    def percent(self) -> int:
        """How much of the wanted speech is there; 100 only when all is."""
        return percent_of(self.speech_s, self.wanted_speech_s)


@dataclass(frozen=True)
class Person:
    """A speaker, as the stores that know the name know it.

    Attributes
    ----------
    speaker : str
    stores : mapping of str to Speaker
    percent : int
        How much of the wanted speech there is, in the store that has least.
    """

    speaker: str
    stores: Mapping[str, Speaker]
    percent: int


@dataclass(frozen=True)
class Searched:
    """The stores' answers to "who is this?", and how many speakers each searched."""

    sightings: Sightings
    sizes: Mapping[str, int]


def percent_of(speech_s: float, wanted_speech_s: float) -> int:
    """How much of the wanted speech is there, rounded down so that 100 means enough.

    Examples
    --------
    >>> percent_of(9.99, 10.0), percent_of(12.0, 10.0)
    (99, 100)
    """
    return min(100, int(100 * speech_s / wanted_speech_s))
