"""Batches of crops, made ahead by worker processes.

What is in a batch follows from the plan alone. How many workers there are, and how many processes share a batch,
changes neither its content nor its order.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from vecsv.arrays import Waveform
from vecsv.errors import AudioError, TrainingError
from vecsv.training.data.classes import Classes
from vecsv.training.data.crops import draw_crop
from vecsv.training.data.recordings import Corpus
from vecsv.training.data.sampling import EpochPlan, Example
from vecsv.training.specs import SpectrumSpec
from vecsv.training.spectrum import draw_masks

Augment = Callable[[Waveform, np.random.Generator], Waveform]
"""Changes a crop, drawing from the generator; the length stays. Has to be picklable."""

_ATTEMPTS: Final = 10
_BATCHES_AHEAD: Final = 2


@dataclass(frozen=True)
class Batch:
    """Crops and what is to be learnt of them.

    Attributes
    ----------
    waves : Tensor
        Float32 ``(crops, samples)``.
    labels : Tensor
        Int64 ``(crops,)``.
    time_masks, band_masks : Tensor
        Float32 ``(crops, masks, 2)``: start and width of the bars of SpecAugment, as parts of the whole.
    failures : tuple of (int, str)
        Recordings that could not be decoded, by number, and why; other recordings are in their place.
    """

    waves: Tensor
    labels: Tensor
    time_masks: Tensor
    band_masks: Tensor
    failures: tuple[tuple[int, str], ...] = ()

    def __len__(self) -> int:
        return int(self.labels.numel())

    def pin_memory(self) -> Batch:
        """Copy it to where a GPU can fetch it from by itself."""
        return self._with(Tensor.pin_memory)

    def to(self, device: torch.device) -> Batch:
        """Copy it to a device; from pinned memory without waiting for the end of it."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def _with(self, move: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(move(self.waves), move(self.labels), move(self.time_masks), move(self.band_masks), self.failures)


class CropDataset(Dataset[Batch]):
    """Turns examples into batches; the same ones into the same batch, wherever and whenever.

    Parameters
    ----------
    corpus : Corpus
        What the examples' recordings are counted in.
    classes : Classes
        What their speeds are counted in.
    samples : int
        Length of a crop.
    sample_rate : int
        Of a crop, in Hz.
    augment : callable, optional
        What is done to a crop; None: nothing.
    spectrum : SpectrumSpec, optional
        What bars of SpecAugment are drawn; None: none.
    """

    def __init__(
        self,
        corpus: Corpus,
        classes: Classes,
        *,
        samples: int,
        sample_rate: int,
        augment: Augment | None = None,
        spectrum: SpectrumSpec | None = None,
    ) -> None:
        self._recordings = corpus.packed
        self._classes = classes
        self._samples = samples
        self._sample_rate = sample_rate
        self._augment = augment
        self._spectrum = spectrum

    def __getitem__(self, examples: Sequence[Example]) -> Batch:
        """Draw the crops of these examples.

        Where a recording cannot be decoded, another one of any speaker stands in, with its own label, and the same in
        every run.

        Raises
        ------
        TrainingError
            When so many recordings in a row cannot be decoded that something else must be wrong.
        """
        failures: list[tuple[int, str]] = []
        crops = [self._crop(example, failures) for example in examples]
        waves, times, bands = (
            torch.from_numpy(np.stack(parts))
            for parts in (
                [crop.wave for crop in crops],
                [crop.time_masks for crop in crops],
                [crop.band_masks for crop in crops],
            )
        )
        labels = torch.tensor([crop.label for crop in crops], dtype=torch.int64)
        return Batch(waves, labels, times, bands, tuple(failures))

    def _crop(self, example: Example, failures: list[tuple[int, str]]) -> _Crop:
        number = example.recording
        label = example.label
        for attempt in range(_ATTEMPTS):
            # Apart, so that what is drawn for one does not depend on how much was drawn for another.
            seeds = np.random.SeedSequence((example.seed, attempt)).spawn(4)
            place, effects, masks, another = (np.random.Generator(np.random.PCG64(seed)) for seed in seeds)
            recording = self._recordings[number]
            try:
                wave = draw_crop(
                    recording,
                    samples=self._samples,
                    sample_rate=self._sample_rate,
                    speed=self._classes.factors[example.factor],
                    generator=place,
                )
                if self._augment is not None:
                    wave = self._augment(wave, effects)
            except AudioError as failure:
                failures.append((number, str(failure)))
                number = int(another.integers(len(self._recordings)))
                label = self._classes.label(self._classes.numbers[self._recordings[number].speaker], example.factor)
                continue
            return _Crop(wave, label, *draw_masks(self._spectrum, masks))
        raise TrainingError(
            f"{_ATTEMPTS} recordings in a row cannot be decoded, the last one: {failures[-1][1]}",
            hint="are the files still where they were?",
        )


