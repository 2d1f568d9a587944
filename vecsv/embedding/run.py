"""The batch run: a manifest, or an RTTM file, in, a store out.

Units of the plan go to one worker thread per core; each decodes, runs the front end and calls the network (all of
which leave the interpreter's lock). Results are committed in manifest order, a shard at a time, so that row ids do
not depend on which worker was quicker and a run that is killed loses at most the shard it was collecting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from vecsv.audio.decode import Clip, sha256
from vecsv.audio.quality import Quality
from vecsv.audio.windows import WindowRule
from vecsv.embedding.known import audio_digest, read_known
from vecsv.embedding.parallel import map_in_order, usable_cores
from vecsv.embedding.plan import Plan, ToEmbed, WorkUnit, failure_key, survey
from vecsv.embedding.processes import DeviceProcesses
from vecsv.embedding.recordings import EmbeddedRecording, EmbeddedWindow, embed_recordings
from vecsv.embedding.sources import ManifestSource, Source
from vecsv.embedding.windowed import rule_of, windowed
from vecsv.engines.protocol import on_gpu
from vecsv.errors import AudioError, UsageError, VecsvError
from vecsv.manifest import BadRow, ManifestRow
from vecsv.models.protocol import Embedder
from vecsv.store.generation import Generation, commit, latest, open_or_create
from vecsv.store.parts import write_embeddings, write_failures
from vecsv.store.reader import Snapshot
from vecsv.store.removal import without_failures_of
from vecsv.store.schema import EmbeddedRow, FailedRow
from vecsv.store.writing import drop_superseded, sweep, writer


@dataclass(frozen=True)
class EmbedSettings:
    """How a batch run works; nothing but `windows` and `channel` changes an embedding.

    Attributes
    ----------
    workers : int
        Threads (of each process); 0 takes one per core this process may use, and two where a GPU computes: while some
        wait for it, others prepare what it gets next.
    channel : int or None
        1-based channel for rows that name none; None mixes all channels down.
    retry_failed : bool
        Try rows again that an earlier run failed on.
    rows_per_shard : int
        Rows after which a shard is committed...
    seconds_per_commit : float
        ...or seconds, whichever comes first.
    windows : WindowRule or None
        How utterances are cut into windows, and what is kept of them; None goes on as the store was begun, and embeds
        each in one piece where it is new.
    """

    workers: int = 0
    channel: int | None = None
    retry_failed: bool = False
    rows_per_shard: int = 2048
    seconds_per_commit: float = 60.0
    windows: WindowRule | None = None

    def __post_init__(self) -> None:
        if self.workers < 0 or self.rows_per_shard < 1 or self.seconds_per_commit < 0:
            raise UsageError("workers, rows per shard and seconds per commit cannot be negative or zero")
        if self.channel is not None and self.channel < 1:
            raise UsageError(f"channel {self.channel}: channels count from 1")


@dataclass(frozen=True)
class EmbedSummary:
    """What a batch run came to.

    Attributes
    ----------
    rows : int
        Rows of the manifest.
    engine : str
        What ran the network, with device and precision.
    embedded, failed : int
        Rows this run embedded, and could not.
    embedded_before, failed_before : int
        Rows that earlier runs had settled.
    audio_s, speech_s, wall_s : float
        Seconds of audio and of speech embedded by this run, and how long it took.
    failures : tuple of FailedRow
        The first of this run's failures, for showing.
    """

    rows: int
    engine: str = ""
    embedded: int = 0
    failed: int = 0
    embedded_before: int = 0
    failed_before: int = 0
    audio_s: float = 0.0
    speech_s: float = 0.0
    wall_s: float = 0.0
    failures: tuple[FailedRow, ...] = ()

    @property
    def times_real_time(self) -> float:
        """Seconds of audio embedded per second."""
        return self.audio_s / self.wall_s if self.wall_s > 0 else 0.0

    @property
    def settled(self) -> int:
        """Rows that need no more work."""
        return self.embedded + self.failed + self.embedded_before + self.failed_before


FAILURES_SHOWN = 10
Progress = Callable[[EmbedSummary], None]


def embed_manifest(
    manifest: Path,
    folder: Path,
    embedder: Embedder,
    settings: EmbedSettings | None = None,
    *,
    devices: DeviceProcesses | None = None,
    progress: Progress | None = None,
) -> EmbedSummary:
    """Embed the recordings of a manifest into a store; see `embed_source`."""
    return embed_source(ManifestSource(manifest), folder, embedder, settings, devices=devices, progress=progress)


def embed_source(
    source: Source,
    folder: Path,
    embedder: Embedder,
    settings: EmbedSettings | None = None,
    *,
    devices: DeviceProcesses | None = None,
    progress: Progress | None = None,
) -> EmbedSummary:
    """Embed recordings into a store, taking up where an earlier run stopped.

    Parameters
    ----------
    source : Source
        The rows: those of a manifest, say.
    folder : Path
        The store; made when it is not there.
    embedder : Embedder
    settings : EmbedSettings, optional
    devices : DeviceProcesses, optional
        Other processes that embed in place of this one's threads; `embedder` is then theirs.
    progress : callable, optional
        Called on the calling thread with the summary so far.

    Raises
    ------
    ManifestError
        When the rows cannot be read at all; single bad ones go to the failure ledger.
    FingerprintMismatchError
        When the store's embeddings are another model's.
    StoreError
        When the store's utterances are cut into other windows.
    StoreBusyError
        When another process is writing to the store.
    """
    settings = settings or EmbedSettings()
    embedder = _with_windows(embedder, settings.windows, folder)
    found = survey(source.rows())
    started = time.monotonic()
    with writer(folder, create=True):
        rule = rule_of(embedder)
        generation = open_or_create(
            folder, model=embedder.name, fingerprint=embedder.fingerprint, dim=embedder.dim, windows=rule
        )
        generation.require_windows(rule, where=str(folder))
        if settings.retry_failed:
            generation = _forget_failures(folder, generation, source, settings.channel)
        plan = Plan(str(source.path.resolve()), found, read_known(Snapshot(folder, generation)))
        run = _Run(folder, generation, settings, EmbedSummary(found.rows, embedder.engine), started, progress)
        units = plan.units(_with_channel(source.rows(), settings.channel))
        try:
            for result in _results(embedder, plan, units, settings.workers, devices):
                run.take(result)
        finally:
            # Also on an interrupt: what was finished is kept.
            run.commit()
        sweep(folder)
    return run.report()


def _with_windows(embedder: Embedder, asked: WindowRule | None, folder: Path) -> Embedder:
    """The model with the rule that was asked for, else with the store's.

    Raises
    ------
    StoreError
        When the store there has another rule than the one asked for.
    """
    generation = latest(folder)
    asked = asked or rule_of(embedder)
    if generation is None:
        return windowed(embedder, asked)
    if asked is not None:
        # Before the model takes the rule: a pooled one changes the fingerprint, and another error would say less.
        generation.require_windows(asked, where=str(folder))
    return windowed(embedder, generation.windows)


@dataclass(frozen=True, slots=True)
class _Utterance:
    """An embedded utterance: its rows, and what was measured on all of it."""

    rows: tuple[EmbeddedRow, ...]
    quality: Quality


@dataclass(frozen=True, slots=True)
class _UnitResult:
    unit: WorkUnit
    outcomes: tuple[_Utterance | FailedRow | None, ...]


@dataclass
class _Run:
    """Collects results in order and commits them."""

    folder: Path
    generation: Generation
    settings: EmbedSettings
    summary: EmbedSummary
    started: float
    progress: Progress | None
    embedded: list[EmbeddedRow] = field(default_factory=list)
    failed: list[FailedRow] = field(default_factory=list)
    committed_at: float = field(default_factory=time.monotonic)

    def take(self, result: _UnitResult) -> None:
        """Note a unit's rows; commit when a shard is full or long enough in the making."""
        embedded = [outcome for outcome in result.outcomes if isinstance(outcome, _Utterance)]
        failed = [outcome for outcome in result.outcomes if isinstance(outcome, FailedRow)]
        # An utterance's rows come together, so that one commit has all of them.
        self.embedded += [row for utterance in embedded for row in utterance.rows]
        self.failed += failed
        before = self.summary
        self.summary = replace(
            before,
            embedded=before.embedded + len(embedded),
            failed=before.failed + len(failed),
            embedded_before=before.embedded_before + result.unit.embedded_before + result.outcomes.count(None),
            failed_before=before.failed_before + result.unit.failed_before,
            audio_s=before.audio_s + sum(utterance.quality.duration_s for utterance in embedded),
            speech_s=before.speech_s + sum(utterance.quality.speech_s for utterance in embedded),
            failures=(before.failures + tuple(failed))[:FAILURES_SHOWN],
        )
        full = len(self.embedded) + len(self.failed) >= self.settings.rows_per_shard
        if full or time.monotonic() - self.committed_at >= self.settings.seconds_per_commit:
            self.commit()
        if self.progress is not None:
            self.progress(self.report())

    def commit(self) -> None:
        """Write what was collected as one shard and one ledger, and commit both in one step."""
        self.committed_at = time.monotonic()
        # Taken out first: what a failing disk did not take is left to the next run, which finds it missing. To commit
        # it again on the way out could store it twice.
        embedded, failed, self.embedded, self.failed = self.embedded, self.failed, [], []
        if not embedded and not failed:
            return
        now = self.generation
        part = now.next_part
        shards = now.shards
        failures = now.failures
        if embedded:
            shard = write_embeddings(
                self.folder, now, embedded, first_row_id=now.next_row_id, part=part, engine=self.summary.engine
            )
            shards += (shard,)
        if failed:
            failures += (write_failures(self.folder, failed, part=part),)
        following = now.successor(
            shards=shards,
            failures=failures,
            next_row_id=now.next_row_id + len(embedded),
            next_part=part + 1,
        )
        commit(self.folder, following)
        self.generation = following
        drop_superseded(self.folder, following)

    def report(self) -> EmbedSummary:
        return replace(self.summary, wall_s=time.monotonic() - self.started)


