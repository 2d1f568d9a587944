"""What is asked of a training, and what it came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vecsv.training.configuration import TrainingConfig
from vecsv.training.history import EpochRecord


@dataclass(frozen=True)
class TrainSettings:
    """What is trained on what, and where it goes.

    Attributes
    ----------
    config : TrainingConfig
        What is followed.
    manifest : Path
        Recordings and speakers to learn from.
    dev : Path or None
        Manifest of other speakers, to measure verification on after each epoch.
    out : Path
        The run's folder.
    name : str
        Name that the model will go by.
    noise, rooms : Path or None
        Folders of noises and of room impulse responses, where the configuration wants them.
    start_from : str or Path or None
        What to begin with: a run's folder, with its classifier; or a model's name or folder, without one.
    resume : bool
        Whether to go on with the run in `out`, if there is one.
    workers : int or None
        Processes that make batches ahead; None: as many as keep the network busy on this machine.
    device : str or None
        ``"cpu"``, ``"cuda"`` or None: a GPU where there is one.
    licence : str
        SPDX identifier that the model gets.
    replace : bool
        Whether a run and a model of these names may be replaced.
    """

    config: TrainingConfig
    manifest: Path
    dev: Path | None
    out: Path
    name: str
    noise: Path | None = None
    rooms: Path | None = None
    start_from: str | Path | None = None
    resume: bool = False
    workers: int | None = None
    device: str | None = None
    licence: str = "unknown"
    replace: bool = False


@dataclass(frozen=True)
class TrainResult:
    """What a training came to.

    Attributes
    ----------
    name : str
        Name of the model.
    bundle, run : Path
        The model's folder and the run's.
    epochs, best_epoch : int
        Trained, and the one whose weights the model has, counted from 0.
    stopped_early : bool
        Whether epochs without improvement ended it.
    history : tuple of EpochRecord
        All epochs.
    speakers, classes, recordings : int
        Trained on.
    hours : float
        Of speech, before augmentation.
    bad, short, narrow, unreadable : int
        Rows that could not be read, that were too short, recordings of a lower sampling rate, and recordings whose
        header was fine and whose content was not.
    parameters : int
        Of the network, without the classifier.
    """

    name: str
    bundle: Path
    run: Path
    epochs: int
    best_epoch: int
    stopped_early: bool
    history: tuple[EpochRecord, ...]
    speakers: int
    classes: int
    recordings: int
    hours: float
    bad: int
    short: int
    narrow: int
    unreadable: int
    parameters: int

    @property
    def best(self) -> EpochRecord:
        """The epoch whose weights the model has."""
        return next(record for record in self.history if record.epoch == self.best_epoch)