class CropLoader:
    """Makes the batches of one epoch after the other, in the same worker processes.

    Parameters
    ----------
    dataset : CropDataset
        What makes them.
    batch : int
        Crops in a batch, over all processes.
    rank, world : int
        Which process of how many this one is. Each gets every world-th crop of a batch.
    workers : int
        Processes that make batches ahead; 0: they are made here, when they are asked for.
    pin : bool
        Whether batches are put where a GPU can fetch them from.

    Raises
    ------
    TrainingError
        When a batch cannot be shared out evenly.
    """

    def __init__(
        self, dataset: CropDataset, *, batch: int, rank: int = 0, world: int = 1, workers: int = 0, pin: bool = False
    ) -> None:
        if batch % world:
            raise TrainingError(f"a batch of {batch} cannot be shared by {world} processes")
        self._keys = _Keys(batch, rank, world)
        self._workers = workers
        self._loader: DataLoader[Any] = DataLoader(
            _Guarded(dataset),
            batch_size=None,
            sampler=self._keys,
            num_workers=workers,
            collate_fn=_unchanged,
            worker_init_fn=_start_worker,
            # A fork would copy threads' locks in whatever state they are.
            multiprocessing_context="spawn" if workers else None,
            persistent_workers=workers > 0,
            prefetch_factor=_BATCHES_AHEAD if workers else None,
            pin_memory=pin,
            # Its own, or each epoch would draw a number of PyTorch's global state.
            generator=torch.Generator(),
        )

    def batches(self, plan: EpochPlan) -> int:
        """How many batches an epoch has; what is left of its crops at the end is not used."""
        return len(plan) // self._keys.batch

    def epoch(self, plan: EpochPlan, *, start: int = 0) -> Iterator[Batch]:
        """Make the batches of an epoch.

        Parameters
        ----------
        plan : EpochPlan
            Batch number `b` is made of its positions from ``b * batch`` to before ``(b + 1) * batch``.
        start : int
            Number of the first one; those before it cost nothing.

        Yields
        ------
        Batch
            This process' part, in order.

        Raises
        ------
        TrainingError
            When recordings cannot be decoded, or a worker died.
        """
        self._keys.plan, self._keys.start = plan, start
        try:
            for made in self._loader:
                if isinstance(made, TrainingError):
                    raise made
                yield made
        except (RuntimeError, OSError, EOFError) as failure:
            # One that dies while it hands a batch over breaks the connection before it is missed.
            broken = self._workers > 0 and not isinstance(failure, RuntimeError)
            if not (broken or is_of_dead_worker(failure)):
                raise
            self.close()
            raise dead_worker(failure) from failure

    def close(self) -> None:
        """End the worker processes; another epoch would start new ones."""
        kept = self._loader._iterator
        self._loader._iterator = None
        if isinstance(kept, _MultiProcessingDataLoaderIter):
            # Not left to the garbage collector: an error under way may still refer to it.
            kept._shutdown_workers()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def is_of_dead_worker(failure: BaseException) -> bool:
    """Whether it is what PyTorch raises, wherever the main thread happens to be, when a worker has died."""
    return isinstance(failure, RuntimeError) and "DataLoader worker" in str(failure)


def dead_worker(failure: BaseException) -> TrainingError:
    """Say of a worker's death what a person can do about it."""
    return TrainingError(
        f"a process that loads recordings died: {(str(failure) or type(failure).__name__).splitlines()[0]}",
        hint="out of memory, or of shared memory (/dev/shm)? Try fewer --workers",
    )


class _Crop(NamedTuple):
    wave: Waveform
    label: int
    time_masks: NDArray[np.float32]
    band_masks: NDArray[np.float32]


class _Keys(Sampler[tuple[Example, ...]]):
    """Which examples each batch of the epoch under way is made of."""

    def __init__(self, batch: int, rank: int, world: int) -> None:
        self.batch = batch
        self._rank, self._world = rank, world
        self.plan: EpochPlan | None = None
        self.start = 0

    def __iter__(self) -> Iterator[tuple[Example, ...]]:
        plan = self.plan
        if plan is None:
            return
        for number in range(self.start, len(plan) // self.batch):
            first = number * self.batch
            yield tuple(plan[position] for position in range(first + self._rank, first + self.batch, self._world))


class _Guarded(Dataset["Batch | TrainingError"]):
    """Hands an error over as a value: PyTorch would raise it again with a worker's traceback for its message."""

    def __init__(self, dataset: CropDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, examples: tuple[Example, ...]) -> Batch | TrainingError:
        try:
            return self._dataset[examples]
        except TrainingError as error:
            return error


def _unchanged(batch: Any) -> Any:
    return batch


def _start_worker(_: int) -> None:
    # An interrupt of the terminal reaches them too; the process that started them ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
