"""How the learning rate and the margin move with time, and when to give up waiting: pure functions of numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from vecsv.errors import TrainingError

__all__ = ["Patience", "learning_rate", "margin"]


def learning_rate(step: int, *, total: int, warm_up: int, peak: float, final: float) -> float:
    """Learning rate of a step: a straight way up, half a cosine down.

    I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, without restarts; the
    warm-up of P. Goyal et al., "Accurate, Large Minibatch SGD", 2017.

    Parameters
    ----------
    step : int
        Steps done before this one. From `total` on the rate stays at `final`.
    total : int
        Steps of the whole training.
    warm_up : int
        Steps on the way up: the first has ``1 / warm_up`` of `peak`, the last of them all of it.
    peak, final : float
        The highest rate, and the last step's.

    Returns
    -------
    float
        The rate.

    Raises
    ------
    TrainingError
        If the training is over before it has warmed up.

    Examples
    --------
    >>> [round(learning_rate(step, total=7, warm_up=3, peak=3.0, final=1.0), 3) for step in range(7)]
    [1.0, 2.0, 3.0, 2.707, 2.0, 1.293, 1.0]
    """
    if warm_up >= total:
        raise TrainingError(
            f"warm_up_steps is {warm_up}, but the whole training has only {total} steps: set fewer, or train longer"
        )
    if step < warm_up:
        return peak * (step + 1) / warm_up
    highest = max(warm_up - 1, 0)
    down = total - 1 - highest
    part = min((step - highest) / down, 1.0) if down else 0.0
    return final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * part))


def margin(epoch: float, *, full: float, warm_up: tuple[float, float]) -> float:
    """Margin at a moment of a training: nothing at first, then a straight way up.

    A network that has learned nothing yet finds no way to embeddings that a large margin would call right.

    Parameters
    ----------
    epoch : float
        Epochs done, with the part of the running one: ``epoch + batch / batches``.
    full : float
        The margin of the loss.
    warm_up : tuple of float
        The margin is 0 up to the first of these epochs and full from the second on; where both are the same it is full
        from there on.

    Returns
    -------
    float
        The margin.

    Examples
    --------
    >>> [margin(epoch, full=0.2, warm_up=(1.0, 3.0)) for epoch in (0.0, 1.0, 2.0, 3.0, 9.0)]
    [0.0, 0.0, 0.1, 0.2, 0.2]
    """
    begin, end = warm_up
    if epoch >= end:
        return full
    if epoch <= begin:
        return 0.0
    return full * ((epoch - begin) / (end - begin))


@dataclass(frozen=True)
class Patience:
    """What is known of the best epoch so far, and whether to wait for a better one.

    Attributes
    ----------
    limit : int
        Epochs without a better one after which to stop; 0: never.
    best : float or None
        The lowest error so far; None before the first.
    best_epoch : int or None
        Its epoch, the earliest where several have it.
    waited : int
        Epochs since.

    Examples
    --------
    >>> patience = Patience(limit=2)
    >>> for epoch, eer in enumerate([0.09, 0.05, 0.06, 0.05]):
    ...     patience = patience.after(epoch, eer)
    >>> patience.best_epoch, patience.improved, patience.exhausted
    (1, False, True)
    """

    limit: int
    best: float | None = None
    best_epoch: int | None = None
    waited: int = 0

    def after(self, epoch: int, error: float) -> Patience:
        """What is known after one more epoch.

        Parameters
        ----------
        epoch : int
            Which.
        error : float
            Its error, such as the dev EER: lower is better. NaN is never better.

        Returns
        -------
        Patience
            The new state.
        """
        if not math.isnan(error) and (self.best is None or error < self.best):
            return replace(self, best=error, best_epoch=epoch, waited=0)
        return replace(self, waited=self.waited + 1)

    @property
    def improved(self) -> bool:
        """Whether the last epoch is the best so far."""
        return self.best_epoch is not None and self.waited == 0

    @property
    def exhausted(self) -> bool:
        """Whether to stop."""
        return 0 < self.limit <= self.waited
