"""What a report shows, read from a store: the calibration in force, its trials, the search threshold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Flags, Scores
from vecsv.calibration.llr import SCORE, LlrMapping
from vecsv.calibration.record import TRIALS_FILE, Calibration
from vecsv.calibration.run import DEFAULT_NAME, calibration_in_force
from vecsv.calibration.search_record import SearchCalibration, search_calibration_in_force
from vecsv.calibration.trials import Trials, sides_of
from vecsv.errors import CalibrationError
from vecsv.store.reader import Snapshot, read_consistently


@dataclass(frozen=True, eq=False)
class Evidence:
    """A calibration and the trials its errors are reported on.

    Attributes
    ----------
    store : str
        Name of the store's folder; not its path, since reports are handed on.
    calibration : Calibration
    scores : ndarray of float32, shape (n,)
        Of the held-out half of the speakers where there is one, else of all trials.
    labels : ndarray of bool, shape (n,)
        True for targets.
    ratios : ndarray of float64, shape (n,), or None
        Natural log-likelihood ratios of the same trials; None where the calibration has no map to them.
    search : SearchCalibration or None
    """

    store: str
    calibration: Calibration
    scores: Scores
    labels: Flags
    ratios: NDArray[np.float64] | None
    search: SearchCalibration | None


def read_evidence(folder: Path) -> Evidence:
    """Read what there is to show of a store.

    Raises
    ------
    CalibrationError
        When the store has no calibration, or one without a trial list.
    StoreError
        When there is no store.
    """
    return read_consistently(folder, _read)


def _read(snapshot: Snapshot) -> Evidence:
    import pyarrow.parquet as pq

    calibration = calibration_in_force(snapshot)
    if calibration is None:
        raise CalibrationError(
            "the store has no calibration to report on",
            where=str(snapshot.folder),
            hint=f"vecsv calibrate --store {snapshot.folder}",
        )
    path = snapshot.folder / snapshot.generation.calibrations[DEFAULT_NAME] / TRIALS_FILE
    if not path.is_file():
        raise CalibrationError(
            f"the thresholds come without their pairs: {calibration.source}",
            where=str(snapshot.folder),
            hint="report on the store they were made on, or calibrate this one",
        )
    trials = Trials.from_table(pq.ParquetFile(path).read())
    if calibration.held_out is not None:
        trials = trials.where(trials.held_out)
    return Evidence(
        store=snapshot.folder.resolve().name,
        calibration=calibration,
        scores=trials.score,
        labels=trials.target,
        ratios=None if calibration.llr is None else _ratios(calibration.llr, trials, snapshot),
        search=search_calibration_in_force(snapshot),
    )


def _ratios(mapping: LlrMapping, trials: Trials, snapshot: Snapshot) -> NDArray[np.float64]:
    scores = {SCORE: trials.score.astype(np.float64)}
    if mapping.with_quality is None:
        return mapping.score_only(scores)
    return mapping.with_quality(scores | sides_of(trials, snapshot).quality)
