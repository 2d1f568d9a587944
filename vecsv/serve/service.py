"""The work behind the endpoints: verify, search, enrol and erase over one or several stores; no HTTP in it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from vecsv.embedding.recordings import EmbeddedRecording
from vecsv.errors import UnknownSpeakerError, UsageError
from vecsv.query.ask import SearchResult
from vecsv.query.erase import Receipt
from vecsv.query.people import Speaker
from vecsv.query.search import Level
from vecsv.query.several import Sightings, Verdict
from vecsv.query.verify import Side
from vecsv.serve.gallery import Gallery
from vecsv.serve.results import Enrolled, Heard, Person, RefusedClipsError, Searched, StoreEnrolment, percent_of
from vecsv.serve.verdicts import ClipReport, Reason, likenesses
from vecsv.store.enrolments import Enrolment

UPLOADED: Final = "uploaded"
"""Stands where enrolments from files have a path: what is sent has none."""

_LOCKS: Final = 64


class Service:
    """Answers for all stores together; safe to call from many threads, and every call may block.

    Parameters
    ----------
    galleries : sequence of Gallery
        At least one.
    wanted_speech_s : float
        Speech with which a person counts as fully enrolled, in seconds.
    shortest_speech_s : float
        Speech that a recording must have to be enrolled, in seconds.
    """

    def __init__(self, galleries: Sequence[Gallery], *, wanted_speech_s: float, shortest_speech_s: float) -> None:
        if not galleries:
            raise UsageError("give at least one store")
        self.galleries = {gallery.name: gallery for gallery in galleries}
        self.wanted_speech_s = wanted_speech_s
        self._shortest_speech_s = shortest_speech_s
        # Two enrolments of one speaker must see each other's clips; two speakers rarely share a lock.
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def verify(self, first: Heard, second: Heard | str, *, threshold_name: str | None = None) -> Verdict:
        """Say whether two clips, or a clip and a speaker, are the same person.

        Raises
        ------
        AudioError
            When a model makes nothing of a clip.
        UnknownSpeakerError
            When a store knows nobody of that name.
        UsageError
            When a store has no threshold of that name.
        """
        return Verdict(
            {
                name: gallery.verify(
                    _side(first, name),
                    second if isinstance(second, str) else _side(second, name),
                    threshold_name=threshold_name,
                )
                for name, gallery in self.galleries.items()
            }
        )

    def search(self, heard: Heard, *, top_k: int = 5, level: Level = Level.SPEAKER) -> Searched:
        """Find who is closest to a clip.

        Raises
        ------
        AudioError
            When a model makes nothing of it.
        StoreError
            When a store has nothing to search.
        """
        results: dict[str, SearchResult] = {}
        sizes: dict[str, int] = {}
        for name, gallery in self.galleries.items():
            results[name], sizes[name] = gallery.search(heard.clip.name, heard.of(name), top_k=top_k, level=level)
        return Searched(Sightings(results), sizes)

    def enrol(self, speaker: str, clips: Sequence[Heard | ClipReport]) -> Enrolled:
        """Enrol a person with all of the clips, or with none when one will not do; committed when this returns.

        Every store's rows are made and checked before the first is written, then the stores commit one after
        another: each is a database of its own, and nothing spans them. Killed between two of them, the first have the
        clips and the rest do not. A speaker is then known in some stores only, which `speakers` shows, and sending
        the same clips again completes it: a store that has them already leaves them as they are.

        Within this process, enrolments of one speaker follow each other, so that each is held against what the one
        before brought; another process over the same stores is not waited for.

        Parameters
        ----------
        speaker : str
        clips : sequence of Heard or ClipReport
            At least one. A report stands for a clip that could not even be decoded.

        Raises
        ------
        RefusedClipsError
            When a clip will not do; has a report on each.
        StoreBusyError
            When a store is locked by another process for longer than anybody would wait.
        """
        with self._locks[hash(speaker) % _LOCKS]:
            reports = [one if isinstance(one, ClipReport) else self._report(one) for one in clips]
            heard = [one for one in clips if isinstance(one, Heard)]
            usable = [place for place, one in enumerate(clips) if isinstance(one, Heard) and _embedded(one)]
            warnings: list[str] = []
            for gallery in self.galleries.values():
                reports = self._held_against_others(gallery, speaker, clips, usable, reports, warnings)
            if not all(report.accepted for report in reports):
                raise RefusedClipsError(reports)
            rows = {name: [_row(speaker, one, name) for one in heard] for name in self.galleries}
            added = {name: gallery.enrol(rows[name]) for name, gallery in self.galleries.items()}
        return Enrolled(
            speaker=speaker,
            clips=tuple(reports),
            stores={
                name: StoreEnrolment(added[name], gallery.enrolled(speaker)) for name, gallery in self.galleries.items()
            },
            speech_s=self._speech_s(speaker),
            wanted_speech_s=self.wanted_speech_s,
            warnings=tuple(warnings),
        )

    def speakers(self) -> list[Person]:
        """Everybody in any store, by name."""
        known: dict[str, dict[str, Speaker]] = {}
        for name, gallery in self.galleries.items():
            for speaker in gallery.speakers():
                known.setdefault(speaker.speaker, {})[name] = speaker
        return [self._person(speaker, known[speaker]) for speaker in sorted(known)]

    def speaker(self, speaker: str) -> Person:
        """One speaker.

        Raises
        ------
        UnknownSpeakerError
            When no store knows the name.
        """
        found = {name: gallery.speaker(speaker) for name, gallery in self.galleries.items()}
        known = {name: one for name, one in found.items() if one is not None}
        if not known:
            raise _unknown(speaker)
        return self._person(speaker, known)

    def erase(self, speaker: str) -> dict[str, Receipt]:
        """Erase a speaker from every store; gives the receipts of those that knew the name.

        Stores are erased one after another. Where that is cut off, or one of them is busy, the rest still hold the
        speaker, and erasing once more completes it.

        Raises
        ------
        UnknownSpeakerError
            When no store knows the name.
        StoreBusyError
            When another process writes to one of the stores.
        """
        receipts: dict[str, Receipt] = {}
        with self._locks[hash(speaker) % _LOCKS]:
            for name, gallery in self.galleries.items():
                # Asked for in any case: a store may have an erasure to complete of somebody it no longer knows.
                try:
                    receipts[name] = gallery.erase(speaker)
                except UnknownSpeakerError:
                    continue
        if not receipts:
            raise _unknown(speaker)
        return receipts

    def enrolled_speakers(self) -> dict[str, int]:
        """How many speakers are enrolled in each store."""
        return {name: sum(one.enrolments > 0 for one in gallery.speakers()) for name, gallery in self.galleries.items()}

    def _report(self, heard: Heard) -> ClipReport:
        return heard.report(shortest_speech_s=self._shortest_speech_s)

    def _held_against_others(
        self,
        gallery: Gallery,
        speaker: str,
        clips: Sequence[Heard | ClipReport],
        usable: Sequence[int],
        reports: list[ClipReport],
        warnings: list[str],
    ) -> list[ClipReport]:
        """The reports, with what is unlike the others; the calibration of one store judges by its own vectors."""
        threshold, cohort = gallery.read(lambda opened: (opened.threshold(), opened.calibration[1]))
        if threshold is None:
            warnings.append(f"{gallery.name}: no calibrated threshold, so the clips were not held against each other")
            return reports
        if not usable:
            return reports
        embedded = [clips[place] for place in usable]
        vectors = np.stack([one.of(gallery.name).vector for one in embedded if isinstance(one, Heard)])
        judged = likenesses(vectors, gallery.known(speaker), threshold, cohort)
        after = list(reports)
        for place, likeness in zip(usable, judged, strict=True):
            if likeness is None or likeness.alike or Reason.UNLIKE in after[place].reasons:
                continue
            detail = (
                f"does not sound like {speaker}'s other recordings: {likeness.score:.3f} where "
                f"{likeness.threshold.value:.3f} is wanted ({gallery.name}, {likeness.threshold.name})"
            )
            after[place] = after[place].with_reason(Reason.UNLIKE, detail)
        return after

    def _speech_s(self, speaker: str) -> float:
        found = [gallery.speaker(speaker) for gallery in self.galleries.values()]
        return min((0.0 if one is None else one.speech_s) for one in found)

    def _person(self, speaker: str, known: Mapping[str, Speaker]) -> Person:
        least = min(one.speech_s for one in known.values()) if len(known) == len(self.galleries) else 0.0
        return Person(speaker, known, percent_of(least, self.wanted_speech_s))


def utterance_id(audio_sha256: str) -> str:
    """What an enrolled clip is called in the store.

    Examples
    --------
    >>> utterance_id("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    'clip-e3b0c442'
    """
    return f"clip-{audio_sha256[:8]}"


def _side(heard: Heard, store: str) -> Side:
    recording = heard.of(store)
    return Side(heard.clip.name, recording.vector[None, :], recording.quality)


def _embedded(heard: Heard) -> bool:
    return all(isinstance(found, EmbeddedRecording) for found in heard.recordings.values())


def _row(speaker: str, heard: Heard, store: str) -> Enrolment:
    recording = heard.of(store)
    quality = recording.quality
    return Enrolment(
        speaker=speaker,
        utt_id=utterance_id(heard.clip.sha256),
        path=UPLOADED,
        channel=None,
        duration_s=quality.duration_s,
        speech_s=quality.speech_s,
        snr_db=quality.snr_db,
        clipped=quality.clipped,
        audio_sha256=heard.clip.sha256,
        embedding=recording.vector,
    )


def _unknown(speaker: str) -> UnknownSpeakerError:
    return UnknownSpeakerError(f"no speaker is called {speaker!r}")
