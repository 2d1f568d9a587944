"""From what a client sent to what the models heard, never blocking the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from vecsv.errors import AudioError
from vecsv.serve.decoding import DecodedClip, DecoderPool
from vecsv.serve.embedding_pool import EmbeddingPool
from vecsv.serve.overload import Overloaded
from vecsv.serve.results import Heard
from vecsv.serve.threads import Threads
from vecsv.serve.verdicts import ClipReport

_UNNAMED = "recording"
_RETRY_S = 2.0


class Upload(Protocol):
    """A file as a form brought it."""

    @property
    def filename(self) -> str | None:
        """What the client calls it."""

    async def read(self, size: int = -1) -> bytes:
        """Its bytes."""


class Intake:
    """Decodes and embeds clips for coroutines.

    Parameters
    ----------
    decoders : DecoderPool
    threads : Threads
        To wait for the decoders in.
    pool : EmbeddingPool
    limit : int
        Clips in the house, being decoded or embedded, beyond which more are refused, so that what they take of memory
        has a bound. One request with more than this is taken when nothing else is there.
    on_failure : callable, optional
        Called with the code of each clip that could not be decoded.
    """

    def __init__(
        self,
        decoders: DecoderPool,
        threads: Threads,
        pool: EmbeddingPool,
        *,
        limit: int,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        self._decoders = decoders
        self._threads = threads
        self._pool = pool
        self._limit = limit
        self._inside = 0
        self._on_failure = on_failure

    async def hear(self, uploads: Sequence[Upload]) -> list[Heard]:
        """Decode and embed clips.

        Raises
        ------
        AudioError
            When one cannot be decoded.
        Overloaded
            When there is no room for them.
        """
        with self._admitted(len(uploads)):
            decoded = await self._decode_all(uploads)
            for one in decoded:
                if isinstance(one, AudioError):
                    raise one
            return await self._embed([one for one in decoded if isinstance(one, DecodedClip)])

    async def hear_each(self, uploads: Sequence[Upload]) -> list[Heard | ClipReport]:
        """Decode and embed clips; one that cannot be decoded is told of in a report.

        Raises
        ------
        Overloaded
            When there is no room for them.
        """
        with self._admitted(len(uploads)):
            decoded = await self._decode_all(uploads)
            heard = iter(await self._embed([one for one in decoded if isinstance(one, DecodedClip)]))
        return [
            next(heard)
            if isinstance(one, DecodedClip)
            else ClipReport(one.where or _UNNAMED, None).with_reason(one.code, one.what)
            for one in decoded
        ]

    @contextmanager
    def _admitted(self, clips: int) -> Iterator[None]:
        """Count clips while they are in the house; before they are read, so that only these take memory."""
        self._pool.require_room(clips)
        if self._inside and self._inside + clips > self._limit:
            raise Overloaded("too many recordings are being worked on", retry_after_s=_RETRY_S)
        self._inside += clips
        try:
            yield
        finally:
            self._inside -= clips

    async def _decode_all(self, uploads: Sequence[Upload]) -> list[DecodedClip | AudioError]:
        tasks = [asyncio.create_task(self._decode(upload)) for upload in uploads]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise

    async def _decode(self, upload: Upload) -> DecodedClip | AudioError:
        data = await upload.read()
        name = upload.filename or _UNNAMED
        try:
            return await self._threads.run(lambda: self._decoders.decode(data, name))
        except AudioError as error:
            if self._on_failure is not None:
                self._on_failure(error.code)
            return error

    async def _embed(self, clips: Sequence[DecodedClip]) -> list[Heard]:
        by_store = await self._pool.submit(clips)
        return [
            Heard(clip, {store: recordings[place] for store, recordings in by_store.items()})
            for place, clip in enumerate(clips)
        ]
