"""Recordings that are in memory already, through several models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from vecsv.arrays import Waveform
from vecsv.embedding.recordings import EmbeddedRecording, embed_recordings
from vecsv.errors import AudioError
from vecsv.models.protocol import Embedder
from vecsv.serve.decoding import DecodedClip

Outcome: TypeAlias = EmbeddedRecording | Exception
"""What became of a recording; exceptions that are no VecsvError are defects."""


@dataclass(frozen=True)
class _Heard:
    """A decoded clip as a `vecsv.embedding.recordings.Sound`, for as long as somebody waits for it."""

    clip: DecodedClip
    wanted: Callable[[], bool]

    @property
    def name(self) -> str:
        return self.clip.name

    def blocks(self, sample_rate: int, block_s: float) -> Iterator[Waveform]:
        if not self.wanted():
            raise AudioError("given-up", "nobody waits for it any more", where=self.clip.name)
        samples = round(block_s * sample_rate)
        for start in range(0, self.clip.waveform.size, samples):
            yield self.clip.waveform[start : start + samples]

    def audio_sha256(self) -> str:
        return self.clip.sha256


def embed_together(
    embedders: Sequence[Embedder], clips: Sequence[DecodedClip], wanted: Callable[[int], bool] = lambda _: True
) -> list[list[Outcome]]:
    """Embed recordings with each of several models, in batches of the models' own size.

    A recording that fails, for whatever reason, harms no other.

    Parameters
    ----------
    embedders : sequence of Embedder
    clips : sequence of DecodedClip
        At the models' sampling rate.
    wanted : callable
        Asked with a clip's place in `clips` before any work on it: False where nobody waits for it any more.

    Returns
    -------
    list of list
        For each model, what became of each clip, in their order.
    """

    def asked(place: int) -> Callable[[], bool]:
        return lambda: wanted(place)

    sounds = [_Heard(clip, asked(place)) for place, clip in enumerate(clips)]
    return [_embed(embedder, sounds) for embedder in embedders]


def _embed(embedder: Embedder, sounds: Sequence[_Heard]) -> list[Outcome]:
    try:
        return [outcome for _, outcome in embed_recordings(embedder, enumerate(sounds))]
    except Exception as error:
        # A defect, or a device that ran out of memory: it is to cost no more than the recording it comes with.
        if len(sounds) == 1:
            return [error]
        return [outcome for sound in sounds for outcome in _embed(embedder, [sound])]