def _forget_failures(folder: Path, generation: Generation, source: Source, channel: int | None) -> Generation:
    """Take a source's rows out of the failure ledger, whichever manifest they failed in: they are to do again."""
    failed = frozenset(Snapshot(folder, generation).failures().column("key").to_pylist())
    rows = _with_channel(source.rows(), channel)
    keys = failed.intersection(failure_key(row) for row in rows if isinstance(row, ManifestRow))
    failures = without_failures_of(folder, generation, str(source.path.resolve()), keys)
    if failures == generation.failures:
        return generation
    generation = generation.successor(failures=failures)
    commit(folder, generation)
    return generation


def _with_channel(rows: Iterator[ManifestRow | BadRow], channel: int | None) -> Iterator[ManifestRow | BadRow]:
    if channel is None:
        return rows
    return (
        replace(row, channel=channel) if isinstance(row, ManifestRow) and row.channel is None else row for row in rows
    )


def _results(
    embedder: Embedder, plan: Plan, units: Iterator[WorkUnit], workers: int, devices: DeviceProcesses | None
) -> Iterator[_UnitResult]:
    """Results in the order of the units, from this process's threads or from those of other processes."""
    if devices is None:
        threads = workers or usable_cores() * (2 if on_gpu(embedder.engine) else 1)
        return map_in_order(partial(_work, embedder, plan), units, threads)
    return devices.map(partial(_work_there, rule_of(embedder), plan.without_rows()), units)


