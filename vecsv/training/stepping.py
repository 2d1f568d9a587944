"""One step of a training: loss, gradient, update, on however many processes there are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from vecsv.training.configuration import TrainingConfig
from vecsv.training.families.protocol import ParameterGroup, Trainable
from vecsv.training.learner import Learner
from vecsv.training.loader import Batch
from vecsv.training.losses import Scored
from vecsv.training.schedule import learning_rate, margin

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class StepResult:
    """What a step found, over all processes.

    Attributes
    ----------
    loss : float
        Mean over the batch.
    correct : int
        Crops whose speaker was nearest, without margin.
    crops : int
        In the batch.
    """

    loss: float
    correct: int
    crops: int


class Stepper:
    """Takes steps, and gives and takes what a resumed run needs of the optimiser.

    Parameters
    ----------
    accelerator : Accelerator
        Knows devices and processes.
    learner : Learner
        What learns. It is moved to the device.
    trainable : Trainable
        Knows how the network's parameters are grouped and when they are frozen.
    config : TrainingConfig
        Optimiser, loss and run are read.
    steps_per_epoch : int
        How many steps an epoch has.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        learner: Learner,
        trainable: Trainable,
        config: TrainingConfig,
        *,
        steps_per_epoch: int,
    ) -> None:
        self._accelerator = accelerator
        self._learner = learner.to(accelerator.device)
        self._trainable = trainable
        self._config = config
        self._steps_per_epoch = steps_per_epoch
        head = ParameterGroup("head", tuple(learner.head.parameters()))
        self._groups = [group for group in (*trainable.groups(), head) if group.parameters]
        self._optimiser = torch.optim.AdamW(
            [
                {
                    "params": list(group.parameters),
                    "weight_decay": config.optimiser.weight_decay if group.decays else 0.0,
                }
                for group in self._groups
            ],
            lr=config.optimiser.learning_rate,
        )
        self._wrapped: Any = None

    @property
    def steps(self) -> int:
        """How many steps the whole training has."""
        return self._steps_per_epoch * self._config.run.epochs

    def start_epoch(self, epoch: int) -> None:
        """Freeze or free what the epoch asks for, and let the processes agree on what they exchange."""
        changed = self._trainable.start_epoch(epoch)
        if self._wrapped is None or changed:
            # Gradients are exchanged for the parameters that learn when the module is wrapped, and for no others.
            self._wrapped = self._accelerator.prepare_model(self._learner)
        self._learner.train()
        # Moments of parameters that are frozen again must not move them.
        for group in self._groups:
            for parameter in group.parameters:
                if not parameter.requires_grad:
                    parameter.grad = None

    def take(self, batch: Batch, step: int) -> StepResult:
        """Take a step.

        Parameters
        ----------
        batch : Batch
            This process's share.
        step : int
            Counted from 0 over the whole training: rate, margin and whatever the network draws follow from it.
        """
        config = self._config
        rate = self.rate(step)
        for group, settings in zip(self._optimiser.param_groups, self._groups, strict=True):
            group["lr"] = rate * settings.rate
        self._seed(step)
        parts = config.run.accumulate
        totals = torch.zeros(2, dtype=torch.float64, device=self._accelerator.device)
        crops = len(batch.labels)
        for number, part in enumerate(_cut(batch, parts)):
            with self._exchanged(number == parts - 1), self._autocast():
                scored = self._scored(part, self.margin(step))
            loss = scored.loss / parts
            self._accelerator.backward(loss)
            totals += torch.stack([loss.detach().double() * crops, scored.correct.sum().double()])
        self._accelerator.clip_grad_norm_(self._learner.parameters(), config.optimiser.clip_norm)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        summed = self._accelerator.reduce(totals, reduction="sum").tolist()
        everywhere = crops * self._accelerator.num_processes
        return StepResult(loss=summed[0] / everywhere, correct=int(summed[1]), crops=everywhere)

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        optimiser = self._config.optimiser
        return learning_rate(
            step,
            total=self.steps,
            warm_up=optimiser.warm_up_steps,
            peak=optimiser.learning_rate,
            final=optimiser.learning_rate * optimiser.final_part,
        )

    def margin(self, step: int) -> float:
        """Margin of a step."""
        loss = self._config.loss
        return margin(step / self._steps_per_epoch, full=loss.margin, warm_up=loss.warm_up)

    def state(self) -> dict[str, Any]:
        """The optimiser's state, as `load_state` takes it."""
        return self._optimiser.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on with an optimiser's state."""
        self._optimiser.load_state_dict(state)

    def _scored(self, part: Batch, margin_now: float) -> Scored:
        device = self._accelerator.device
        tensors = (part.waves, part.labels, part.time_masks, part.band_masks)
        scored: Scored = self._wrapped(*(tensor.to(device, non_blocking=True) for tensor in tensors), margin_now)
        return scored

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self._accelerator.device.type, torch.bfloat16, enabled=self._config.run.precision == "bf16"
        )

    def _seed(self, step: int) -> None:
        # Dropout draws from PyTorch's global generator: seeded by the step, a resumed run draws what it would have.
        run = self._config.run
        torch.manual_seed((run.seed * 1_000_003 + step) * 1009 + self._accelerator.process_index)

    @contextlib.contextmanager
    def _exchanged(self, last: bool) -> Iterator[None]:
        """Exchange gradients with the last part of a batch only."""
        with contextlib.nullcontext() if last else self._accelerator.no_sync(self._wrapped):
            yield


def _cut(batch: Batch, parts: int) -> Iterator[Batch]:
    if parts == 1:
        yield batch
        return
    size = len(batch.labels) // parts
    for first in range(0, size * parts, size):
        share = slice(first, first + size)
        yield Batch(
            waves=batch.waves[share],
            labels=batch.labels[share],
            time_masks=batch.time_masks[share],
            band_masks=batch.band_masks[share],
            failures=(),
        )
