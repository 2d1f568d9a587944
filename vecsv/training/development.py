"""How good a network is while it learns: verification of other people's voices, and accuracy on held-out speech."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vecsv.arrays import Vectors, Waveform
from vecsv.audio.activity import WINDOW_SECONDS, detect
from vecsv.audio.decode import Clip, blocks
from vecsv.audio.quality import MIN_DURATION_S
from vecsv.calibration.allpairs import exact, histogram
from vecsv.calibration.corners import corner_counts
from vecsv.calibration.counts import ErrorCounts
from vecsv.calibration.metrics import eer, min_dcf
from vecsv.engines.batching import BatchLimits, plan_batches
from vecsv.errors import AudioError, TrainingError
from vecsv.models.windows import POOLING
from vecsv.training.data.classes import Classes
from vecsv.training.data.recordings import Corpus, Recording
from vecsv.training.excerpts import (
    ALONE,
    Share,
    beginning,
    middle,
    read_batches,
    repeated,
    require_few,
    samples_of,
    stacks,
    thinned,
)
from vecsv.training.specs import DevelopmentSpec

P_TARGET: Final = 0.01
"""Prior probability of a target in the detection cost."""

MOST_EXACT: Final = 16_384
"""Recordings up to which all scores are kept (half a gigabyte); more are counted in fine histograms."""

_BATCH: Final = 32
_BATCH_S: Final = 120.0
_HELD_OUT_BATCH: Final = 64


@dataclass(frozen=True)
class DevelopmentScores:
    """Verification over all pairs of recordings.

    Attributes
    ----------
    eer : float
        Equal error rate, in [0, 1].
    min_dcf : float
        Lowest normalised detection cost at a target prior of 0.01, both errors costing 1.
    targets, non_targets : int
        Pairs of one speaker and of two.
    recordings, speakers : int
        That are in the pairs.
    unread : tuple of (str, str)
        Recordings that could not be decoded, and why; in no pair.
    """

    eer: float
    min_dcf: float
    targets: int
    non_targets: int
    recordings: int
    speakers: int
    unread: tuple[tuple[str, str], ...] = ()


class Development:
    """Recordings of people whom the network is not taught, on which verification is measured.

    A recording up to `block_s` is embedded in one piece. A longer one is embedded as a model bundle does it
    (`vecsv.models.windows.Pooling`): block by block, the blocks' unit vectors weighted by the speech in them. Unlike
    there, no recording is refused for silence or noise: a measurement that left out what is hard would flatter.

    Parameters
    ----------
    corpus : Corpus
        The recordings; of more than the spec allows a part is drawn, in pairs of one speaker.
    spec : DevelopmentSpec
        How much of each recording, and how many.
    sample_rate : int
        What the network takes, in Hz.
    seed : int
        Of the draw.
    block_s : float
        Longest stretch that the network takes in one piece, in seconds.

    Raises
    ------
    TrainingError
        When there are no two recordings of one speaker, or no two speakers.
    """

    def __init__(
        self,
        corpus: Corpus,
        spec: DevelopmentSpec,
        *,
        sample_rate: int,
        seed: int = 0,
        block_s: float = POOLING.block_s,
    ) -> None:
        everyone = [recording.speaker for recording in corpus.recordings]
        kept = thinned(everyone, spec.most_recordings, seed)
        self.recordings: tuple[Recording, ...] = tuple(corpus.recordings[position] for position in kept)
        self._rate = sample_rate
        self._block_s = block_s
        self._speakers = np.asarray([recording.speaker for recording in self.recordings])
        _require_pairs(self._speakers)
        self._clips = [beginning(recording, spec.crop_s) for recording in self.recordings]
        self._short, self._long = self._planned()

    def measure(self, embed: Callable[[Tensor], Tensor], share: Share = ALONE) -> DevelopmentScores:
        """Embed all recordings, anew from disk, and score all their pairs.

        Parameters
        ----------
        embed : callable
            From float32 waves ``(batch, samples)`` on the CPU to embeddings ``(batch, dim)`` of any length, on any
            device and of any floating-point type. It is called without gradients; that the network is in evaluation
            mode is up to the caller.
        share : Share
            Each of several processes embeds every ``world``-th batch, and all have to call this. The batches are the
            same however many processes there are, and so are the scores, in every process, to the last bit.

        Raises
        ------
        TrainingError
            When embeddings are not finite, when more than a hundredth of the recordings cannot be decoded, or when
            those that can leave no target or no non-target pair.
        """
        rows: NDArray[np.float64] | None = None
        reasons: dict[int, str] = {}
        for position, vector in self._embedded(embed, share):
            if isinstance(vector, AudioError):
                reasons[position] = str(vector)
                continue
            if rows is None:
                rows = np.zeros((len(self.recordings), vector.size + 1))
            rows[position] = np.append(vector, 1.0)
        if rows is None:
            # A process without a batch, or with nothing but damaged files, still has to know how long a vector is.
            rows = np.zeros((len(self.recordings), self._dim(embed) + 1))
        together = share.add(torch.from_numpy(rows)).numpy()
        vectors, present = together[:, :-1].astype(np.float32), together[:, -1] > 0
        unread = _unread(self.recordings, present, reasons)
        require_few(unread, len(self.recordings), "development recordings")
        if not np.isfinite(vectors).all():
            raise TrainingError(
                "the network's embeddings are not finite: the training has diverged",
                hint="lower the learning rate, or clip the gradient to less",
            )
        speakers = self._speakers[present]
        _require_pairs(speakers)
        counts = pair_counts(vectors[present], speakers)
        return DevelopmentScores(
            eer=eer(counts),
            min_dcf=min_dcf(counts, P_TARGET).normalised,
            targets=counts.targets,
            non_targets=counts.non_targets,
            recordings=int(speakers.size),
            speakers=int(np.unique(speakers).size),
            unread=unread,
        )

    def _planned(self) -> tuple[list[tuple[int, ...]], list[int]]:
        """Batches of recordings that are a block at most, and the recordings that are more."""
        lengths = [samples_of(clip, self._rate) for clip in self._clips]
        block = round(self._block_s * self._rate)
        short = [position for position, length in enumerate(lengths) if length <= block]
        limits = BatchLimits(items=_BATCH, size=round(_BATCH_S * self._rate))
        planned = plan_batches([lengths[position] for position in short], limits, pads=False)
        batches = [tuple(short[place] for place in batch.positions) for batch in planned]
        return batches, [position for position, length in enumerate(lengths) if length > block]

    def _embedded(
        self, embed: Callable[[Tensor], Tensor], share: Share
    ) -> Iterator[tuple[int, NDArray[np.float64] | AudioError]]:
        """The recordings of this process, each with a unit vector or with why it has none."""
        for position in share.of(self._long):
            try:
                yield position, self._pooled(embed, self._clips[position])
            except AudioError as error:
                yield position, error
        for batch in read_batches(self._clips, share.of(self._short), self._rate):
            waves: list[tuple[int, Waveform]] = []
            for position, wave in batch:
                if isinstance(wave, AudioError):
                    yield position, wave
                else:
                    waves.append((position, wave))
            for positions, stack in stacks(waves):
                yield from zip(positions, _unit_vectors(embed, stack), strict=True)

    def _pooled(self, embed: Callable[[Tensor], Tensor], clip: Clip) -> NDArray[np.float64]:
        """A long recording: the mean of its blocks, weighted by the seconds of speech in each."""
        total: NDArray[np.float64] | None = None
        first: Waveform | None = None
        with closing(blocks(clip, sample_rate=self._rate, block_s=self._block_s)) as stream:
            for block in stream:
                first = block if first is None else first
                activity = detect(block)
                if block.size < MIN_DURATION_S * self._rate or not activity.kept().any():
                    continue
                part = max(activity.speech_s, WINDOW_SECONDS) * _unit_vectors(embed, block[None])[0]
                total = part if total is None else total + part
        if total is None:
            # Nothing in it is speech: a bundle would refuse it, here it counts as what the network makes of it.
            total = _unit_vectors(embed, np.asarray(first)[None])[0]
        vector: NDArray[np.float64] = _scaled(total[None])[0]
        return vector

    def _dim(self, embed: Callable[[Tensor], Tensor]) -> int:
        """Length of an embedding, from a second of silence."""
        return int(_unit_vectors(embed, np.zeros((1, self._rate), np.float32)).shape[1])


def pair_counts(vectors: Vectors, speakers: NDArray[np.generic], *, most_exact: int = MOST_EXACT) -> ErrorCounts:
    """Errors at all thresholds over all pairs of unit vectors.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dim)
    speakers : ndarray, shape (n,)
        Whose each is.
    most_exact : int
        With more vectors than this the scores are counted in a histogram, to within a bin of
        `vecsv.calibration.histograms`.

    Examples
    --------
    >>> vectors = np.float32([[1, 0], [0.8, 0.6], [0, 1]])
    >>> eer(pair_counts(vectors, np.array(["a", "a", "b"])))
    0.0
    """
    if len(vectors) > most_exact:
        return histogram(vectors, speakers, workers=1).error_counts()
    targets, non_targets = exact(vectors, speakers)
    targets.sort()
    non_targets.sort()
    return corner_counts(targets, non_targets)


def held_out_accuracy(
    correct_of: Callable[[Tensor, Tensor], Tensor],
    held_out: Sequence[Recording],
    classes: Classes,
    *,
    crop_s: float,
    sample_rate: int,
    most_recordings: int = 2000,
    seed: int = 0,
    share: Share = ALONE,
) -> float:
    """Part of held-out recordings whose speaker the network names, from the middle of each at unchanged speed.

    Parameters
    ----------
    correct_of : callable
        From float32 waves ``(batch, samples)`` and int64 labels ``(batch,)``, both on the CPU, to whether each is right
        ``(batch,)``. Called without gradients.
    held_out : sequence of Recording
        Whole recordings or the held-out tails of some.
    classes : Classes
        What the network tells apart; they give the labels.
    crop_s : float
        Length of a crop; a shorter recording is repeated.
    sample_rate : int
        What the network takes, in Hz.
    most_recordings, seed
        Of more a part is drawn, the same one each time.
    share : Share
        As in `Development.measure`.

    Raises
    ------
    TrainingError
        When there is nothing held out, or more than a hundredth of it cannot be decoded.
    """
    if not held_out:
        raise TrainingError("no speech is held out to measure accuracy on", hint="set held_out")
    kept = thinned([recording.speaker for recording in held_out], most_recordings, seed)
    recordings = [held_out[position] for position in kept]
    clips = [middle(recording, crop_s) for recording in recordings]
    samples = round(crop_s * sample_rate)
    places = range(len(clips))
    batches = [tuple(places[start : start + _HELD_OUT_BATCH]) for start in places[::_HELD_OUT_BATCH]]
    outcome = torch.zeros(len(clips), 2)
    reasons: dict[int, str] = {}
    for batch in read_batches(clips, share.of(batches), sample_rate):
        waves = [(position, wave) for position, wave in batch if not isinstance(wave, AudioError)]
        reasons |= {position: str(error) for position, error in batch if isinstance(error, AudioError)}
        if not waves:
            continue
        positions = [position for position, _ in waves]
        stack = torch.from_numpy(np.stack([repeated(wave, samples) for _, wave in waves]))
        labels = torch.tensor(
            [classes.label(classes.numbers[recordings[position].speaker], 0) for position in positions]
        )
        with torch.no_grad():
            correct = correct_of(stack, labels)
        outcome[positions, 0] = 1.0
        outcome[positions, 1] = correct.detach().to("cpu", torch.float32)
    outcome = share.add(outcome)
    present = outcome[:, 0].numpy() > 0
    require_few(_unread(recordings, present, reasons), len(recordings), "held-out recordings")
    return float(outcome[:, 1].sum()) / int(np.count_nonzero(present))


def _unit_vectors(embed: Callable[[Tensor], Tensor], waves: NDArray[np.float32]) -> NDArray[np.float64]:
    with torch.no_grad():
        raw = embed(torch.from_numpy(np.ascontiguousarray(waves)))
    vectors: NDArray[np.float64] = raw.detach().to("cpu", torch.float64).numpy()
    return _scaled(vectors)


def _scaled(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    # A vector of zeros stays one, and scores 0 with all others.
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _unread(
    recordings: Sequence[Recording], present: NDArray[np.bool_], reasons: dict[int, str]
) -> tuple[tuple[str, str], ...]:
    return tuple(
        (recordings[place].utt_id, reasons.get(place, "another process could not decode it"))
        for place in np.flatnonzero(~present).tolist()
    )


def _require_pairs(speakers: NDArray[np.generic]) -> None:
    counts = np.unique(speakers, return_counts=True)[1]
    if counts.size < 2 or counts.max() < 2:
        people = "1 speaker" if counts.size == 1 else f"{counts.size} speakers"
        raise TrainingError(
            f"verification cannot be measured on {speakers.size} recordings of {people}",
            hint="give a dev manifest with two or more speakers, one of them with two or more recordings",
        )
