"""The Python face of vecsv: the same verbs as the command line.

Examples
--------
>>> import vecsv
>>> vecsv.Store("nowhere").exists
False
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vecsv.audio.decode import Clip
from vecsv.config import default_store
from vecsv.engines.protocol import EngineSettings
from vecsv.errors import MissingDependencyError, ModelError, UsageError
from vecsv.models import registry
from vecsv.store.generation import latest

if TYPE_CHECKING:
    from vecsv.calibration.normalise import Cohort
    from vecsv.calibration.record import Calibration
    from vecsv.calibration.run import CalibrateSettings
    from vecsv.calibration.search_record import SearchCalibration
    from vecsv.calibration.search_run import SearchSettings
    from vecsv.curation.audit import Audit
    from vecsv.embedding.processes import DeviceProcesses
    from vecsv.embedding.run import EmbedSettings, EmbedSummary, Progress
    from vecsv.evaluation.record import Evaluation
    from vecsv.evaluation.sampling import SampleSettings
    from vecsv.index.build import IndexInfo
    from vecsv.models.protocol import Embedder
    from vecsv.query.ask import Query, SearchResult
    from vecsv.query.enroll import Enrolled
    from vecsv.query.erase import Receipt
    from vecsv.query.people import Speaker
    from vecsv.query.search import Level
    from vecsv.query.thresholds import Threshold
    from vecsv.query.verify import Verification
    from vecsv.report.report import Report
    from vecsv.store.schema import FailedRow
    from vecsv.training.settings import TrainResult
    from vecsv.turns import Names

PathLike = str | Path
Message = Callable[[str], None]


def embed(
    manifest: PathLike | None = None,
    store: PathLike | None = None,
    *,
    rttm: PathLike | None = None,
    audio: PathLike | None = None,
    rttm_speakers: str = "local",
    model: PathLike | None = None,
    settings: EmbedSettings | None = None,
    progress: Progress | None = None,
    on_message: Message | None = None,
) -> EmbedSummary:
    """Embed the recordings of a manifest, or the turns of an RTTM file, into a store; see `Store.embed`."""
    return Store(store, model=model, on_message=on_message).embed(
        manifest, rttm=rttm, audio=audio, rttm_speakers=rttm_speakers, settings=settings, progress=progress
    )


def evaluate(
    trials: PathLike,
    *,
    manifest: PathLike | None = None,
    enrol: PathLike | None = None,
    root: PathLike | None = None,
    store: PathLike | None = None,
    model: PathLike | None = None,
    by: Sequence[str] = (),
    seed: int = 0,
    engine: str = "auto",
    device: str = "cpu",
    precision: str = "fp32",
    progress: Callable[[int, int], None] | None = None,
    on_message: Message | None = None,
) -> Evaluation:
    """Score a trial list and work out EER, minDCF and the rest; see `vecsv.evaluation.run.evaluate_list`.

    Parameters
    ----------
    trials : path
        A list, ``1 a.wav b.wav`` or ``enrol test target``.
    manifest, enrol, root
        See `vecsv.evaluation.run.ListInputs`.
    store : path, optional
        A store whose embeddings are used again.
    model : str or path, optional
        By default the store's, else ``ge2e``.
    by : sequence of str
        Columns of the manifest, or the store, to break the figures down by.
    engine, device, precision : str
        See `vecsv.engines.protocol.EngineSettings`.
    """
    from vecsv.evaluation.run import ListInputs, evaluate_list

    # One thread a call: the run has a worker on every core.
    settings = EngineSettings(engine, device, precision, threads=1)

    def embedder() -> Embedder:
        if store is None:
            return registry.load(model or registry.DEFAULT_MODEL, settings, on_message=on_message)
        opened = Store(store, model=model, engine=engine, device=device, precision=precision, on_message=on_message)
        return opened.embedder(threads=1)

    if store is not None and model is not None:
        # A store that has every recording would not be asked whether it is this model's.
        embedder()
    inputs = ListInputs(Path(trials), *(None if path is None else Path(path) for path in (manifest, enrol, root)))
    folder = None if store is None else Path(store)
    return evaluate_list(inputs, embedder, store=folder, by=by, seed=seed, progress=progress)


def train(
    manifest: PathLike,
    *,
    config: PathLike = "train-ecapa-small",
    overrides: Sequence[str] = (),
    family: str | None = None,
    dev: PathLike | None = None,
    out: PathLike | None = None,
    name: str | None = None,
    noise: PathLike | None = None,
    rooms: PathLike | None = None,
    start_from: PathLike | None = None,
    resume: bool = False,
    workers: int | None = None,
    device: str | None = None,
    licence: str = "unknown",
    replace: bool = False,
    on_message: Message | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> TrainResult | None:
    """Train a speaker model on labelled recordings and add it to the models that go by name; see docs/training.md.

    A program that trains with `workers` has to be importable, with its work under ``if __name__ == "__main__"``.

    Parameters
    ----------
    manifest : path
        Recordings and speakers to learn from.
    config : str or path
        A YAML file, or the name of one that comes with vecsv.
    overrides : sequence of str
        Values put over the configuration's, such as ``"data.crop_s=2"``.
    family : str, optional
        Refuse a configuration of any other: ``"ecapa-tdnn"`` or ``"wavlm-xvector"``.
    dev : path, optional
        Manifest of other speakers, to measure verification on.
    out : path, optional
        The run's folder; by default ``runs/NAME``.
    name : str, optional
        Of the model; by default the run folder's, which by default is the configuration's.
    noise, rooms : path, optional
        Folders of noises and of room impulse responses.
    start_from : str or path, optional
        What to begin with: an earlier run's folder, or a model's name or folder.
    resume : bool
        Whether to go on with a run that was stopped.
    workers : int, optional
        Processes that read recordings; by default as many as keep the network busy.
    device : str, optional
        ``"cpu"`` or ``"cuda"``; by default a GPU where there is one.
    licence : str
        SPDX identifier for the weights.
    replace : bool
        Whether a run and a model of these names may be replaced.
    progress : callable, optional
        Told steps done, steps in all, and a remark.

    Returns
    -------
    TrainResult or None
        None in all processes of a distributed training but the first.

    Raises
    ------
    MissingDependencyError
        Without PyTorch and Accelerate.
    TrainingError
        When the configuration or the data cannot be used.
    """
    from importlib.util import find_spec

    missing = [package for package in ("torch", "accelerate", "onnxscript") if find_spec(package) is None]
    if missing:
        raise MissingDependencyError(
            f"training needs {' and '.join(missing)}, which is not installed", hint="pip install 'vecsv[train]'"
        )
    from vecsv.training.configuration import read_config
    from vecsv.training.run import train as run
    from vecsv.training.settings import TrainSettings

    chosen = read_config(Path(config), overrides)
    if family is not None and chosen.family != family:
        raise UsageError(f"the configuration trains {chosen.family}, not {family}", where=str(config))
    title = name or (Path(config).stem.removeprefix("train-") if out is None else Path(out).name)
    settings = TrainSettings(
        config=chosen,
        manifest=Path(manifest),
        dev=None if dev is None else Path(dev),
        out=Path("runs") / title if out is None else Path(out),
        name=title,
        noise=None if noise is None else Path(noise),
        rooms=None if rooms is None else Path(rooms),
        start_from=start_from,
        resume=resume,
        workers=workers,
        device=device,
        licence=licence,
        replace=replace,
    )
    return run(settings, on_message=on_message, progress=progress)


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
    engine, precision : str
        See `vecsv.engines.protocol.EngineSettings`.
    device : str
        As there; for embedding a manifest also several with commas between them, ``"cuda:0,cuda:1"``, which is a
        process for each. A program that asks for several has to be importable, with its work under ``if __name__ ==
        "__main__"``.
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
        engine: str = "auto",
        device: str = "cpu",
        precision: str = "fp32",
        on_message: Message | None = None,
    ) -> None:
        self.folder = default_store() if folder is None else Path(folder)
        self._model = model
        self._threads = threads
        # All are made here: a wrong word is refused at once.
        self._engines = [EngineSettings(engine, one.strip(), precision) for one in device.split(",")]
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
        if len(self._engines) > 1:
            raise UsageError("several devices are for embedding a manifest", hint="name one with --device")
        generation = latest(self.folder)
        settings = replace(self._engines[0], threads=threads)
        try:
            embedder = registry.load(self._model_name(), settings, on_message=self._on_message)
        except ModelError as error:
            if self._model is None and generation is not None and error.hint is None:
                raise ModelError(error.what, where=error.where, hint="name the store's model with --model") from error
            raise
        if generation is not None:
            from vecsv.embedding.windowed import for_queries

            embedder = for_queries(embedder, generation.windows)
            generation.require_fingerprint(embedder.fingerprint, where=str(self.folder))
        return embedder

    def _model_name(self) -> PathLike:
        generation = latest(self.folder)
        return self._model or (registry.DEFAULT_MODEL if generation is None else generation.model)

    @contextmanager
    def _workforce(self, workers: int) -> Iterator[tuple[Embedder, DeviceProcesses | None]]:
        """The model and, where several devices were asked for, the processes that run it."""
        if len(self._engines) == 1:
            # One thread a call: the run has a worker on every core, and they share the network.
            yield self.embedder(threads=1), None
            return
        from vecsv.embedding.processes import DeviceProcesses, load_on, workers_of_each

        folder = registry.locate(self._model_name(), on_message=self._on_message)
        devices = [one.device for one in self._engines]
        count = workers or workers_of_each(devices)
        with DeviceProcesses(partial(load_on, folder, self._engines[0]), devices, workers=count) as processes:
            yield processes.embedder, processes

    def embed(
        self,
        manifest: PathLike | None = None,
        *,
        rttm: PathLike | None = None,
        audio: PathLike | None = None,
        rttm_speakers: Names | str = "local",
        settings: EmbedSettings | None = None,
        progress: Progress | None = None,
    ) -> EmbedSummary:
        """Embed the recordings of a manifest, taking up where an earlier run stopped; see `vecsv.embedding.run`.

        Parameters
        ----------
        manifest : path, optional
            The recordings; with `rttm` those that its file ids stand for.
        rttm : path, optional
            Turns: each is embedded as a cut of its recording, with its own speaker.
        audio : path, optional
            With `rttm`, in place of `manifest`: a folder in which the file ids are names of files.
        rttm_speakers : str
            ``"local"``: names in `rttm` are their file's own; ``"global"``: they are people's.
        settings : EmbedSettings, optional
        progress : callable, optional
        """
        from vecsv.embedding.run import embed_source
        from vecsv.embedding.sources import choose_source
        from vecsv.embedding.windowed import for_queries
        from vecsv.turns import Names

        if rttm_speakers not in set(Names):
            raise UsageError(f"RTTM speakers {str(rttm_speakers)!r}", hint="they are local or global")
        given, turns, folder = (None if path is None else Path(path) for path in (manifest, rttm, audio))
        source = choose_source(given, rttm=turns, audio=folder, names=Names(rttm_speakers))
        with self._workforce(settings.workers if settings else 0) as (embedder, devices):
            summary = embed_source(source, self.folder, embedder, settings, devices=devices, progress=progress)
        # A store that is new may have been begun with windows.
        generation = latest(self.folder)
        rule = None if generation is None else generation.windows
        self._embedders = {count: for_queries(one, rule) for count, one in self._embedders.items()}
        return summary

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

    def calibrate_search(
        self, settings: SearchSettings | None = None, *, progress: Callable[[int, int], None] | None = None
    ) -> SearchCalibration:
        """Place the threshold of searches by searching the store for its own people, each left out of it in turn."""
        from vecsv.calibration.search_run import calibrate_search

        return calibrate_search(self.folder, settings, progress=progress)

    def search_calibration(self) -> SearchCalibration | None:
        """The search threshold in force and what it rests on; None where none is calibrated."""
        from vecsv.calibration.search_record import search_calibration_in_force
        from vecsv.store.reader import read_consistently

        return read_consistently(self.folder, search_calibration_in_force)

    def copy_calibration(self, source: PathLike, *, name: str | None = None) -> Calibration:
        """Take over the thresholds of another store of the same model."""
        from vecsv.calibration.run import DEFAULT_NAME, copy_calibration

        return copy_calibration(Path(source), self.folder, name=name or DEFAULT_NAME)

    def evaluate(
        self,
        settings: SampleSettings | None = None,
        *,
        by: Sequence[str] = (),
        keep_trials: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Evaluation:
        """Work out EER, minDCF and the rest on pairs of the store's own embeddings.

        Parameters
        ----------
        settings : SampleSettings, optional
            Which pairs; by default as `calibrate` draws them.
        by : sequence of str
            Columns to break the figures down by.
        keep_trials : bool
            Refuse all pairs where they are too many to be listed, instead of counting them only.
        """
        from vecsv.evaluation.run import evaluate_store

        return evaluate_store(self.folder, settings, by=by, keep_trials=keep_trials, progress=progress)

    def threshold(self, *, name: str | None = None, value: float | None = None) -> Threshold | None:
        """The threshold that decides; None where there is no calibration.

        Parameters
        ----------
        name : str, optional
            An operating point, such as ``"eer"`` or ``"fmr-0.001"``.
        value : float, optional
            A threshold of the caller's own.
        """
        from vecsv.query import thresholds

        return thresholds.choose(None if value is not None else self.calibration(), name=name, value=value)

    def calibration(self) -> Calibration | None:
        """The calibration that counts: the store's own, else the model's reference; None where there is neither."""
        return self._calibration_and_cohort()[0]

    def _calibration_and_cohort(self) -> tuple[Calibration | None, Cohort | None]:
        from vecsv.calibration.run import calibration_and_cohort
        from vecsv.query import thresholds
        from vecsv.store.reader import read_consistently

        own, cohort = read_consistently(self.folder, calibration_and_cohort) if self.exists else (None, None)
        embedder = self.embedder()
        reference = None if own is not None else embedder.reference_calibration
        return thresholds.which(own, reference, embedder.fingerprint), cohort

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
        from vecsv.query import thresholds
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
        calibration, cohort = self._calibration_and_cohort()
        decides = thresholds.choose(calibration, name=threshold_name, value=threshold)
        generation = latest(self.folder)
        if decides is not None and decides.origin == "store" and generation is not None:
            notes = thresholds.note_on_windows(generation.windows)
            decides = replace(decides, warnings=(*decides.warnings, *notes))
        return compare(
            sides[0],
            sides[1],
            decides,
            model=embedder.name,
            fingerprint=embedder.fingerprint,
            engine=embedder.engine,
            mapping=None if calibration is None else calibration.llr,
            cohort=cohort,
        )

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

    def audit(self) -> Audit:
        """List likely label errors and near-duplicate recordings, ranked; see `vecsv.curation.audit`."""
        from vecsv.curation.audit import audit

        return audit(self.folder)

    def report(self, out: PathLike = "report") -> Report:
        """Write a page with figures about the calibration in force; see `vecsv.report.report`."""
        from vecsv.report.report import write_report

        return write_report(self.folder, Path(out))
