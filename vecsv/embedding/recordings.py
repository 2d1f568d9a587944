"""From recordings to unit vectors: the one path that the batch run, verification, search and enrolment all take.

Recordings are decoded in blocks as long as the model says. Blocks of many recordings share a batch of the network, and
a long recording's blocks are folded into a running speech-weighted mean, so memory is bounded by the batch and never by
a recording. Where the model comes with a rule for windows (`vecsv.embedding.windowed`), overlapping windows take the
place of the blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Vectors, Waveform
from vecsv.audio.activity import WINDOW_SECONDS, Activity, detect
from vecsv.audio.decode import Clip
from vecsv.audio.quality import Quality, QualityMeter, require_usable
from vecsv.audio.windows import Kept, cut
from vecsv.embedding.parallel import map_in_order
from vecsv.embedding.windowed import rule_of
from vecsv.errors import AudioError, VecsvError
from vecsv.models.protocol import Embedder, Prepared

_CLIPS_PER_PIECE = 8

Key = TypeVar("Key")


class Sound(Protocol):
    """Where a recording's samples come from: a file (`vecsv.audio.decode.Clip`), or what was decoded elsewhere."""

    @property
    def name(self) -> str:
        """What errors call it."""

    def blocks(self, sample_rate: int, block_s: float) -> Iterator[Waveform]:
        """Mono float32 waveforms at `sample_rate`, each `block_s` long but the last."""

    def audio_sha256(self) -> str:
        """SHA-256 (hex) of the bytes it was decoded from; asked for last."""


@dataclass(frozen=True, slots=True)
class EmbeddedWindow:
    """One window of a recording.

    Attributes
    ----------
    segment : int
        Counts the recording's windows from 0, those too that gave no embedding.
    offset_s : float
        Seconds from the recording's (or the cut's) start to the window's.
    vector : ndarray
        float32 ``(dim,)`` of unit length.
    quality : Quality
        Of the window.
    """

    segment: int
    offset_s: float
    vector: Vectors
    quality: Quality


@dataclass(frozen=True, slots=True)
class EmbeddedRecording:
    """What one recording came to.

    Attributes
    ----------
    vector : ndarray
        float32 ``(dim,)`` of unit length.
    quality : Quality
    audio_sha256 : str
        Of the file's bytes.
    windows : tuple of EmbeddedWindow
        At least one where the rule keeps a row for each, else none; `vector` is then what pooling them gives.
    """

    vector: Vectors
    quality: Quality
    audio_sha256: str
    windows: tuple[EmbeddedWindow, ...] = ()


@dataclass(frozen=True, slots=True)
class _Piece:
    """A block or window on its way: what it weighs, and what it is once its vector is there."""

    weight: float
    segment: int
    offset_s: float
    quality: Quality | None
    keep: bool


class _Recording(Generic[Key]):
    """A recording whose blocks are being decoded, batched and summed."""

    def __init__(self, key: Key, dim: int) -> None:
        self.key = key
        self.total: NDArray[np.float64] = np.zeros(dim, np.float64)
        self.blocks_waiting = 0
        self.blocks_used = 0
        self.windows: list[EmbeddedWindow] = []
        self.decoded: tuple[Quality, str] | VecsvError | None = None

    @property
    def failed(self) -> bool:
        return isinstance(self.decoded, VecsvError)

    @property
    def finished(self) -> bool:
        return self.failed or (self.decoded is not None and self.blocks_waiting == 0)

    def take(self, piece: _Piece, vector: Vectors) -> None:
        self.total += piece.weight * vector.astype(np.float64)
        self.blocks_waiting -= 1
        if piece.keep and piece.quality is not None:
            self.windows.append(EmbeddedWindow(piece.segment, piece.offset_s, vector, piece.quality))

    def result(self) -> EmbeddedRecording | VecsvError:
        match self.decoded:
            case VecsvError() as error:
                return error
            case (quality, sha256):
                vector = (self.total / np.linalg.norm(self.total)).astype(np.float32)
                return EmbeddedRecording(vector, quality, sha256, tuple(self.windows))
            case None:
                raise RuntimeError("asked for the result of a recording that is not finished")


