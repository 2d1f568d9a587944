"""A whole training: labelled recordings and a configuration in, a model with a name out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from vecsv.durable import make_folder, write_text
from vecsv.engines.limits import usable_cores
from vecsv.errors import TrainingError, UsageError
from vecsv.training.augmentation.chain import Augmenter
from vecsv.training.configuration import write_config
from vecsv.training.data.classes import Classes
from vecsv.training.data.recordings import Corpus
from vecsv.training.data.sampling import EpochPlan
from vecsv.training.data.voices import CorpusVoice
from vecsv.training.development import Development, held_out_accuracy
from vecsv.training.excerpts import Share
from vecsv.training.facts import DataFacts, DevelopmentFacts, TrainingFacts, started_from
from vecsv.training.families import ecapa, wavlm
from vecsv.training.families.protocol import Trainable
from vecsv.training.families.wavlm_settings import WavLMTraining
from vecsv.training.finish import MODEL_FOLDER, require_installable, write_trained
from vecsv.training.inputs import Inputs, Messages
from vecsv.training.learner import Learner
from vecsv.training.loader import Batch, CropDataset, CropLoader, dead_worker, is_of_dead_worker
from vecsv.training.losses import MarginHead
from vecsv.training.records import CURVE_FILE, HISTORY_FILE, LOG_FILE, TENSORBOARD_FOLDER, EpochRecord, RunRecords
from vecsv.training.reference import write_part
from vecsv.training.settings import TrainResult, TrainSettings
from vecsv.training.state import BEST_FILE, STATE_FILE, Best, load_best, load_state
from vecsv.training.stepping import Stepper
from vecsv.training.trainer import Measured, Outcome, Trainer, Watcher, best_of

if TYPE_CHECKING:
    from accelerate import Accelerator

CONFIG_FILE: Final = "config.yaml"
DEV_FILE: Final = "dev.tsv"
LEFT_OUT_FILE: Final = "left_out.tsv"

MOST_WORKERS: Final = 8
"""Processes that make batches ahead, unless more are asked for."""

Progress = Callable[[int, int, str], None]


def train(
    settings: TrainSettings, *, on_message: Messages | None = None, progress: Progress | None = None
) -> TrainResult | None:
    """Train a model and put it among the models that go by name.

    Parameters
    ----------
    settings : TrainSettings
    on_message : callable, optional
        Told what happens, a line each.
    progress : callable, optional
        Called with steps done, steps in all, and a remark.

    Returns
    -------
    TrainResult or None
        None in all processes of a distributed training but the first.

    Raises
    ------
    TrainingError
        When the configuration or the data cannot be used, or the training cannot go on. What has been learned up to
        the last saved state is kept, and can be resumed.
    """
    with prepared(settings, on_message) as run:
        outcome = run.learn(progress)
        return run.finish(outcome) if run.writes else None


@contextmanager
def prepared(settings: TrainSettings, on_message: Messages | None = None) -> Iterator[Run]:
    """Read the data and make everything ready; see `train`."""
    with _accelerator(settings) as accelerator:
        say = on_message if on_message is not None and accelerator.is_main_process else _say_nothing
        require_installable(settings.name, settings.out, replace=settings.replace)
        with _threads(settings, accelerator):
            yield Run(settings, Inputs.read(settings, say), accelerator, say)


class Run:
    """The parts of a training, put together; made by `prepared`."""

    def __init__(self, settings: TrainSettings, data: Inputs, accelerator: Accelerator, say: Messages) -> None:
        config = settings.config
        self._settings, self._config, self._data = settings, config, data
        self._accelerator, self._say = accelerator, say
        self._folder = settings.out
        self._identity = data.digest(config)
        if accelerator.is_main_process:
            _prepare_folder(self._folder, settings, self._identity)
            _list_left_out(self._folder, data.split.train, say)
        accelerator.wait_for_everyone()
        self._trainable, earlier = _start(settings, say)
        # A model that is started from may bring a front end of its own.
        self._front_end = self._trainable.front_end
        self._rate = self._front_end.sample_rate
        self._learner = self._made_learner(earlier)
        plan = self._plan(0)
        self._steps = len(plan) // config.run.batch
        if self._steps == 0:
            raise TrainingError(
                f"an epoch of {len(plan)} crops has no batch of {config.run.batch}",
                hint="lower run.batch, or set data.epoch_crops",
            )
        self._stepper = Stepper(accelerator, self._learner, self._trainable, config, steps_per_epoch=self._steps)
        # Wrong schedules are found now, not after an epoch.
        self._stepper.rate(0)
        self._development = (
            None
            if data.dev is None
            else Development(data.dev, config.development, sample_rate=self._rate, seed=config.run.seed)
        )

    @property
    def writes(self) -> bool:
        """Whether this process is the one that keeps what is learnt."""
        writes: bool = self._accelerator.is_main_process
        return writes

    @property
    def history(self) -> tuple[EpochRecord, ...]:
        """The epochs that have been trained."""
        return self._records.history

    def learn(self, progress: Progress | None = None) -> Outcome:
        """Train until the last epoch or until patience runs out; states, records and the best weights are kept."""
        accelerator, config = self._accelerator, self._config
        state = load_state(self._folder) if self._settings.resume else None
        with (
            self._loader() as loader,
            RunRecords(
                self._folder,
                self._settings.resume,
                epoch=state.epoch if state else 0,
                step=state.step if state else 0,
                on_message=self._say,
                writes=accelerator.is_main_process,
            ) as records,
        ):
            self._records = records
            trainer = Trainer(
                accelerator,
                self._learner,
                self._stepper,
                config,
                folder=self._folder,
                identity=self._identity,
                classes=self._data.classes.to_json(),
                recordings=len(self._data.split.train.recordings),
                steps_per_epoch=self._steps,
                batches_of=lambda epoch, start: self._batches(loader, epoch, start),
                measure=self._measure,
                watcher=_Watch(records, progress, self._stepper, config.run.epochs * self._steps),
            )
            try:
                outcome = trainer.run(resume=self._settings.resume)
            except RuntimeError as failure:
                if is_of_dead_worker(failure):
                    raise dead_worker(failure) from failure
                raise
            for number, reason in outcome.unreadable.items():
                records.log(f"could not be decoded: {self._data.split.train.recordings[number].path}: {reason}")
        return outcome

    def finish(self, outcome: Outcome) -> TrainResult:
        """Make a model of the best state."""
        best = best_of(self._folder)
        self._learner.load_state_dict(best.learner)
        self._learner.eval()
        settings, train_set = self._settings, self._data.split.train
        finished = write_trained(
            self._trainable,
            self._facts(outcome),
            run=self._folder,
            calibrate_on=self._calibration_manifest(),
            replace=settings.replace,
            on_message=self._say,
        )
        return TrainResult(
            name=settings.name,
            bundle=finished.folder,
            run=self._folder,
            epochs=outcome.epochs,
            best_epoch=outcome.best_epoch,
            stopped_early=outcome.stopped_early,
            history=self.history,
            speakers=len(train_set.speakers),
            classes=self._data.classes.count,
            recordings=len(train_set.recordings),
            hours=train_set.duration_s / 3600,
            bad=len(train_set.bad),
            short=len(train_set.short),
            narrow=train_set.narrow,
            unreadable=len(outcome.unreadable),
            parameters=sum(parameter.numel() for parameter in self._trainable.network.parameters()),
        )

    def _calibration_manifest(self) -> Path | None:
        """What thresholds are measured on: the dev manifest, or the rows of the speakers that were taken out."""
        settings, dev = self._settings, self._data.dev
        if not self._config.finish.calibrate or dev is None:
            return None
        return settings.dev or write_part(settings.manifest, set(dev.speakers), self._folder / DEV_FILE)

    def _facts(self, outcome: Outcome) -> TrainingFacts:
        settings, data = self._settings, self._data
        development = None
        if self._development is not None:
            speakers = [recording.speaker for recording in self._development.recordings]
            development = DevelopmentFacts.of_speakers(settings.dev or settings.manifest, speakers)
        return TrainingFacts(
            name=settings.name,
            config=self._config,
            data=DataFacts.of(
                settings.manifest,
                data.split.train,
                held_out=len(data.split.held_out),
                noises=len(data.noise) if data.noise else 0,
                rooms=len(data.rooms) if data.rooms else 0,
            ),
            history=tuple(record.to_json() for record in self.history),
            best_epoch=outcome.best_epoch,
            development=development,
            started_from=_origin(self._trainable, settings),
            licence=settings.licence,
        )

    def _made_learner(self, earlier: Best | None) -> Learner:
        config, classes = self._config, self._data.classes
        generator = torch.Generator().manual_seed(config.run.seed)
        head = MarginHead(self._trainable.dim, classes.count, config.loss, generator=generator)
        if earlier is not None:
            known = Classes.from_json(earlier.classes)
            kept = head.start_from(earlier.learner["head.weight"], known.names(), classes.names(), generator)
            self._say(f"starting from epoch {earlier.epoch} of another run; {kept} of its classes are known")
        return Learner(self._front_end, self._trainable.network, head, frozen_norms=config.run.frozen_norms)

    def _plan(self, epoch: int) -> EpochPlan:
        data = self._config.data
        return EpochPlan(
            self._data.split.train,
            self._data.classes,
            crop_s=data.crop_s,
            sampling=data.sampling,
            crops=data.epoch_crops,
            seed=self._config.run.seed,
            epoch=epoch,
        )

    @contextmanager
    def _loader(self) -> Iterator[CropLoader]:
        config, accelerator, train_set = self._config, self._accelerator, self._data.split.train
        augmenter = Augmenter(
            config.augmentation,
            sample_rate=self._rate,
            noise=self._data.noise,
            rooms=self._data.rooms,
            babble=CorpusVoice(train_set.packed, self._rate),
        )
        dataset = CropDataset(
            train_set,
            self._data.classes,
            samples=round(config.data.crop_s * self._rate),
            sample_rate=self._rate,
            augment=augmenter,
            spectrum=config.augmentation.spectrum,
        )
        with CropLoader(
            dataset,
            batch=config.run.batch,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            workers=_workers(self._settings, accelerator),
            pin=accelerator.device.type == "cuda",
        ) as loader:
            yield loader

    def _batches(self, loader: CropLoader, epoch: int, start: int) -> Iterator[Batch]:
        return loader.epoch(self._plan(epoch), start=start)

    def _measure(self) -> Measured:
        device, learner = self._accelerator.device, self._learner
        accelerator = self._accelerator
        share = Share(
            accelerator.process_index,
            accelerator.num_processes,
            lambda part: accelerator.reduce(part.to(device), "sum").cpu(),
        )
        measured = Measured()
        if self._development is not None:
            scores = self._development.measure(lambda waves: learner.embed(waves.to(device)), share)
            if not self.history:
                for path, reason in scores.unread:
                    self._records.log(f"dev recording left out: {path}: {reason}")
            measured = replace(measured, dev_eer=scores.eer, dev_min_dcf=scores.min_dcf)
        if self._data.split.held_out:
            accuracy = held_out_accuracy(
                lambda waves, labels: learner.named(waves.to(device)).cpu() == labels,
                self._data.split.held_out,
                self._data.classes,
                crop_s=self._config.data.crop_s,
                sample_rate=self._rate,
                seed=self._config.run.seed,
                share=share,
            )
            measured = replace(measured, held_out_accuracy=accuracy)
        return measured


class _Watch(Watcher):
    """Writes records and shows progress."""

    def __init__(self, records: RunRecords, progress: Progress | None, stepper: Stepper, steps: int) -> None:
        self._records, self._progress, self._stepper, self._steps = records, progress, stepper, steps

    def stepped(self, epoch: int, batch: int, step: int, loss: float) -> None:
        """Show the step, and note every tenth."""
        if self._progress is not None:
            self._progress(step, self._steps, f"epoch {epoch}, loss {loss:.2f}")
        if step % 10 == 0:
            rate, margin = self._stepper.rate(step - 1), self._stepper.margin(step - 1)
            self._records.scalars(step, {"train/loss": loss, "train/learning_rate": rate, "train/margin": margin})

    def epoch_done(self, record: EpochRecord, *, best: bool) -> None:
        """Write the record."""
        self._records.epoch(record)


def _workers(settings: TrainSettings, accelerator: Accelerator) -> int:
    """Processes that make batches ahead. A crop costs a third of what a small network does with it on the same core."""
    if settings.workers is not None:
        return settings.workers
    cores: int = max(1, usable_cores() // accelerator.num_processes)
    return min(MOST_WORKERS, cores if accelerator.device.type == "cuda" else max(1, cores // 3))


@contextmanager
def _threads(settings: TrainSettings, accelerator: Accelerator) -> Iterator[None]:
    """Leave cores to the workers: a thread that waits for its core holds up all others at the next barrier."""
    before = torch.get_num_threads()
    if accelerator.device.type == "cpu":
        cores = usable_cores() // accelerator.num_processes - _workers(settings, accelerator)
        torch.set_num_threads(max(1, min(before, cores)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _origin(trainable: Trainable, settings: TrainSettings) -> Mapping[str, Any] | None:
    """What it was started from, as the model card has it."""
    if isinstance(trainable, wavlm.WavLMFineTuning):
        return trainable.source
    return None if settings.start_from is None else started_from(settings.start_from)


@contextmanager
def _accelerator(settings: TrainSettings) -> Iterator[Accelerator]:
    import accelerate

    if settings.device not in (None, "cpu", "cuda"):
        raise UsageError(f"there is no device {settings.device!r} to train on", hint="cpu or cuda")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("there is no CUDA device here", hint="leave --device out, or say cpu")
    # Without a GPU, Accelerate has to be told that it is the CPU, or processes that torchrun starts know of no others.
    accelerator = accelerate.Accelerator(cpu=settings.device == "cpu" or not torch.cuda.is_available())
    try:
        yield accelerator
    finally:
        accelerator.end_training()
        accelerator.free_memory()


def _start(settings: TrainSettings, say: Messages) -> tuple[Trainable, Best | None]:
    """The network to begin with, and the run it is from, if it is from one."""
    config, source = settings.config, settings.start_from
    earlier = load_best(Path(source)) if source is not None and Path(source).is_dir() else None
    if config.family == "wavlm-xvector":
        model = source if earlier is None else Path(source or "") / MODEL_FOLDER
        return wavlm.start(
            WavLMTraining.from_json(config.network), start_from=model, seed=config.run.seed, on_message=say
        ), earlier
    trainable = ecapa.start(
        config.front_end, config.network, start_from=None if earlier else source, seed=config.run.seed
    )
    if earlier is not None:
        tensors = {
            name.removeprefix("network."): tensor
            for name, tensor in earlier.learner.items()
            if name.startswith("network.")
        }
        try:
            trainable.network.load_state_dict(tensors)
        except RuntimeError as error:
            raise TrainingError(
                "was trained with another network than the configuration's",
                where=str(source),
                hint="give the network section of its config.yaml",
            ) from error
    return trainable, earlier


def _list_left_out(folder: Path, corpus: Corpus, say: Messages) -> None:
    """Write down every row of the manifest that nothing is learnt from, and why."""
    rows = [("unreadable", file) for file in corpus.bad] + [("too short", file) for file in corpus.short]
    if not rows:
        return
    lines = ["what\tline\tpath\treason", *(f"{what}\t{one.line}\t{one.path}\t{one.reason}" for what, one in rows)]
    write_text(folder / LEFT_OUT_FILE, "\n".join(lines) + "\n")
    say(f"{len(rows):,} rows are left out: {folder / LEFT_OUT_FILE} lists them")


def _prepare_folder(folder: Path, settings: TrainSettings, identity: str) -> None:
    """Make the run's folder, or clear it, or make sure that the run in it is the one to go on with."""
    if settings.start_from is not None and Path(settings.start_from).resolve() == folder.resolve():
        raise UsageError("a run cannot start from itself", where=str(folder), hint="give it another --out")
    make_folder(folder)
    if settings.resume and (state := load_state(folder)) is not None and state.identity != identity:
        raise TrainingError(
            "was trained with another configuration or other data",
            where=str(folder),
            hint="give what it was started with, or another run folder",
        )
    if settings.replace and not settings.resume:
        for name in (STATE_FILE, BEST_FILE, LOG_FILE, HISTORY_FILE, CURVE_FILE, CONFIG_FILE, LEFT_OUT_FILE):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / TENSORBOARD_FOLDER, ignore_errors=True)
    if not settings.resume and (folder / STATE_FILE).exists():
        raise TrainingError(
            "holds a run already", where=str(folder), hint="--resume goes on with it, --replace begins anew"
        )
    write_config(folder / CONFIG_FILE, settings.config)


def _say_nothing(message: str) -> None:
    """The messages of processes that nobody looks at."""
