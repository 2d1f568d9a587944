"""One store as the service asks it: the latest committed generation, opened once and kept until there is a newer."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from vecsv.arrays import Vectors
from vecsv.audio.decode import Clip
from vecsv.calibration.normalise import Cohort
from vecsv.calibration.record import TRIALS_FILE, Calibration
from vecsv.calibration.run import DEFAULT_NAME, calibration_and_cohort
from vecsv.calibration.search_record import SearchCalibration, search_calibration_in_force
from vecsv.embedding.recordings import EmbeddedRecording
from vecsv.errors import UnknownSpeakerError
from vecsv.index.build import OpenIndex, open_index
from vecsv.models.protocol import Embedder
from vecsv.query import thresholds
from vecsv.query.ask import Query, SearchResult, open_searchable
from vecsv.query.erase import Receipt, erase
from vecsv.query.people import Speaker, embedded_speakers, with_enrolled
from vecsv.query.search import Level
from vecsv.query.thresholds import Threshold
from vecsv.query.verify import Side, Verification, compare
from vecsv.serve.score_histogram import ScoreHistogram, histogram_of
from vecsv.store import enrolments
from vecsv.store.enrolments import Enrolment
from vecsv.store.reader import Snapshot, read_consistently

Result = TypeVar("Result")

#: Speakers whose embeddings are kept at hand.
_SPEAKERS_KEPT: Final = 256


class Opened:
    """One generation of a store; what is asked of it is read when it is first asked, and kept.

    Parameters
    ----------
    snapshot : Snapshot
    embedder : Embedder
        The store's model.
    """

    def __init__(self, snapshot: Snapshot, embedder: Embedder) -> None:
        snapshot.generation.require_fingerprint(embedder.fingerprint, where=str(snapshot.folder))
        self.snapshot = snapshot
        self._embedder = embedder
        self._lock = threading.Lock()
        self._vectors: OrderedDict[str, Vectors] = OrderedDict()

    @cached_property
    def index(self) -> OpenIndex:
        """The index in force."""
        return open_index(self.snapshot)

    @cached_property
    def calibration(self) -> tuple[Calibration | None, Cohort | None]:
        """The calibration that counts, and the cohort to normalise scores with where it asks for one."""
        own, cohort = calibration_and_cohort(self.snapshot)
        reference = None if own is not None else self._embedder.reference_calibration
        return thresholds.which(own, reference, self._embedder.fingerprint), cohort

    @cached_property
    def search_calibration(self) -> SearchCalibration | None:
        """The search threshold in force."""
        return search_calibration_in_force(self.snapshot)

    @cached_property
    def embedded(self) -> dict[str, Speaker]:
        """The speakers of the shards."""
        return embedded_speakers(self.snapshot)

    @cached_property
    def histogram(self) -> ScoreHistogram | None:
        """How the calibration's trials scored; None where they are not in the store."""
        folder = self.snapshot.generation.calibrations.get(DEFAULT_NAME)
        return None if folder is None else histogram_of(self.snapshot.folder / folder / TRIALS_FILE)

    def threshold(self, name: str | None = None) -> Threshold | None:
        """The threshold that decides; None where nothing is calibrated."""
        found = thresholds.choose(self.calibration[0], name=name)
        if found is None or found.origin != "store":
            return found
        notes = thresholds.note_on_windows(self.snapshot.generation.windows)
        return replace(found, warnings=(*found.warnings, *notes))

    def vectors_of(self, speaker: str) -> Vectors:
        """Embeddings of one speaker in the shards; float32 ``(n, dim)``, n may be 0."""
        with self._lock:
            if speaker in self._vectors:
                self._vectors.move_to_end(speaker)
                return self._vectors[speaker]
        # Not under the lock: it may take a while, and reading it twice does no harm.
        found = self.snapshot.vectors_of_speaker(speaker) if speaker in self.embedded else self._nothing
        with self._lock:
            self._vectors[speaker] = found
            if len(self._vectors) > _SPEAKERS_KEPT:
                self._vectors.popitem(last=False)
        return found

    @property
    def _nothing(self) -> Vectors:
        return np.empty((0, self.snapshot.generation.dim), np.float32)


