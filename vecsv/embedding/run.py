"""The batch run: a manifest in, a store out.

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
from vecsv.embedding.known import audio_digest, read_known
from vecsv.embedding.parallel import map_in_order, usable_cores
from vecsv.embedding.plan import Plan, ToEmbed, WorkUnit, failure_key, survey
from vecsv.embedding.recordings import EmbeddedRecording, embed_recordings
from vecsv.errors import AudioError, UsageError, VecsvError
from vecsv.manifest import BadRow, ManifestRow, read_manifest
from vecsv.models.protocol import Embedder
from vecsv.store.generation import Generation, commit, open_or_create
from vecsv.store.parts import write_embeddings, write_failures
from vecsv.store.reader import Snapshot
from vecsv.store.removal import without_failures_of
from vecsv.store.schema import EmbeddedRow, FailedRow
from vecsv.store.writing import drop_superseded, sweep, writer


@dataclass(frozen=True)
class EmbedSettings:
    """How a batch run works; none of it changes an embedding.

    Attributes
    ----------
    workers : int
        Threads; 0 takes one per core this process may use.
    channel : int or None
        1-based channel for rows that name none; None mixes all channels down.
    retry_failed : bool
        Try rows again that an earlier run failed on.
    rows_per_shard : int
        Rows after which a shard is committed...
    seconds_per_commit : float
        ...or seconds, whichever comes first.
    """

    workers: int = 0
    channel: int | None = None
    retry_failed: bool = False
    rows_per_shard: int = 2048
    seconds_per_commit: float = 60.0

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
    progress: Progress | None = None,
) -> EmbedSummary:
    """Embed the recordings of a manifest into a store, taking up where an earlier run stopped.

    Parameters
    ----------
    manifest : Path
    folder : Path
        The store; made when it is not there.
    embedder : Embedder
    settings : EmbedSettings, optional
    progress : callable, optional
        Called on the calling thread with the summary so far.

    Raises
    ------
    ManifestError
        When the manifest cannot be read at all; single bad rows go to the failure ledger.
    FingerprintMismatchError
        When the store's embeddings are another model's.
    StoreBusyError
        When another process is writing to the store.
    """
    settings = settings or EmbedSettings()
    found = survey(read_manifest(manifest))
    started = time.monotonic()
    with writer(folder, create=True):
        generation = open_or_create(folder, model=embedder.name, fingerprint=embedder.fingerprint, dim=embedder.dim)
        if settings.retry_failed:
            generation = _forget_failures(folder, generation, manifest, settings.channel)
        plan = Plan(str(manifest.resolve()), found, read_known(Snapshot(folder, generation)))
        run = _Run(folder, generation, settings, EmbedSummary(rows=found.rows), started, progress)
        units = plan.units(_with_channel(read_manifest(manifest), settings.channel))
        try:
            for result in map_in_order(partial(_work, embedder, plan), units, settings.workers or usable_cores()):
                run.take(result)
        finally:
            # Also on an interrupt: what was finished is kept.
            run.commit()
        sweep(folder)
    return run.report()


@dataclass(frozen=True, slots=True)
class _UnitResult:
    unit: WorkUnit
    rows: tuple[EmbeddedRow | FailedRow | None, ...]


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
        embedded = [row for row in result.rows if isinstance(row, EmbeddedRow)]
        failed = [row for row in result.rows if isinstance(row, FailedRow)]
        self.embedded += embedded
        self.failed += failed
        before = self.summary
        self.summary = replace(
            before,
            embedded=before.embedded + len(embedded),
            failed=before.failed + len(failed),
            embedded_before=before.embedded_before + result.unit.embedded_before + result.rows.count(None),
            failed_before=before.failed_before + result.unit.failed_before,
            audio_s=before.audio_s + sum(row.duration_s for row in embedded),
            speech_s=before.speech_s + sum(row.speech_s for row in embedded),
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
            shards += (write_embeddings(self.folder, now, embedded, first_row_id=now.next_row_id, part=part),)
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


def _forget_failures(folder: Path, generation: Generation, manifest: Path, channel: int | None) -> Generation:
    """Take a manifest's rows out of the failure ledger, whichever manifest they failed in: they are to do again."""
    failed = frozenset(Snapshot(folder, generation).failures().column("key").to_pylist())
    rows = _with_channel(read_manifest(manifest), channel)
    keys = failed.intersection(failure_key(row) for row in rows if isinstance(row, ManifestRow))
    failures = without_failures_of(folder, generation, str(manifest.resolve()), keys)
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


def _work(embedder: Embedder, plan: Plan, unit: WorkUnit) -> _UnitResult:
    """Embed the rows of one unit."""
    outcomes: list[EmbeddedRow | FailedRow | None] = [
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


def _embedded(row: ManifestRow, result: EmbeddedRecording) -> EmbeddedRow:
    return EmbeddedRow(
        utt_id=row.utt_id,
        segment=0,
        speaker=row.speaker,
        session=row.session,
        path=str(row.path),
        channel=row.channel,
        start_s=row.start_s,
        end_s=row.end_s,
        duration_s=result.quality.duration_s,
        speech_s=result.quality.speech_s,
        snr_db=result.quality.snr_db,
        clipped=result.quality.clipped,
        audio_sha256=result.audio_sha256,
        extra=row.extra,
        embedding=result.vector,
    )


def _failed(plan: Plan, row: ManifestRow, error: VecsvError) -> FailedRow:
    code = error.code if isinstance(error, AudioError) else type(error).__name__
    hint = f" ({error.hint})" if error.hint else ""
    return plan.failure(row, code, error.what + hint)
