"""A cohort on disk: taken from a store of other people, and kept beside the thresholds that rest on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vecsv.calibration.normalise import TOP_K, Cohort, cohort_of
from vecsv.calibration.utterances import codes_of
from vecsv.durable import sync_file
from vecsv.errors import CalibrationError, StoreError
from vecsv.store import enrolments
from vecsv.store.reader import Snapshot, read_consistently

COHORT_FILE = "cohort.npy"


def read_cohort_store(source: Path, target: Snapshot, *, top_k: int = TOP_K) -> Cohort:
    """The speakers of one store as a cohort for another, whose people must not be among them.

    Parameters
    ----------
    source : Path
        The cohort's store.
    target : Snapshot
        The store to calibrate.

    Raises
    ------
    CalibrationError
        When the two stores share a speaker, or the cohort is too small.
    FingerprintMismatchError
        When they hold embeddings of different models.
    """
    people = _speakers(target)

    def read(snapshot: Snapshot) -> Cohort:
        target.generation.require_fingerprint(snapshot.generation.fingerprint, where=str(source))
        shared = sorted(_speakers(snapshot) & people)
        if shared:
            raise CalibrationError(
                f"{len(shared)} of the cohort's speakers are in the store too, the first is {shared[0]!r}",
                where=str(source),
                hint="take a cohort of other people",
            )
        _, vectors = snapshot.vectors()
        return cohort_of(vectors, codes_of(snapshot.table(["speaker"]).column("speaker")), top_k=top_k)

    return read_consistently(source, read)


def _speakers(snapshot: Snapshot) -> set[str]:
    enrolled = enrolments.read(snapshot.folder, snapshot.generation.dim).speakers
    return {*snapshot.table(["speaker"]).column("speaker").unique().to_pylist(), *enrolled}


def write_cohort(folder: Path, cohort: Cohort) -> None:
    """Write a cohort into a calibration's folder, durably."""
    np.save(folder / COHORT_FILE, cohort.means)
    sync_file(folder / COHORT_FILE)


def read_cohort(folder: Path, *, top_k: int) -> Cohort:
    """Read what `write_cohort` wrote.

    Raises
    ------
    FileNotFoundError
        When it is not there.
    StoreError
        When it is damaged.
    """
    try:
        means = np.load(folder / COHORT_FILE, allow_pickle=False)
    except ValueError as error:
        raise StoreError(f"damaged: {error}", where=str(folder / COHORT_FILE), hint="vecsv calibrate") from error
    return Cohort(means, top_k)
