"""How many crops a second the loader makes, and how many the network takes: which of them is waited for?

    python benchmarks/training_data.py train.tsv --noise noise/ --rooms rir/ [--config NAME] [--device cuda]

Three things, in turns, so that whatever else the machine does meets all of them: batches made and thrown away, with no
workers and with some; the same batch learnt from again and again; and both together, as a training does it. Figures are
medians over the rounds; ratios are to the steps alone. Where there is no GPU, workers and network share the cores.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from vecsv.cli import show
from vecsv.engines.limits import usable_cores
from vecsv.training.augmentation.chain import Augmenter
from vecsv.training.augmentation.sounds import Sounds
from vecsv.training.configuration import TrainingConfig, read_config
from vecsv.training.data.classes import Classes
from vecsv.training.data.recordings import Corpus, read_corpus
from vecsv.training.data.sampling import EpochPlan
from vecsv.training.data.voices import CorpusVoice
from vecsv.training.families import ecapa
from vecsv.training.learner import Learner
from vecsv.training.loader import Batch, CropDataset, CropLoader
from vecsv.training.losses import MarginHead
from vecsv.training.stepping import Stepper


@dataclass
class Rates:
    """Crops a second of one way of working, a figure for each round, and the part of the time that steps waited."""

    crops_per_second: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.crops_per_second)


class Data:
    """A corpus, and the loaders over it.

    Parameters
    ----------
    config : TrainingConfig
        What crops are like.
    corpus : Corpus
        Where they come from.
    augmenter : Augmenter
        What is done to them.
    classes : Classes
        What they are labelled with.
    """

    def __init__(self, config: TrainingConfig, corpus: Corpus, augmenter: Augmenter, classes: Classes) -> None:
        rate = config.front_end.sample_rate
        self._config, self._corpus, self._classes = config, corpus, classes
        self._dataset = CropDataset(
            corpus,
            classes,
            samples=round(config.data.crop_s * rate),
            sample_rate=rate,
            augment=augmenter,
            spectrum=config.augmentation.spectrum,
        )
        self._epoch = 0

    def loader(self, workers: int, *, pin: bool) -> CropLoader:
        """A loader with so many workers, which live as long as it does."""
        return CropLoader(self._dataset, batch=self._config.run.batch, workers=workers, pin=pin)

    def batches(self, loader: CropLoader, count: int) -> Iterator[Batch]:
        """The first batches of an epoch that has so many and a few to spare."""
        self._epoch += 1
        plan = EpochPlan(
            self._corpus,
            self._classes,
            crop_s=self._config.data.crop_s,
            sampling=self._config.data.sampling,
            crops=count * self._config.run.batch,
            seed=self._config.run.seed,
            epoch=self._epoch,
        )
        return loader.epoch(plan)


def stepper_for(config: TrainingConfig, classes: Classes, device: str) -> Stepper:
    """A network as it is at the beginning of a training."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=device == "cpu")
    trainable = ecapa.start(config.front_end, config.network, start_from=None, seed=0)
    head = MarginHead(trainable.dim, classes.count, config.loss)
    stepper = Stepper(
        accelerator, Learner(config.front_end, trainable.network, head), trainable, config, steps_per_epoch=1000
    )
    stepper.start_epoch(0)
    return stepper


def finished(device: str) -> float:
    """The time when all that was asked of the device is done."""
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def steps_alone(stepper: Stepper, batch: Batch, count: int, device: str) -> float:
    """Crops a second that are learnt from when they are there already."""
    began = finished(device)
    for step in range(count):
        stepper.take(batch, step)
    return count * len(batch) / (finished(device) - began)


def loading_alone(batches: Iterator[Batch], first: int) -> float:
    """Crops a second that are made when nobody takes any time with them; the first batches wait for workers."""
    for _ in islice(batches, first):
        pass
    began, crops = time.perf_counter(), 0
    for batch in batches:
        crops += len(batch)
    return crops / (time.perf_counter() - began)


def together(stepper: Stepper, batches: Iterator[Batch], first: int, device: str) -> tuple[float, float]:
    """Crops a second of a training, and the part of the time that its steps waited for crops."""
    for step, batch in enumerate(islice(batches, first)):
        stepper.take(batch, step)
    began = asked = finished(device)
    crops, waited = 0, 0.0
    for batch in batches:
        waited += time.perf_counter() - asked
        stepper.take(batch, first)
        crops += len(batch)
        asked = time.perf_counter()
    seconds = finished(device) - began
    return crops / seconds, waited / seconds


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure the loader against the network.")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--noise", type=Path, required=True)
    parser.add_argument("--rooms", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path("train-ecapa-small"))
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batches", type=int, default=20, help="timed in each round")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()

    torch.set_num_threads(usable_cores())
    config = read_config(given.config, given.overrides)
    rate = config.front_end.sample_rate
    corpus = read_corpus(given.manifest, sample_rate=rate, min_s=config.data.min_s)
    speed = config.augmentation.speed
    classes = Classes(corpus.speakers, config.augmentation.factors, speed is None or speed.new_speakers)
    augmenter = Augmenter(
        config.augmentation,
        sample_rate=rate,
        noise=Sounds.find(given.noise),
        rooms=Sounds.find(given.rooms),
        babble=CorpusVoice(corpus.recordings, sample_rate=rate),
    )
    data = Data(config, corpus, augmenter, classes)
    stepper = stepper_for(config, classes, given.device)
    loaders = {workers: data.loader(workers, pin=given.device != "cpu") for workers in given.workers}
    (batch,) = data.batches(data.loader(0, pin=False), 1)
    steps_alone(stepper, batch, 3, given.device)

    step, loading, both = Rates(), {one: Rates() for one in loaders}, {one: Rates() for one in loaders}
    for _ in range(given.rounds):
        step.crops_per_second.append(steps_alone(stepper, batch, given.batches, given.device))
        for workers, loader in loaders.items():
            # What was made ahead, while nobody took the time, is not timed.
            ahead = 2 * workers + 1
            loading[workers].crops_per_second.append(loading_alone(data.batches(loader, ahead + given.batches), ahead))
            rate_then, waited = together(stepper, data.batches(loader, ahead + given.batches), ahead, given.device)
            both[workers].crops_per_second.append(rate_then)
            both[workers].waited.append(waited)
    for loader in loaders.values():
        loader.close()

    where = f"{usable_cores()} cores" if given.device == "cpu" else torch.cuda.get_device_name()
    crops = f"crops of {config.data.crop_s:g} s, batches of {config.run.batch}"
    print(f"{given.config}, {crops}, {config.run.precision}, {where}")
    show.table(
        ["", "crops a second", "to the steps alone", "steps waited"],
        [
            ("steps alone", f"{step.median:.0f}", "1", None),
            *(
                (f"loading alone, {workers} workers", f"{one.median:.0f}", f"{one.median / step.median:.2f}", None)
                for workers, one in loading.items()
            ),
            *(
                (
                    f"both, {workers} workers",
                    f"{one.median:.0f}",
                    f"{one.median / step.median:.2f}",
                    f"{statistics.median(one.waited):.1%}",
                )
                for workers, one in both.items()
            ),
        ],
        right=(1, 2, 3),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
