"""The Python face of vecsv: the same verbs as the command line.

Examples
--------
>>> import vecsv
>>> vecsv.Store("nowhere").exists
False
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vecsv.audio.decode import Clip
from vecsv.config import default_store
from vecsv.errors import ModelError, UsageError
from vecsv.models import registry
from vecsv.store.generation import latest

if TYPE_CHECKING:
    from vecsv.calibration.record import Calibration
    from vecsv.calibration.run import CalibrateSettings
    from vecsv.embedding.run import EmbedSettings, EmbedSummary, Progress
    from vecsv.index.build import IndexInfo
    from vecsv.models.protocol import Embedder
    from vecsv.query.ask import Query, SearchResult
    from vecsv.query.enroll import Enrolled
    from vecsv.query.erase import Receipt
    from vecsv.query.people import Speaker
    from vecsv.query.search import Level
    from vecsv.query.thresholds import Threshold
    from vecsv.query.verify import Verification
    from vecsv.store.schema import FailedRow

PathLike = str | Path
Message = Callable[[str], None]


def embed(
    manifest: PathLike,
    store: PathLike | None = None,
    *,
    model: PathLike | None = None,
    settings: EmbedSettings | None = None,
    progress: Progress | None = None,
    on_message: Message | None = None,
) -> EmbedSummary:
    """Embed the recordings of a manifest into a store; see `Store.embed`."""
    return Store(store, model=model, on_message=on_message).embed(manifest, settings=settings, progress=progress)


class Store:
    """A speaker database on disk.

    Parameters
    ----------
    folder : path, optional
        Where it is; by default ``$VECSV_STORE``, else ``index``. It need not exist yet.
    model : str or path, optional
        Name of a model or folder of a bundle; by default the one the store was made with, else ``ge2e``.
    threads : int, optional
        Threads that a single query may use; by default one per core.
    on_message : callable, optional
        Told, in one line each, about things a person should know, such as a model being fetched.

    Examples
    --------
    >>> store = Store("calls")                                            # doctest: +SKIP
    >>> store.embed("train.tsv"); store.build_index(); store.calibrate()  # doctest: +SKIP
    >>> store.verify("a.wav", "b.wav").same                               # doctest: +SKIP
    True
    """

    def __init__(
        self,
        folder: PathLike | None = None,
        *,
        model: PathLike | None = None,
        threads: int | None = None,
        on_message: Message | None = None,
    ) -> None:
        self.folder = default_store() if folder is None else Path(folder)
        self._model = model
        self._threads = threads
        self._on_message = on_message
        self._embedders: dict[int, Embedder] = {}

    @property
    def exists(self) -> bool:
        """Whether there is a store in the folder."""
        return latest(self.folder) is not None

    def embedder(self, *, threads: int | None = None) -> Embedder:
        """The store's model, pulled when it is not in the cache.

        Raises
        ------
        FingerprintMismatchError
            When it is not the model the store was made with.
        ModelError
            When it cannot be had.
        """
        from vecsv.embedding.parallel import usable_cores

        count = threads or self._threads or usable_cores()
        if count not in self._embedders:
            self._embedders[count] = self._load(count)
        return self._embedders[count]

    def _load(self, threads: int) -> Embedder:
        generation = latest(self.folder)
        name = self._model or (registry.DEFAULT_MODEL if generation is None else generation.model)
        try:
            embedder = registry.load(name, threads=threads, on_message=self._on_message)
        except ModelError as error:
            if self._model is None and generation is not None and error.hint is None:
                raise ModelError(error.what, where=error.where, hint="name the store's model with --model") from error
            raise
        if generation is not None:
            generation.require_fingerprint(embedder.fingerprint, where=str(self.folder))
        return embedder

    def embed(
        self, manifest: PathLike, *, settings: EmbedSettings | None = None, progress: Progress | None = None
    ) -> EmbedSummary:
        """Embed the recordings of a manifest, taking up where an earlier run stopped; see `vecsv.embedding.run`."""
        from vecsv.embedding.run import embed_manifest

        # One thread a call: the run has a worker on every core, and they share the network.
        return embed_manifest(Path(manifest), self.folder, self.embedder(threads=1), settings, progress=progress)

    def failures(self) -> list[FailedRow]:
        """The manifest rows that gave no embedding, and why."""
        from vecsv.store.parts import failed_rows
        from vecsv.store.reader import read_consistently

        return read_consistently(self.folder, lambda snapshot: failed_rows(snapshot.failures()))

    def build_index(self, *, progress: Callable[[int, int], None] | None = None) -> IndexInfo:
        """Build the search index over all embeddings and put it in force."""
        from vecsv.index.build import build_index

        return build_index(self.folder, progress=progress)

    def index_info(self) -> IndexInfo:
        """Describe the index in force."""
        from vecsv.index.build import index_info
        from vecsv.store.reader import read_consistently

        return read_consistently(self.folder, index_info)

    def calibrate(
        self, settings: CalibrateSettings | None = None, *, progress: Callable[[int, int], None] | None = None
    ) -> Calibration:
        """Place thresholds on pairs of the store's own embeddings and put them in force."""
        from vecsv.calibration.run import calibrate

        return calibrate(self.folder, settings, progress=progress)

    def copy_calibration(self, source: PathLike, *, name: str | None = None) -> Calibration:
        """Take over the thresholds of another store of the same model."""
        from vecsv.calibration.run import DEFAULT_NAME, copy_calibration

        return copy_calibration(Path(source), self.folder, name=name or DEFAULT_NAME)

    def threshold(self, *, name: str | None = None, value: float | None = None) -> Threshold | None:
        """The threshold that decides; None where there is no calibration.

        Parameters
        ----------
        name : str, optional
            An operating point, such as ``"eer"`` or ``"fmr-0.001"``.
        value : float, optional
            A threshold of the caller's own.
        """
        from vecsv.calibration.run import calibration_in_force
        from vecsv.query import thresholds
        from vecsv.store.reader import read_consistently

        if value is not None:
            if name is not None:
                raise UsageError("give a threshold or the name of one, not both")
            return thresholds.given(value)
        calibration = read_consistently(self.folder, calibration_in_force) if self.exists else None
        embedder = self.embedder()
        reference = None if calibration is not None else embedder.reference_calibration
        return thresholds.in_force(calibration, reference, embedder.fingerprint, name=name)

    def verify(
        self,
        first: PathLike,
        second: PathLike | None = None,
        *,
        speaker: str | None = None,
        threshold: float | None = None,
        threshold_name: str | None = None,
        channel: int | None = None,
    ) -> Verification:
        """Say whether two recordings, or a recording and a speaker of the store, are the same person.

        Parameters
        ----------
        first, second : path
            Recordings; `second` is left out when `speaker` is given.
        speaker : str, optional
            A speaker of the store, embedded or enrolled.
        threshold, threshold_name
            See `threshold`.
        channel : int, optional
            1-based channel of the recordings; by default all are mixed down.

        Raises
        ------
        AudioError
            When a recording gives no embedding.
        StoreError
            When there is no such speaker.
        """
        from vecsv.embedding.recordings import embed_all
        from vecsv.query.verify import Side, compare

        if (second is None) == (speaker is None):
            raise UsageError("give a second recording or a speaker, one of the two")
        names = [first] if second is None else [first, second]
        clips = [Clip(Path(name), channel) for name in names]
        sides = [
            Side(str(name), recording.vector[None, :], recording.quality)
            for name, recording in zip(names, embed_all(self.embedder(), clips), strict=True)
        ]
        if speaker is not None:
            from vecsv.query.people import vectors_of_speaker

            sides.append(Side(speaker, vectors_of_speaker(self.folder, speaker)))
        embedder = self.embedder()
        in_force = self.threshold(name=threshold_name, value=threshold)
        return compare(sides[0], sides[1], in_force, model=embedder.name, fingerprint=embedder.fingerprint)

    def search(
        self, query: PathLike, *, top_k: int = 5, level: Level | str = "speaker", channel: int | None = None
    ) -> SearchResult:
        """Find the speakers (or utterances) of the store closest to a recording.

        Raises
        ------
        AudioError
            When the recording gives no embedding.
        StoreError
            When there is nothing to search.
        """
        from vecsv.query.ask import Query

        (result,) = self.search_batch([Query(Clip(Path(query), channel), str(query))], top_k=top_k, level=level)
        if result.error is not None:
            raise result.error
        return result

    def search_batch(
        self, queries: Sequence[Query], *, top_k: int = 5, level: Level | str = "speaker"
    ) -> list[SearchResult]:
        """Search many recordings with one call of the index; a query that fails gives its error and harms no other."""
        from vecsv.embedding.parallel import usable_cores
        from vecsv.query.ask import ask
        from vecsv.query.search import Level

        embedder = self.embedder(threads=None if len(queries) == 1 else 1)
        return ask(self.folder, embedder, queries, top_k=top_k, level=Level(level), workers=usable_cores())

    def enroll(self, speaker: str, recordings: Sequence[PathLike], *, channel: int | None = None) -> Enrolled:
        """Enrol a person with one or more recordings: all of them, or none when one is unusable.

        They are found by the next search at once; the index need not be built again.

        Raises
        ------
        AudioError
            When a recording gives no embedding.
        """
        from vecsv.query.enroll import enroll

        clips = [Clip(Path(recording), channel) for recording in recordings]
        return enroll(self.folder, self.embedder(), speaker, clips, [str(recording) for recording in recordings])

    def speakers(self) -> list[Speaker]:
        """Everybody in the store."""
        from vecsv.query.people import speakers

        return speakers(self.folder)

    def erase(self, speaker: str) -> Receipt:
        """Erase everything the store holds about a speaker; see `vecsv.query.erase`."""
        from vecsv.query.erase import erase

        return erase(self.folder, speaker)
