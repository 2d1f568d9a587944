"""The loop over epochs and batches: steps, states to resume from, measuring, the best state, an early end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vecsv.errors import TrainingError
from vecsv.training.configuration import TrainingConfig
from vecsv.training.learner import Learner
from vecsv.training.loader import Batch
from vecsv.training.records import EpochRecord
from vecsv.training.schedule import Patience
from vecsv.training.state import Best, RunState, load_best, load_state, save_best, save_state
from vecsv.training.stepping import Stepper

if TYPE_CHECKING:
    from accelerate import Accelerator

MOST_UNREADABLE = 0.01
"""The part of a corpus's recordings that may turn out to be undecodable before a training gives up."""


@dataclass(frozen=True)
class Measured:
    """What is measured between epochs; None where there is nothing to measure on."""

    dev_eer: float | None = None
    dev_min_dcf: float | None = None
    held_out_accuracy: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes
    ----------
    best_epoch : int
        The epoch whose state is kept.
    epochs : int
        Epochs that were trained, those before a resumption included.
    stopped_early : bool
        Whether patience ran out.
    unreadable : dict
        Recordings that could not be decoded, and why.
    """

    best_epoch: int
    epochs: int
    stopped_early: bool
    unreadable: dict[int, str]


class Watcher:
    """What is told of a training as it goes; this one does not listen."""

    def stepped(self, epoch: int, batch: int, step: int, loss: float) -> None:
        """A step was taken."""

    def epoch_done(self, record: EpochRecord, *, best: bool) -> None:
        """An epoch was trained and measured."""


class Trainer:
    """Trains until the last epoch or until patience runs out.

    Parameters
    ----------
    accelerator : Accelerator
        Knows devices and processes.
    learner : Learner
        What learns.
    stepper : Stepper
        How.
    config : TrainingConfig
        What is followed.
    folder : Path
        Where states are kept; all processes see the same one.
    identity : str
        See `vecsv.training.state.RunState`.
    classes : dict
        See `vecsv.training.state.Best`.
    recordings, steps_per_epoch : int
        How many there are.
    batches_of : callable
        From an epoch and a first batch to this process's share of each batch.
    measure : callable
        Measures the learner as it is; called in every process.
    watcher : Watcher
        Told in the main process.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        learner: Learner,
        stepper: Stepper,
        config: TrainingConfig,
        *,
        folder: Path,
        identity: str,
        classes: dict[str, Any],
        recordings: int,
        steps_per_epoch: int,
        batches_of: Callable[[int, int], Iterator[Batch]],
        measure: Callable[[], Measured],
        watcher: Watcher,
    ) -> None:
        self._accelerator = accelerator
        self._learner = learner
        self._stepper = stepper
        self._config = config
        self._folder = folder
        self._identity = identity
        self._classes = classes
        self._recordings = recordings
        self._steps_per_epoch = steps_per_epoch
        self._batches_of = batches_of
        self._measure = measure
        self._watcher = watcher

    def run(self, *, resume: bool) -> Outcome:
        """Train.

        Parameters
        ----------
        resume : bool
            Whether to go on from the folder's state, if there is one.

        Raises
        ------
        TrainingError
            When the loss is no number any more, or more recordings than 1% cannot be decoded.
        """
        state = self._resumed() if resume else None
        if state is None:
            state = self._state(epoch=0, batch=0, step=0, patience=Patience(self._config.run.patience), unreadable={})
        patience = Patience(**state.patience)
        # A run that was killed after its last epoch, or that had stopped early, has nothing left to train.
        while state.epoch < self._config.run.epochs and not patience.exhausted:
            state, record = self._epoch(state)
            patience = patience.after(state.epoch, record.error)
            if patience.improved and self._accelerator.is_main_process:
                save_best(self._folder, Best(state.epoch, self._tensors(), self._classes))
            if self._accelerator.is_main_process:
                self._watcher.epoch_done(record, best=patience.improved)
            state = self._state(
                epoch=state.epoch + 1, batch=0, step=state.step, patience=patience, unreadable=state.unreadable
            )
            self._save(state)
        if patience.best_epoch is None:
            raise TrainingError("no epoch gave a number to compare epochs by: the training has diverged")
        return Outcome(
            best_epoch=patience.best_epoch,
            epochs=state.epoch,
            stopped_early=patience.exhausted and state.epoch < self._config.run.epochs,
            unreadable=state.unreadable,
        )

    def _epoch(self, state: RunState) -> tuple[RunState, EpochRecord]:
        """Take an epoch's steps from where a state stands, and measure."""
        self._stepper.start_epoch(state.epoch)
        save_every = self._config.run.save_every_steps
        waited, started = 0.0, time.perf_counter()
        waiting_since = started
        unreadable = dict(state.unreadable)
        for batch in self._batches_of(state.epoch, state.batch):
            waited += time.perf_counter() - waiting_since
            unreadable.update(self._failures(batch))
            result = self._stepper.take(batch, state.step)
            if not result.loss == result.loss:
                raise TrainingError(
                    f"the loss is no number any more in epoch {state.epoch}, step {state.step}",
                    hint="lower optimiser.learning_rate",
                )
            state = replace(
                state,
                batch=state.batch + 1,
                step=state.step + 1,
                loss_sum=state.loss_sum + result.loss * result.crops,
                correct=state.correct + result.correct,
                seen=state.seen + result.crops,
                unreadable=unreadable,
            )
            if self._accelerator.is_main_process:
                self._watcher.stepped(state.epoch, state.batch, state.step, result.loss)
            if save_every and state.batch % save_every == 0 and state.batch < self._steps_per_epoch:
                self._save(self._refreshed(state, time.perf_counter() - started))
            waiting_since = time.perf_counter()
        seconds = time.perf_counter() - started
        measured = self._measured()
        last = state.step - 1
        total_s = state.seconds + seconds
        record = EpochRecord(
            epoch=state.epoch,
            step=state.step,
            loss=state.loss_sum / state.seen,
            accuracy=state.correct / state.seen,
            learning_rate=self._stepper.rate(last),
            margin=self._stepper.margin(last),
            crops_per_second=state.seen / total_s,
            loader_wait_part=waited / seconds if seconds else 0.0,
            seconds=total_s,
            dev_eer=measured.dev_eer,
            dev_min_dcf=measured.dev_min_dcf,
            held_out_accuracy=measured.held_out_accuracy,
        )
        return state, record

    def _measured(self) -> Measured:
        self._learner.eval()
        try:
            return self._measure()
        finally:
            self._learner.train()

    def _failures(self, batch: Batch) -> dict[int, str]:
        """Recordings of a batch that could not be decoded, over all processes."""
        found = dict(batch.failures)
        if self._accelerator.num_processes > 1:
            from accelerate.utils import gather_object

            found = dict(gather_object(list(found.items())))
        return found

    def _tensors(self) -> dict[str, Any]:
        return {name: tensor.detach().cpu().clone() for name, tensor in self._learner.state_dict().items()}

    def _state(self, *, epoch: int, batch: int, step: int, patience: Patience, unreadable: dict[int, str]) -> RunState:
        return RunState(
            identity=self._identity,
            learner=self._tensors(),
            optimiser=self._stepper.state(),
            epoch=epoch,
            batch=batch,
            step=step,
            patience=asdict(patience),
            unreadable=unreadable,
        )

    def _refreshed(self, state: RunState, seconds: float) -> RunState:
        """The state with what has been learned since it began."""
        return replace(state, learner=self._tensors(), optimiser=self._stepper.state(), seconds=state.seconds + seconds)

    def _save(self, state: RunState) -> None:
        if len(state.unreadable) > MOST_UNREADABLE * self._recordings:
            raise TrainingError(
                f"{len(state.unreadable)} of {self._recordings} recordings cannot be decoded",
                hint="log.txt names them; mend the corpus or take them out of the manifest",
            )
        if self._accelerator.is_main_process:
            save_state(self._folder, state)
        self._accelerator.wait_for_everyone()

    def _resumed(self) -> RunState | None:
        state = load_state(self._folder)
        if state is None:
            return None
        self._learner.load_state_dict(state.learner)
        self._stepper.load_state(state.optimiser)
        return state


def best_of(folder: Path) -> Best:
    """The best state of a run; a TrainingError when there is none yet."""
    best = load_best(folder)
    if best is None:
        raise TrainingError("holds no trained state yet", where=str(folder), hint="train it first, or resume it")
    return best