class _Batch(Generic[Key]):
    """Blocks of several recordings on their way through the network together."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._blocks: list[tuple[_Recording[Key], Prepared, _Piece]] = []
        self._seconds = 0.0

    def add(self, recording: _Recording[Key], prepared: Prepared, piece: _Piece) -> None:
        self._blocks.append((recording, prepared, piece))
        recording.blocks_waiting += 1
        recording.blocks_used += 1
        self._seconds += prepared.seconds
        if self._seconds >= self._embedder.batch_s:
            self.flush()

    def flush(self) -> None:
        blocks = [block for block in self._blocks if not block[0].failed]
        self._blocks, self._seconds = [], 0.0
        if not blocks:
            return
        try:
            vectors = self._embedder.embed([prepared for _, prepared, _ in blocks])
        except AudioError as error:
            if len(blocks) == 1:
                blocks[0][0].decoded = error
                return
            # One recording the network makes nothing of must not cost the others theirs.
            for block in blocks:
                self._blocks = [block]
                self.flush()
            return
        for (recording, _, piece), vector in zip(blocks, vectors, strict=True):
            recording.take(piece, vector)


def embed_recordings(
    embedder: Embedder, clips: Iterable[tuple[Key, Sound]]
) -> Iterator[tuple[Key, EmbeddedRecording | VecsvError]]:
    """Embed recordings in bounded memory; one that fails gives its error and harms no other.

    Parameters
    ----------
    embedder : Embedder
    clips : iterable of (key, Sound)
        Files or waveforms. The key comes back with the result; it may be anything.

    Yields
    ------
    (key, EmbeddedRecording or VecsvError)
        In the order of `clips`.
    """
    batch: _Batch[Key] = _Batch(embedder)
    waiting: deque[_Recording[Key]] = deque()
    for key, clip in clips:
        recording = _Recording(key, embedder.dim)
        waiting.append(recording)
        try:
            _feed(embedder, clip, recording, batch)
        except VecsvError as error:
            recording.decoded = error
        while waiting and waiting[0].finished:
            done = waiting.popleft()
            yield done.key, done.result()
    batch.flush()
    for done in waiting:
        yield done.key, done.result()


def embed_clips(embedder: Embedder, clips: Sequence[Clip], *, workers: int) -> list[EmbeddedRecording | VecsvError]:
    """Embed many recordings on several threads; results in the order of `clips`."""
    pieces = [clips[start : start + _CLIPS_PER_PIECE] for start in range(0, len(clips), _CLIPS_PER_PIECE)]

    def work(piece: Sequence[Clip]) -> list[EmbeddedRecording | VecsvError]:
        return [result for _, result in embed_recordings(embedder, enumerate(piece))]

    return [result for results in map_in_order(work, pieces, workers) for result in results]


def embed_all(embedder: Embedder, clips: Sequence[Clip]) -> list[EmbeddedRecording]:
    """Embed a few recordings in one batch.

    Raises
    ------
    AudioError
        When one of them gives no embedding; says which and why.
    """
    embedded: list[EmbeddedRecording] = []
    for _, result in embed_recordings(embedder, enumerate(clips)):
        if isinstance(result, VecsvError):
            raise result
        embedded.append(result)
    return embedded


def _feed(embedder: Embedder, clip: Sound, recording: _Recording[Key], batch: _Batch[Key]) -> None:
    """Decode a recording piece by piece into the batch, and note its quality."""
    meter = QualityMeter()
    refusal: AudioError | None = None
    for piece, waveform, activity in _pieces(embedder, clip, meter):
        try:
            if piece.quality is not None:
                require_usable(piece.quality, clip.name)
            prepared = embedder.prepare(waveform, activity)
        except AudioError as error:
            # Minutes without a word are no fault in a long recording; they count for nothing.
            refusal = error
            continue
        batch.add(recording, prepared, piece)
    quality = meter.result()
    require_usable(quality, clip.name)
    if recording.blocks_used == 0:
        refusal = refusal or AudioError("no-samples", "no samples")
        raise AudioError(refusal.code, refusal.what, where=clip.name, hint=refusal.hint)
    if not recording.failed:
        recording.decoded = (quality, clip.audio_sha256())


def _pieces(embedder: Embedder, clip: Sound, meter: QualityMeter) -> Iterator[tuple[_Piece, Waveform, Activity]]:
    """Blocks or windows of a recording; each sample is decoded, and shown to the meter, once."""
    rule, rate = rule_of(embedder), embedder.sample_rate
    blocks = _metered(clip.blocks(rate, embedder.block_s), meter)
    if rule is None:
        for number, (block, activity) in enumerate(blocks):
            yield _Piece(_weight(activity), number, number * embedder.block_s, None, keep=False), block, activity
        return
    length, hop = round(rule.length_s * rate), max(1, round(rule.hop_s * rate))
    for number, (start, window) in enumerate(cut((block for block, _ in blocks), length, hop)):
        activity = detect(window)
        own = QualityMeter()
        own.add(window, activity)
        keep = rule.kept is Kept.ROWS
        yield _Piece(_weight(activity), number, start / rate, own.result(), keep), window, activity


def _metered(blocks: Iterable[Waveform], meter: QualityMeter) -> Iterator[tuple[Waveform, Activity]]:
    for block in blocks:
        activity = detect(block)
        meter.add(block, activity)
        yield block, activity


def _weight(activity: Activity) -> float:
    # What the detector misses is not worth nothing.
    return max(activity.speech_s, WINDOW_SECONDS)
