"""Calibrating a store: sample pairs of its embeddings, score them, place the thresholds, commit.

The trial list keeps row ids, not names: it can be repeated exactly, and it tells nothing about anybody once their
rows are gone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from vecsv.arrays import RowIds
from vecsv.calibration.cohort_store import read_cohort, read_cohort_store, write_cohort
from vecsv.calibration.halves import HalvedSample, SamplingRules, sample_halves
from vecsv.calibration.normalise import TOP_K, Cohort, decide
from vecsv.calibration.placing import carries_halves, place
from vecsv.calibration.record import (
    DEFAULT_POINT,
    THRESHOLDS_FILE,
    TRIALS_FILE,
    Calibration,
    read_thresholds,
    write_thresholds,
)
from vecsv.calibration.search_record import SEARCH_NAME
from vecsv.calibration.trials import Trials, score_pairs, sides_of
from vecsv.calibration.utterances import Utterances, read_utterances
from vecsv.durable import make_folder, sync_file, sync_folder
from vecsv.errors import CalibrationError, UsageError
from vecsv.store.generation import Generation, commit, require_latest
from vecsv.store.reader import Snapshot, read_consistently
from vecsv.store.writing import CALIBRATION, sweep, writer

DEFAULT_NAME = "default"
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class CalibrateSettings:
    """How pairs are sampled.

    Attributes
    ----------
    name : str
        Name of the calibration; a store may have several.
    ratio : int
        Non-targets a target.
    per_speaker : int
        Target pairs one speaker gives at most, so that no speaker dominates.
    seed : int
    cross_session : bool
        Leave out pairs of one session, and utterances whose session is unknown.
    in_force : str
        Operating point that decides when none is asked for.
    cohort : Path or None
        A store of other people: scores are normalised against them (AS-norm), if that wins on the held-out speakers.
    top_k : int
        How many of the cohort's speakers count for a recording: the closest ones.
    """

    name: str = DEFAULT_NAME
    ratio: int = 99
    per_speaker: int = 200
    seed: int = 0
    cross_session: bool = False
    in_force: str = DEFAULT_POINT
    cohort: Path | None = None
    top_k: int = TOP_K

    def __post_init__(self) -> None:
        _require_name(self.name)
        if self.ratio < 1 or self.per_speaker < 1 or self.seed < 0:
            raise UsageError("ratio and pairs per speaker must be at least 1, the seed not negative")


def calibrate(
    folder: Path, settings: CalibrateSettings | None = None, *, progress: Progress | None = None
) -> Calibration:
    """Place thresholds on pairs of a store's own embeddings and put them in force.

    Parameters
    ----------
    folder : Path
        The store.
    settings : CalibrateSettings, optional
    progress : callable, optional
        Called with pairs scored and pairs in all.

    Raises
    ------
    CalibrationError
        When the store gives no target pairs or no non-target pairs.
    StoreError
        When there is no store.
    """
    settings = settings or CalibrateSettings()
    with writer(folder):
        snapshot = Snapshot(folder, require_latest(folder))
        utterances = read_utterances(snapshot)
        sample = _sample(utterances, settings, folder)
        trials = _scored(utterances, sample, progress)
        normalisation, cohort = None, None
        if settings.cohort is not None:
            candidate = read_cohort_store(settings.cohort, snapshot, top_k=settings.top_k)
            normalised = candidate.score_pairs(utterances.vectors, sample.first, sample.second, trials.score)
            unseen = trials.held_out
            normalisation = decide(
                candidate, settings.cohort.name, trials.score[unseen], normalised[unseen], trials.target[unseen]
            )
            if normalisation.kept:
                trials, cohort = replace(trials, score=normalised), candidate
        placed = place(trials, sides_of(trials, snapshot), seed=settings.seed)
        generation = snapshot.generation
        calibration = Calibration(
            name=settings.name,
            model=generation.model,
            fingerprint=generation.fingerprint,
            origin="store",
            source="pairs of the store's own embeddings",
            in_force=settings.in_force,
            points=placed.points,
            basis=sample.basis,
            made_at=_now(),
            held_out=placed.halves,
            held_out_note=placed.note,
            llr=placed.llr,
            normalisation=normalisation,
        )
        calibration.point()
        _commit(folder, generation.successor(), calibration, trials, cohort)
    return calibration


def copy_calibration(source: Path, folder: Path, *, name: str = DEFAULT_NAME) -> Calibration:
    """Take over the thresholds of another store of the same model, as for a gallery with one utterance a speaker.

    Raises
    ------
    FingerprintMismatchError
        When the two stores hold embeddings of different models.
    CalibrationError
        When the other store has no calibration of that name.
    """
    _require_name(name)
    found, cohort = read_consistently(source, lambda snapshot: calibration_and_cohort(snapshot, name))
    if found is None:
        raise CalibrationError(f"has no calibration {name!r}", where=str(source), hint="vecsv calibrate --store ...")
    with writer(folder):
        generation = require_latest(folder)
        generation.require_fingerprint(found.fingerprint, where=str(source))
        origin = f"calibration made on another store ({found.basis.speakers} speakers), taken over {_now()}"
        calibration = replace(found, origin="other-store", source=origin)
        _commit(folder, generation.successor(), calibration, None, cohort)
    return calibration


def calibration_in_force(snapshot: Snapshot, name: str = DEFAULT_NAME) -> Calibration | None:
    """A store's calibration of a name, or None when it has none."""
    folder = snapshot.generation.calibrations.get(name)
    return None if folder is None else read_thresholds(snapshot.folder / folder / THRESHOLDS_FILE)