class Gallery:
    """A store that is asked often, by many threads.

    Parameters
    ----------
    name : str
        What the store is called in answers.
    folder : Path
    embedder : Embedder
        Its model, as it compares recordings with this store.

    Raises
    ------
    StoreError
        When there is no store in `folder`.
    FingerprintMismatchError
        When it is another model's.
    """

    def __init__(self, name: str, folder: Path, embedder: Embedder) -> None:
        self.name = name
        self.folder = folder
        self.embedder = embedder
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._opened: Opened | None = None
        self.read(lambda opened: opened.snapshot)

    def read(self, ask: Callable[[Opened], Result]) -> Result:
        """Call `ask` with the latest committed generation, and again when a writer replaced files under it."""
        return read_consistently(self.folder, lambda snapshot: ask(self._open(snapshot)))

    def _open(self, snapshot: Snapshot) -> Opened:
        with self._lock:
            # The whole of it is compared: another store may have been put in this one's place.
            if self._opened is None or self._opened.snapshot.generation != snapshot.generation:
                self._opened = Opened(snapshot, self.embedder)
            return self._opened

    @property
    def generation(self) -> int:
        """Number of the latest committed generation."""
        return self.read(lambda opened: opened.snapshot.generation.number)

    def verify(self, first: Side, second: Side | str, *, threshold_name: str | None = None) -> Verification:
        """Compare a recording with another, or with a speaker of the store.

        Raises
        ------
        UnknownSpeakerError
            When the store knows nobody of that name.
        UsageError
            When no threshold has that name.
        """

        def ask(opened: Opened) -> Verification:
            other = Side(second, self._vectors_of(opened, second)) if isinstance(second, str) else second
            calibration, cohort = opened.calibration
            return compare(
                first,
                other,
                opened.threshold(threshold_name),
                model=self.embedder.name,
                fingerprint=self.embedder.fingerprint,
                engine=self.embedder.engine,
                mapping=None if calibration is None else calibration.llr,
                cohort=cohort,
            )

        return self.read(ask)

    def search(self, name: str, recording: EmbeddedRecording, *, top_k: int, level: Level) -> tuple[SearchResult, int]:
        """Search for a recording; gives the hits, and how many speakers were searched.

        Raises
        ------
        StoreError
            When there is nothing to search.
        """

        def ask(opened: Opened) -> tuple[SearchResult, int]:
            searchable = open_searchable(opened.snapshot, self.embedder.fingerprint, opened=lambda _: opened.index)
            (result,) = searchable.answer([Query(Clip(Path(name)), name)], [recording], top_k=top_k, level=level)
            return result, searchable.candidates.speakers

        return self.read(ask)

    def known(self, speaker: str) -> Vectors:
        """All embeddings of a speaker, embedded and enrolled; float32 ``(n, dim)``, n may be 0."""
        return self.read(lambda opened: self._rows_of(opened, speaker))

    def enrol(self, rows: Sequence[Enrolment]) -> int:
        """Commit enrolments: all or, if anything fails, none; gives how many are new."""
        return enrolments.add(self.folder, self.embedder.fingerprint, rows)

    def enrolled(self, speaker: str) -> int:
        """How many recordings a speaker is enrolled with."""
        return enrolments.count(self.folder, speaker)

    def speakers(self) -> list[Speaker]:
        """Everybody in the store, by name."""
        return self.read(lambda opened: with_enrolled(opened.embedded, enrolments.read(self.folder, self.embedder.dim)))

    def speaker(self, name: str) -> Speaker | None:
        """One speaker; None where the store knows nobody of that name."""

        def ask(opened: Opened) -> Speaker | None:
            embedded = {name: opened.embedded[name]} if name in opened.embedded else {}
            found = with_enrolled(embedded, enrolments.read(self.folder, self.embedder.dim, speaker=name))
            return found[0] if found else None

        return self.read(ask)

    def erase(self, speaker: str) -> Receipt:
        """Erase a speaker; see `vecsv.query.erase`.

        Raises
        ------
        UnknownSpeakerError
            When the store knows nobody of that name.
        StoreBusyError
            When another process writes to the store.
        """
        with self._writing:
            receipt = erase(self.folder, speaker)
        # What is kept at hand still holds the speaker.
        self.read(lambda opened: opened.snapshot)
        return receipt

    def _vectors_of(self, opened: Opened, speaker: str) -> Vectors:
        found = self._rows_of(opened, speaker)
        if not len(found):
            raise UnknownSpeakerError(f"no speaker is called {speaker!r}", where=self.name)
        return found

    def _rows_of(self, opened: Opened, speaker: str) -> Vectors:
        enrolled = enrolments.read(self.folder, self.embedder.dim, speaker=speaker).vectors
        return np.concatenate([opened.vectors_of(speaker), enrolled])
