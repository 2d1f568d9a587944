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
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import RowIds, Scores, Vectors
from vecsv.calibration.operating_points import operating_points
from vecsv.calibration.pairs import PairSample, sample_pairs
from vecsv.calibration.record import (
    DEFAULT_POINT,
    THRESHOLDS_FILE,
    TRIALS_FILE,
    Basis,
    Calibration,
    read_thresholds,
    write_thresholds,
)
from vecsv.durable import make_folder, sync_file, sync_folder
from vecsv.errors import CalibrationError, UsageError
from vecsv.store.generation import Generation, commit, require_latest
from vecsv.store.reader import Snapshot, read_consistently
from vecsv.store.writing import CALIBRATION, sweep, writer

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_NAME = "default"
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_PAIRS_PER_STEP = 65_536


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
    """

    name: str = DEFAULT_NAME
    ratio: int = 99
    per_speaker: int = 200
    seed: int = 0
    cross_session: bool = False
    in_force: str = DEFAULT_POINT

    def __post_init__(self) -> None:
        _require_name(self.name)
        if self.ratio < 1 or self.per_speaker < 1 or self.seed < 0:
            raise UsageError("ratio and pairs per speaker must be at least 1, the seed not negative")


@dataclass(frozen=True)
class _Utterances:
    row_ids: RowIds
    vectors: Vectors
    speakers: NDArray[np.int64]
    sessions: NDArray[np.int64]
    recordings: NDArray[np.int64]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]


def calibrate(
    folder: Path, settings: CalibrateSettings | None = None, *, progress: Callable[[int, int], None] | None = None
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
        utterances = _read_utterances(snapshot)
        sample = _sample(utterances, settings, folder)
        scores = score_pairs(utterances.vectors, sample.first, sample.second, progress=progress)
        generation = snapshot.generation
        calibration = Calibration(
            name=settings.name,
            model=generation.model,
            fingerprint=generation.fingerprint,
            origin="store",
            source="pairs of the store's own embeddings",
            in_force=settings.in_force,
            points=operating_points(scores, sample.label),
            basis=_basis(utterances, sample),
            made_at=_now(),
        )
        calibration.point()
        trials = _trial_table(utterances, sample, scores)
        _commit(folder, generation.successor(), calibration, trials)
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
    found = read_consistently(source, lambda snapshot: calibration_in_force(snapshot, name))
    if found is None:
        raise CalibrationError(f"has no calibration {name!r}", where=str(source), hint="vecsv calibrate --store ...")
    with writer(folder):
        generation = require_latest(folder)
        generation.require_fingerprint(found.fingerprint, where=str(source))
        origin = f"calibration made on another store ({found.basis.speakers} speakers), taken over {_now()}"
        calibration = replace(found, origin="other-store", source=origin)
        _commit(folder, generation.successor(), calibration, None)
    return calibration


def calibration_in_force(snapshot: Snapshot, name: str = DEFAULT_NAME) -> Calibration | None:
    """A store's calibration of a name, or None when it has none."""
    folder = snapshot.generation.calibrations.get(name)
    return None if folder is None else read_thresholds(snapshot.folder / folder / THRESHOLDS_FILE)


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
    for name, place in generation.calibrations.items():
        path = folder / place / TRIALS_FILE
        if not path.is_file():
            continue
        trials = pq.ParquetFile(path).read()
        gone = np.isin(trials.column("first_row_id").to_numpy(), row_ids)
        gone |= np.isin(trials.column("second_row_id").to_numpy(), row_ids)
        if not gone.any():
            continue
        removed += int(gone.sum())
        kept = trials.filter(~gone)
        labels = kept.column("target").to_numpy()
        if not labels.any() or labels.all():
            del calibrations[name]
            continue
        before = read_thresholds(folder / place / THRESHOLDS_FILE)
        basis = replace(
            before.basis,
            speakers=before.basis.speakers - 1,
            utterances=before.basis.utterances - len(row_ids),
            targets=int(labels.sum()),
            non_targets=int((~labels).sum()),
            same_session_targets=int((kept.column("same_session").to_numpy() & labels).sum()),
            ratio_reached=float((~labels).sum() / labels.sum()),
        )
        points = operating_points(kept.column("score").to_numpy(), labels)
        after = replace(before, points=points, basis=basis, made_at=_now())
        calibrations[name] = _write(folder, generation.number, after, kept.combine_chunks())
    return replace(generation, calibrations=calibrations), removed