def _work_there(rule: WindowRule | None, plan: Plan, embedder: Embedder, unit: WorkUnit) -> _UnitResult:
    """Embed the rows of one unit in another process."""
    return _work(windowed(embedder, rule), plan, unit)


def _work(embedder: Embedder, plan: Plan, unit: WorkUnit) -> _UnitResult:
    """Embed the rows of one unit."""
    outcomes: list[_Utterance | FailedRow | None] = [
        item if isinstance(item, FailedRow) else _moved(plan, item) for item in unit.items
    ]
    clips = (
        ((position, item.row), Clip(item.row.path, item.row.channel, item.row.start_s, item.row.end_s))
        for position, item in enumerate(unit.items)
        if isinstance(item, ToEmbed) and item.moved_audio is None
    )
    for (position, row), result in embed_recordings(embedder, clips):
        if isinstance(result, EmbeddedRecording):
            outcomes[position] = _embedded(row, result)
        else:
            outcomes[position] = _failed(plan, row, result)
    return _UnitResult(unit, tuple(outcomes))


def _moved(plan: Plan, item: ToEmbed) -> FailedRow | None:
    """Judge a row whose id the store knows from another path: None when it is the same recording, else a refusal."""
    if item.moved_audio is None:
        return None
    try:
        if audio_digest(sha256(item.row.path)) == item.moved_audio:
            return None
    except VecsvError as error:
        return _failed(plan, item.row, error)
    return plan.failure(
        item.row, "claimed", "utterance id already in the store for another recording; give each a utt_id of its own"
    )


def _embedded(row: ManifestRow, result: EmbeddedRecording) -> _Utterance:
    pieces = result.windows or (EmbeddedWindow(0, 0.0, result.vector, result.quality),)
    return _Utterance(tuple(_embedded_row(row, piece, result.audio_sha256) for piece in pieces), result.quality)


def _embedded_row(row: ManifestRow, piece: EmbeddedWindow, audio_sha256: str) -> EmbeddedRow:
    return EmbeddedRow(
        utt_id=row.utt_id,
        segment=piece.segment,
        speaker=row.speaker,
        session=row.session,
        path=str(row.path),
        channel=row.channel,
        start_s=row.start_s,
        end_s=row.end_s,
        offset_s=piece.offset_s,
        duration_s=piece.quality.duration_s,
        speech_s=piece.quality.speech_s,
        snr_db=piece.quality.snr_db,
        clipped=piece.quality.clipped,
        audio_sha256=audio_sha256,
        extra=row.extra,
        embedding=piece.vector,
    )


def _failed(plan: Plan, row: ManifestRow, error: VecsvError) -> FailedRow:
    code = error.code if isinstance(error, AudioError) else type(error).__name__
    hint = f" ({error.hint})" if error.hint else ""
    return plan.failure(row, code, error.what + hint)
