"""What a training leaves behind of its course: a log, a line for each epoch, TensorBoard's events, a picture.

An epoch's record is written before the state that the next epoch goes on from. A run that is killed between the two
repeats the epoch, and its record takes the place of the first; no epoch is there twice, and none is missing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

from vecsv.durable import make_folder, write_bytes, write_text
from vecsv.errors import MissingDependencyError, TrainingError
from vecsv.training.curve import curve_svg
from vecsv.training.history import HISTORY_FILE, EpochRecord, as_line, read_history

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = [
    "CURVE_FILE",
    "HISTORY_FILE",
    "LOG_FILE",
    "TENSORBOARD_FOLDER",
    "EpochRecord",
    "RunRecords",
    "read_history",
]

LOG_FILE: Final = "log.txt"
TENSORBOARD_FOLDER: Final = "tensorboard"
CURVE_FILE: Final = "curve.svg"

_DRAW_EVERY_S: Final = 20.0


class RunRecords:
    """The records of one run, in its folder.

    Parameters
    ----------
    folder : Path
        Of the run; made when it is missing.
    resume : bool
        Whether the folder's records are gone on with; otherwise there must be none.
    epoch, step : int
        Where the run goes on: the epoch under way, counted from 0, and the steps taken in all. Records of this epoch
        and later ones are dropped, and so are TensorBoard's events of later steps.
    on_message : callable, optional
        Given each line of the log, without its time.
    writes : bool
        False in all processes but one: nothing is written or said then, and all else is the same.
    tensorboard, picture : bool
        Whether events are written for TensorBoard and a curve is drawn, where what that takes is installed.

    Raises
    ------
    TrainingError
        When the folder has records and is not resumed, or has some that cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> first = EpochRecord(0, 10, 2.5, 0.4, 1e-3, 0.2, 90.0, 0.01, 12.0, dev_eer=0.08)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with RunRecords(Path(folder), tensorboard=False, picture=False) as records:
    ...         records.epoch(first)
    ...     read_history(Path(folder)) == [first]
    True
    """

    def __init__(
        self,
        folder: Path,
        resume: bool = False,
        *,
        epoch: int = 0,
        step: int = 0,
        on_message: Callable[[str], object] | None = None,
        writes: bool = True,
        tensorboard: bool = True,
        picture: bool = True,
    ) -> None:
        self._folder = folder
        self._writes = writes
        self._on_message = on_message
        self._history: list[EpochRecord] = []
        self._writer: SummaryWriter | None = None
        self._draws = picture
        self._drawn_at = -math.inf
        before = read_history(folder) if writes or resume else []
        if before and not resume:
            raise TrainingError(
                "holds the records of a run already", where=str(folder), hint="resume it, or choose another folder"
            )
        self._history = [record for record in before if record.epoch < epoch]
        if not writes:
            return
        make_folder(folder)
        if resume:
            self._write_history()
            self.log(f"resumed in epoch {epoch}, after step {step}")
        if len(self._history) < epoch:
            self.log(f"records of {epoch - len(self._history)} earlier epochs are missing")
        if tensorboard:
            self._writer = self._open_tensorboard(step)

    @property
    def history(self) -> tuple[EpochRecord, ...]:
        """Every epoch so far."""
        return tuple(self._history)

    def log(self, text: str) -> None:
        """Note an event: a line with the time in the log, and a message."""
        if not self._writes:
            return
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        line = " ".join(text.split())
        with (self._folder / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(f"{moment} {line}\n")
        if self._on_message is not None:
            self._on_message(line)

    def scalars(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add numbers to TensorBoard, such as ``{"train/loss": 2.5}``; None is left out.

        Parameters
        ----------
        step : int
            Steps taken in all: 1 after the first.
        values : mapping of str to float or None
        """
        if self._writer is not None:
            for name, value in values.items():
                if value is not None:
                    self._writer.add_scalar(name, value, step)

    def epoch(self, record: EpochRecord) -> None:
        """Note the end of an epoch, durably; before the state that the next one goes on from is saved.

        Raises
        ------
        ValueError
            When it does not come after the last one.
        """
        if self._history and record.epoch <= self._history[-1].epoch:
            raise ValueError(f"epoch {record.epoch} after epoch {self._history[-1].epoch}")
        self._history.append(record)
        if not self._writes:
            return
        with (self._folder / HISTORY_FILE).open("a", encoding="utf-8") as file:
            file.write(as_line(record))
            file.flush()
            os.fsync(file.fileno())
        self.log(str(record))
        self.scalars(
            record.step,
            {
                "epoch/loss": record.loss,
                "epoch/accuracy": record.accuracy,
                "epoch/held_out_accuracy": record.held_out_accuracy,
                "dev/eer": record.dev_eer,
                "dev/min_dcf": record.dev_min_dcf,
                "speed/crops_per_second": record.crops_per_second,
                "speed/loader_wait_part": record.loader_wait_part,
            },
        )
        if self._writer is not None:
            self._writer.flush()
        if monotonic() - self._drawn_at >= _DRAW_EVERY_S:
            self._draw()

    def close(self) -> None:
        """Draw the last picture and close what is open; harmless when called again."""
        if self._writes:
            self._draw()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> RunRecords:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _draw(self) -> None:
        if not self._draws or not self._history:
            return
        try:
            picture = curve_svg(self._history)
        except MissingDependencyError:
            self._draws = False
            self.log("no picture of the run is drawn: matplotlib is not installed (pip install 'vecsv[report]')")
            return
        write_bytes(self._folder / CURVE_FILE, picture)
        self._drawn_at = monotonic()

    def _open_tensorboard(self, step: int) -> SummaryWriter | None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.log("nothing is written for TensorBoard: it is not installed (pip install tensorboard)")
            return None
        # TensorBoard forgets what an earlier process wrote of the steps that are taken again.
        return SummaryWriter(str(self._folder / TENSORBOARD_FOLDER), purge_step=step + 1)

    def _write_history(self) -> None:
        write_text(self._folder / HISTORY_FILE, "".join(as_line(record) for record in self._history))