def score_pairs(
    vectors: Vectors,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Inner products of pairs of rows, float32, a bounded number at a time."""
    scores = np.empty(len(first), np.float32)
    for start in range(0, len(first), _PAIRS_PER_STEP):
        step = slice(start, start + _PAIRS_PER_STEP)
        np.einsum("ij,ij->i", vectors[first[step]], vectors[second[step]], out=scores[step])
        if progress is not None:
            progress(min(step.stop, len(first)), len(first))
    return scores


def _read_utterances(snapshot: Snapshot) -> _Utterances:
    import pyarrow.compute as pc

    table = snapshot.table(["speaker", "session", "audio_sha256", "channel", "start_s", "end_s"])
    # Two channels of one file are two recordings.
    channels = table.column("channel").fill_null(0).cast("string")
    recordings = pc.binary_join_element_wise(table.column("audio_sha256"), channels, "/")
    row_ids, vectors = snapshot.vectors()
    start = table.column("start_s").fill_null(0.0).to_numpy()
    end = table.column("end_s").fill_null(np.inf).to_numpy()
    return _Utterances(
        row_ids=row_ids,
        vectors=vectors,
        speakers=_codes(table.column("speaker")),
        sessions=_codes(table.column("session")),
        recordings=_codes(recordings),
        start_s=start,
        end_s=end,
    )


def _sample(utterances: _Utterances, settings: CalibrateSettings, folder: Path) -> PairSample:
    try:
        return sample_pairs(
            utterances.speakers,
            seed=settings.seed,
            ratio=settings.ratio,
            per_speaker_cap=settings.per_speaker,
            sessions=utterances.sessions,
            recordings=utterances.recordings,
            start=utterances.start_s,
            end=utterances.end_s,
            cross_session=settings.cross_session,
        )
    except CalibrationError as error:
        raise CalibrationError(error.what, where=error.where or str(folder), hint=error.hint) from error


def _basis(utterances: _Utterances, sample: PairSample) -> Basis:
    return Basis(
        speakers=len(np.unique(utterances.speakers)),
        utterances=len(utterances.speakers),
        targets=sample.targets.taken,
        non_targets=sample.non_targets.taken,
        targets_available=sample.targets.available,
        non_targets_available=sample.non_targets.available,
        same_session_targets=int((sample.same_session & sample.label).sum()),
        utterances_without_session=int((utterances.sessions < 0).sum()),
        speakers_capped=sample.speakers_capped,
        left_out={
            "overlapping cuts of one recording": sample.targets.overlapping + sample.non_targets.overlapping,
            "same session": sample.targets.same_session + sample.non_targets.same_session,
            "utterances whose session is unknown": sample.without_session,
        },
        ratio_asked=sample.ratio_asked,
        ratio_reached=sample.ratio_reached,
        seed=sample.seed,
        generator=sample.generator,
    )


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Numbers that are equal where a column's values are; -1 where it has none."""
    indices = column.dictionary_encode().combine_chunks().indices
    codes: NDArray[np.int64] = indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _trial_table(utterances: _Utterances, sample: PairSample, scores: Scores) -> pa.Table:
    import pyarrow as pa

    return pa.table(
        {
            "first_row_id": utterances.row_ids[sample.first],
            "second_row_id": utterances.row_ids[sample.second],
            "target": sample.label,
            "same_session": sample.same_session,
            "score": scores,
        }
    )


def _commit(folder: Path, generation: Generation, calibration: Calibration, trials: pa.Table | None) -> None:
    place = _write(folder, generation.number, calibration, trials)
    commit(folder, replace(generation, calibrations={**generation.calibrations, calibration.name: place}))
    sweep(folder)


def _write(folder: Path, number: int, calibration: Calibration, trials: pa.Table | None) -> str:
    """Write a calibration's files durably into a folder of its own, which no generation names yet."""
    import pyarrow.parquet as pq

    target = folder / CALIBRATION / calibration.name / f"{number:08d}"
    make_folder(target)
    write_thresholds(target / THRESHOLDS_FILE, calibration)
    sync_file(target / THRESHOLDS_FILE)
    if trials is not None:
        pq.write_table(trials, target / TRIALS_FILE, compression="zstd")
        sync_file(target / TRIALS_FILE)
    sync_folder(target)
    return target.relative_to(folder).as_posix()


def _require_name(name: str) -> None:
    if not _NAME.match(name):
        raise UsageError(f"{name!r} is no name for a calibration", hint="use letters, digits, '.', '_' and '-'")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