def calibration_and_cohort(snapshot: Snapshot, name: str = DEFAULT_NAME) -> tuple[Calibration | None, Cohort | None]:
    """A store's calibration of a name, and the cohort to normalise scores with where it asks for one."""
    found = calibration_in_force(snapshot, name)
    if found is None:
        return None, None
    return found, _cohort(found, snapshot.folder / snapshot.generation.calibrations[name])


def _cohort(calibration: Calibration, folder: Path) -> Cohort | None:
    normalisation = calibration.normalisation
    if normalisation is None or not normalisation.kept:
        return None
    return read_cohort(folder, top_k=normalisation.top_k)


def without_rows(folder: Path, generation: Generation, row_ids: RowIds) -> tuple[Generation, int]:
    """Write the calibrations of `generation`, which is not committed yet, again without the trials of some rows.

    The thresholds are placed anew on the trials that are left, so that they rest on what the trial list holds. A
    calibration that loses all its targets or non-targets is dropped; thresholds taken over from another store hold no
    trials and stay.

    Returns
    -------
    generation : Generation
        With the new calibrations.
    removed : int
        Trials that were removed.
    """
    import pyarrow.parquet as pq

    calibrations = dict(generation.calibrations)
    removed = 0
    snapshot = Snapshot(folder, generation)
    for name, written in generation.calibrations.items():
        path = folder / written / TRIALS_FILE
        if not path.is_file():
            continue
        trials = Trials.from_table(pq.ParquetFile(path).read())
        gone = np.isin(trials.first_row_id, row_ids) | np.isin(trials.second_row_id, row_ids)
        if not gone.any():
            continue
        removed += int(gone.sum())
        kept = trials.where(~gone)
        if not kept.target.any() or kept.target.all():
            del calibrations[name]
            continue
        sides = sides_of(kept, snapshot)
        if not carries_halves(kept, sides):
            kept = kept.undivided()
        before = read_thresholds(folder / written / THRESHOLDS_FILE)
        cohort = _cohort(before, folder / written)
        basis = replace(
            before.basis,
            speakers=before.basis.speakers - 1,
            utterances=before.basis.utterances - len(row_ids),
            targets=int(kept.target.sum()),
            non_targets=int((~kept.target).sum()),
            same_session_targets=int((kept.same_session & kept.target).sum()),
            ratio_reached=float((~kept.target).sum() / kept.target.sum()),
        )
        placed = place(kept, sides, seed=basis.seed)
        after = replace(
            before,
            points=placed.points,
            basis=basis,
            made_at=_now(),
            held_out=placed.halves,
            held_out_note=placed.note,
            llr=placed.llr,
        )
        calibrations[name] = _write(folder, generation.number, after, kept, cohort)
    return replace(generation, calibrations=calibrations), removed


def _sample(utterances: Utterances, settings: CalibrateSettings, folder: Path) -> HalvedSample:
    rules = SamplingRules(settings.seed, settings.ratio, settings.per_speaker, settings.cross_session)
    try:
        return sample_halves(utterances, rules)
    except CalibrationError as error:
        raise CalibrationError(error.what, where=error.where or str(folder), hint=error.hint) from error


def _scored(utterances: Utterances, sample: HalvedSample, progress: Progress | None) -> Trials:
    scores = score_pairs(utterances.vectors, sample.first, sample.second, progress=progress)
    return Trials(
        first_row_id=utterances.row_ids[sample.first],
        second_row_id=utterances.row_ids[sample.second],
        target=sample.label,
        same_session=sample.same_session,
        held_out=sample.held_out,
        score=scores,
    )


def _commit(
    folder: Path, generation: Generation, calibration: Calibration, trials: Trials | None, cohort: Cohort | None
) -> None:
    written = _write(folder, generation.number, calibration, trials, cohort)
    commit(folder, replace(generation, calibrations={**generation.calibrations, calibration.name: written}))
    sweep(folder)


def _write(folder: Path, number: int, calibration: Calibration, trials: Trials | None, cohort: Cohort | None) -> str:
    """Write a calibration's files durably into a folder of its own, which no generation names yet."""
    import pyarrow.parquet as pq

    target = folder / CALIBRATION / calibration.name / f"{number:08d}"
    make_folder(target)
    write_thresholds(target / THRESHOLDS_FILE, calibration)
    sync_file(target / THRESHOLDS_FILE)
    if trials is not None:
        pq.write_table(trials.to_table(), target / TRIALS_FILE, compression="zstd")
        sync_file(target / TRIALS_FILE)
    if cohort is not None:
        write_cohort(target, cohort)
    sync_folder(target)
    return target.relative_to(folder).as_posix()


def _require_name(name: str) -> None:
    if name == SEARCH_NAME or not _NAME.match(name):
        raise UsageError(
            f"{name!r} is no name for a calibration",
            hint=f"use letters, digits, '.', '_' and '-', and not {SEARCH_NAME!r}",
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
