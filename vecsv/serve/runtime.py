"""All that a running service holds: stores with their models, decoders, the embedding pool, keys and logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from vecsv.api import Store
from vecsv.embedding.parallel import usable_cores
from vecsv.models.protocol import Embedder
from vecsv.serve.audit_log import AuditLog
from vecsv.serve.decoding import DecoderPool
from vecsv.serve.embedding_pool import EmbeddingPool
from vecsv.serve.gallery import Gallery
from vecsv.serve.intake import Intake
from vecsv.serve.keys import KeyRing
from vecsv.serve.metrics import Metrics
from vecsv.serve.service import Service
from vecsv.serve.settings import ServeSettings
from vecsv.serve.spoof import SpoofModel
from vecsv.serve.threads import Threads
from vecsv.store import enrolments

Message = Callable[[str], None]

_READERS: Final = 4
_WRITERS: Final = 2


@dataclass(frozen=True)
class Runtime:
    """What a running service holds; made by `open_runtime`, to be closed when it ends.

    Attributes
    ----------
    settings : ServeSettings
    service : Service
    intake : Intake
    pool : EmbeddingPool
    readers, writers : Threads
        For work on stores: an erasure that takes long keeps no question waiting.
    metrics : Metrics
    keys : KeyRing or None
    audit : AuditLog or None
    spoof : SpoofModel or None
    """

    settings: ServeSettings
    service: Service
    intake: Intake
    pool: EmbeddingPool
    readers: Threads
    writers: Threads
    metrics: Metrics
    keys: KeyRing | None
    audit: AuditLog | None
    spoof: SpoofModel | None
    _open: ExitStack

    async def drain(self) -> bool:
        """Finish what was accepted, within the time that the settings give; whether all was finished."""
        return await self.pool.drain(self.settings.shutdown_s)

    def close(self) -> None:
        """End decoders and threads; what is not finished by now is not."""
        self._open.close()

    @cached_property
    def store_names(self) -> tuple[str, ...]:
        """Names of the stores."""
        return tuple(self.service.galleries)


def open_runtime(
    settings: ServeSettings,
    *,
    embedders: Mapping[str, Embedder] | None = None,
    on_message: Message | None = None,
) -> Runtime:
    """Load the models, open the stores and start what decodes and embeds.

    Parameters
    ----------
    settings : ServeSettings
    embedders : mapping of str to Embedder, optional
        The stores' models, by the stores' names; by default each is loaded as its store names it.
    on_message : callable, optional
        Told, in one line each, about things a person should know.

    Raises
    ------
    VecsvError
        When something in the settings will not do; nothing is left running then.
    """
    for note in settings.require_safe():
        if on_message is not None:
            on_message(f"note: {note}")
    with ExitStack() as stack:
        keys = None if settings.keys_file is None else KeyRing(settings.keys_file)
        audit = None if settings.audit_file is None else AuditLog(settings.audit_file)
        if audit is not None:
            stack.callback(audit.close)
        if embedders is None:
            embedders = {name: _embedder(settings, name, on_message) for name in settings.stores}
        for folder in settings.stores.values():
            enrolments.require_usable(folder)
        galleries = [Gallery(name, folder, embedders[name]) for name, folder in settings.stores.items()]
        service = Service(
            galleries, wanted_speech_s=settings.wanted_speech_s, shortest_speech_s=settings.shortest_speech_s
        )
        spoof = None if settings.spoof_model is None else SpoofModel(settings.spoof_model)
        workers = settings.workers or usable_cores()
        metrics = Metrics(
            embedders,
            queue_limit=settings.queue,
            queue_depth=lambda: pool.depth,
            enrolled=service.enrolled_speakers,
        )
        readers = Threads("stores", workers=_READERS, limit=_READERS + settings.queue)
        writers = Threads("stores' writers", workers=_WRITERS, limit=_WRITERS + settings.queue)
        for threads in (readers, writers):
            stack.callback(threads.close)
        decoders = DecoderPool(workers, settings.decode_limits)
        stack.callback(decoders.close)
        pool = EmbeddingPool(
            embedders,
            queue_limit=settings.queue,
            window_ms=settings.batch_window_ms,
            workers=workers,
            on_batch=metrics.batch,
        )
        stack.callback(pool.close)
        decoding = Threads("decoders", workers=workers, limit=workers + settings.queue)
        stack.callback(decoding.close)
        # As many again may be decoded as may wait for the models.
        intake = Intake(decoders, decoding, pool, limit=2 * settings.queue, on_failure=metrics.decode_failure)
        return Runtime(settings, service, intake, pool, readers, writers, metrics, keys, audit, spoof, stack.pop_all())


def _embedder(settings: ServeSettings, name: str, on_message: Message | None) -> Embedder:
    store = Store(
        settings.stores[name],
        model=settings.model,
        engine=settings.engine,
        device=settings.device,
        precision=settings.precision,
        on_message=on_message,
    )
    # One thread a call: the pool has a worker on every core.
    return store.embedder(threads=1)
