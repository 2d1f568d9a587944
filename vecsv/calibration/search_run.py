"""Calibrating a store for searches: search it for its own people, left out of it, and place the threshold; commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from vecsv.calibration.counts import exact_number
from vecsv.calibration.open_set import (
    SearchRate,
    false_negatives,
    false_positives,
    fmr_bound,
    probes_needed,
    search_rate,
    speakers_to_trust,
    threshold_at_fpir,
)
from vecsv.calibration.run import calibration_in_force
from vecsv.calibration.search_record import (
    SEARCH_FILE,
    SEARCH_NAME,
    GalleryRow,
    SearchCalibration,
    search_calibration_in_force,
    write_search,
)
from vecsv.calibration.search_scores import SearchScores, search_scores
from vecsv.calibration.utterances import Utterances, read_utterances
from vecsv.durable import make_folder, sync_file, sync_folder
from vecsv.errors import CalibrationError, UsageError
from vecsv.store.generation import Generation, commit
from vecsv.store.reader import Snapshot
from vecsv.store.writing import CALIBRATION, sweep, writer


@dataclass(frozen=True)
class SearchSettings:
    """What a search threshold is to be made for.

    Attributes
    ----------
    fpir : float
        False positive identification rate: share of searches for strangers that may return somebody.
    gallery_size : int or None
        Speakers in the gallery; None: all of the store but the one searched for.
    seed : int
        Of the galleries smaller than the store.
    probes_per_speaker : int
        Utterances of one speaker that are searched for at most, so that no speaker dominates.
    """

    fpir: float = 0.01
    gallery_size: int | None = None
    seed: int = 0
    probes_per_speaker: int = 50

    def __post_init__(self) -> None:
        exact_number(self.fpir, "the false positive identification rate", below=1)
        if (self.gallery_size is not None and self.gallery_size < 1) or self.probes_per_speaker < 1 or self.seed < 0:
            raise UsageError("gallery size and probes per speaker must be at least 1, the seed not negative")


def calibrate_search(
    folder: Path, settings: SearchSettings | None = None, *, progress: Callable[[int, int], None] | None = None
) -> SearchCalibration:
    """Place the threshold of searches on searches of a store for its own people, and put it in force.

    Parameters
    ----------
    folder : Path
        The store.
    settings : SearchSettings, optional
    progress : callable, optional
        Called with searches done and searches in all.

    Raises
    ------
    CalibrationError
        When the store has too few speakers or utterances for the FPIR or the gallery size; nothing is written.
    StoreError
        When there is no store.
    """
    with writer(folder):
        snapshot = Snapshot.open(folder)
        try:
            calibration = _calibrate(snapshot, settings or SearchSettings(), progress)
        except CalibrationError as error:
            raise CalibrationError(error.what, where=error.where or str(folder), hint=error.hint) from error
        commit(folder, _with(folder, snapshot.generation.successor(), calibration))
        sweep(folder)
    return calibration


def with_search_placed_anew(folder: Path, generation: Generation) -> Generation:
    """Make the search calibration of `generation`, which is not committed yet, again from the rows it has now.

    So that it owes nothing to rows that are gone. Where those that are left cannot carry it, it is dropped.
    """
    snapshot = Snapshot(folder, generation)
    before = search_calibration_in_force(snapshot)
    if before is None:
        return generation
    settings = SearchSettings(before.fpir_asked, before.gallery_size_asked, before.seed, before.probes_per_speaker)
    try:
        return _with(folder, generation, _calibrate(snapshot, settings, None))
    except CalibrationError:
        others = {name: place for name, place in generation.calibrations.items() if name != SEARCH_NAME}
        return replace(generation, calibrations=others)


def _calibrate(
    snapshot: Snapshot, settings: SearchSettings, progress: Callable[[int, int], None] | None
) -> SearchCalibration:
    utterances = read_utterances(snapshot)
    speakers = int(np.unique(utterances.speakers).size)
    _require_enough(utterances, speakers, settings)
    size = settings.gallery_size or speakers - 1
    scores = search_scores(
        utterances,
        [*_table_sizes(speakers - 1), size],
        seed=settings.seed,
        probes_per_speaker=settings.probes_per_speaker,
        progress=progress,
    )
    column = scores.gallery_sizes.index(size)
    threshold = threshold_at_fpir(scores.stranger[:, column], settings.fpir)
    pairs = calibration_in_force(snapshot)
    # A threshold of normalised scores says nothing about cosines, which is what searches compare.
    pairs_point = pairs.point() if pairs is not None and pairs.of_cosines else None
    pairs_threshold = None if pairs_point is None else pairs_point.threshold
    table = tuple(
        _row(scores, each, threshold, settings.fpir, pairs_threshold) for each in range(len(scores.gallery_sizes))
    )
    chosen = table[column]
    return SearchCalibration(
        model=snapshot.generation.model,
        fingerprint=snapshot.generation.fingerprint,
        threshold=threshold,
        fpir_asked=settings.fpir,
        gallery_size=size,
        gallery_size_asked=settings.gallery_size,
        speakers=speakers,
        utterances=len(utterances.row_ids),
        fpir=chosen.fpir,
        fnir=chosen.fnir,
        mates_of_session=int(scores.mate_of_session.sum()),
        probes_per_speaker=settings.probes_per_speaker,
        supported=speakers >= probes_needed(settings.fpir),
        note=_note(chosen.fpir, settings.fpir),
        fmr_bound=fmr_bound(settings.fpir, size),
        pairs_name=None if pairs_point is None else pairs_point.name,
        pairs_threshold=pairs_threshold,
        table=table,
        seed=settings.seed,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _require_enough(utterances: Utterances, speakers: int, settings: SearchSettings) -> None:
    """Refuse what cannot come out before anything is searched."""
    if speakers < 2:
        raise CalibrationError(
            f"{speakers} speaker{'' if speakers == 1 else 's'}: a search for a stranger needs somebody else to find",
            hint="embed more speakers: vecsv embed",
        )
    if settings.gallery_size is not None and settings.gallery_size >= speakers:
        raise CalibrationError(
            f"a gallery of {settings.gallery_size} is not supported by this data: {speakers} speakers give galleries "
            f"of up to {speakers - 1} others",
            hint="ask for a smaller --gallery-size, or embed more speakers",
        )
    sizes = np.unique(utterances.speakers, return_counts=True)[1]
    probes = int(np.minimum(sizes, settings.probes_per_speaker).sum())
    if probes < probes_needed(settings.fpir):
        threshold_at_fpir(np.zeros(probes, np.float32), settings.fpir)


def _table_sizes(largest: int) -> list[int]:
    """1, 3, 10, 30 and so on, and the largest gallery there is."""
    steps = [step * 10**power for power in range(9) for step in (1, 3)]
    return [*(size for size in steps if size < largest), largest]


def _row(scores: SearchScores, column: int, threshold: float, fpir: float, pairs_threshold: float | None) -> GalleryRow:
    stranger, mated = scores.stranger[:, column], scores.mated
    mate, rival = scores.mate[mated], scores.rival[mated, column]
    fnir: SearchRate | None = None
    own_fnir: float | None = None
    own_threshold = threshold_at_fpir(stranger, fpir)
    if mated.any():
        fnir = search_rate(false_negatives(mate, rival, threshold), scores.speakers[mated])
        own_fnir = float(false_negatives(mate, rival, own_threshold).mean())
    return GalleryRow(
        gallery_size=scores.gallery_sizes[column],
        fpir=search_rate(false_positives(stranger, threshold), scores.speakers, scores.closest[:, column]),
        fnir=fnir,
        own_threshold=own_threshold,
        own_fnir=own_fnir,
        pairs_fpir=None if pairs_threshold is None else float(false_positives(stranger, pairs_threshold).mean()),
    )


def _note(fpir: SearchRate, asked: float) -> str | None:
    trusted = speakers_to_trust(asked)
    if fpir.speakers >= trusted:
        return None
    if fpir.speakers < probes_needed(asked):
        return (
            f"not supported by {fpir.speakers} speakers: to show an FPIR of {asked:g} takes "
            f"at least {probes_needed(asked):,}, and {trusted:,} to trust it"
        )
    return (
        f"rests on {fpir.speakers:,} speakers, an FPIR of {asked:g} takes {trusted:,} to be trusted: "
        f"it may be {fpir.low:.2%} to {fpir.high:.2%} (90% interval)"
    )


def _with(folder: Path, generation: Generation, calibration: SearchCalibration) -> Generation:
    """Write the calibration durably into a folder of its own, and name it in `generation`, which is not committed."""
    target = folder / CALIBRATION / SEARCH_NAME / f"{generation.number:08d}"
    make_folder(target)
    write_search(target / SEARCH_FILE, calibration)
    sync_file(target / SEARCH_FILE)
    sync_folder(target)
    place = target.relative_to(folder).as_posix()
    return replace(generation, calibrations={**generation.calibrations, SEARCH_NAME: place})
