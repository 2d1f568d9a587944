"""Evaluating: a trial list or a store in, the figures with their intervals out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vecsv.arrays import Flags
from vecsv.calibration.bootstrap import speaker_bootstrap
from vecsv.calibration.evaluate import Metrics, evaluate
from vecsv.calibration.pairs import PairSample
from vecsv.calibration.populations import Positions
from vecsv.calibration.trials import score_pairs
from vecsv.calibration.utterances import Utterances, read_utterances
from vecsv.errors import CalibrationError
from vecsv.evaluation.breakdown import break_down
from vecsv.evaluation.record import Basis, Evaluation, trials_digest
from vecsv.evaluation.recordings import columns_of
from vecsv.evaluation.sampling import MOST_PAIRS, SampleSettings, draw_pairs
from vecsv.evaluation.scoring import FailedSide, ScoredTrials, Side, score_list
from vecsv.evaluation.speakers import speaker_codes
from vecsv.evaluation.trials import read_trials
from vecsv.evaluation.unlisted import evaluate_every_pair
from vecsv.models.protocol import Embedder
from vecsv.store.reader import Snapshot, read_consistently

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ListInputs:
    """A trial list and what goes with it.

    Attributes
    ----------
    trials : Path
    manifest : Path or None
        Says who speaks, which cuts the names stand for, and the columns to break figures down by.
    enrol : Path or None
        A manifest whose speakers are the models that the enrolment column names.
    root : Path or None
        The folder that names are relative to; the list's own by default.
    """

    trials: Path
    manifest: Path | None = None
    enrol: Path | None = None
    root: Path | None = None


def evaluate_list(
    inputs: ListInputs,
    embedder: Callable[[], Embedder],
    *,
    store: Path | None = None,
    by: Sequence[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Score a trial list and work out its figures.

    Parameters
    ----------
    inputs : ListInputs
    embedder : callable
        Gives the model; not called when the store has every recording.
    store : Path, optional
        Embeddings that need not be made again; of the model's fingerprint.
    by : sequence of str
        Columns to break the figures down by.
    seed : int
        Of the intervals' draws.
    progress : callable, optional
        Called with recordings embedded and recordings to embed.

    Raises
    ------
    TrialListError
        When the list has bad lines, or contradicts the manifest.
    CalibrationError
        When the trials are all of one kind.
    """
    scored = score_list(
        read_trials(inputs.trials),
        embedder,
        root=inputs.root or inputs.trials.parent,
        manifest=inputs.manifest,
        enrol=inputs.enrol,
        store=store,
        progress=progress,
    )
    speakers, contradicted = speaker_codes(scored.trials, scored.lines, where=str(inputs.trials))
    basis = Basis(
        source=str(inputs.trials),
        trials_sha256=trials_digest(scored.trials),
        recordings=scored.recordings,
        speakers=_count(speakers, scored.trials),
        from_store=scored.from_store,
        trials_left_out=scored.left_out,
        sample=None,
    )
    warnings = _remarks(scored.trials, scored.lines, contradicted)
    identity = scored.model, scored.fingerprint
    return _evaluation(identity, basis, scored.trials, speakers, by, seed, scored.failed, warnings)


def evaluate_store(
    folder: Path,
    settings: SampleSettings | None = None,
    *,
    by: Sequence[str] = (),
    keep_trials: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Score pairs of a store's own embeddings and work out their figures.

    Parameters
    ----------
    folder : Path
        The store.
    settings : SampleSettings, optional
    by : sequence of str
        Columns to break the figures down by.
    keep_trials : bool
        Refuse all pairs where they are too many to be listed, instead of counting them only.
    progress : callable, optional
        Called with pairs (or blocks of them) scored and how many there are in all.

    Raises
    ------
    StoreError
        When there is no store.
    CalibrationError
        When it gives no pair of one speaker, or none of two.
    UsageError
        When all pairs are too many to be listed and the list is needed: for `by`, for `keep_trials`, and to leave out
        pairs of one session.
    """
    settings = settings or SampleSettings()
    generation, utterances, sides = read_consistently(
        folder, lambda snapshot: (snapshot.generation, read_utterances(snapshot), _sides_of(snapshot))
    )
    identity, speakers = (generation.model, generation.fingerprint), utterances.speakers
    too_many = len(speakers) * (len(speakers) - 1) // 2 > MOST_PAIRS
    if settings.all_pairs and too_many and not (by or keep_trials or settings.cross_session):
        metrics, intervals, warnings = evaluate_every_pair(
            utterances, where=str(folder), seed=settings.seed, progress=progress
        )
        sample = _all_of(utterances, metrics)
        basis = Basis(str(folder), None, len(sides), len(np.unique(speakers)), len(sides), 0, sample)
        return Evaluation(*identity, basis, None, speakers, metrics, intervals, (), (), (*warnings, *metrics.warnings))
    pairs = draw_pairs(utterances, settings, str(folder))
    scores = score_pairs(utterances.vectors, pairs.first, pairs.second, progress=progress)
    trials = ScoredTrials(sides, pairs.first, pairs.second, pairs.label, scores)
    basis = Basis(
        source=str(folder),
        trials_sha256=trials_digest(trials),
        recordings=len(sides),
        speakers=_count(speakers, trials),
        from_store=len(sides),
        trials_left_out=0,
        sample=_sample(pairs, settings, utterances),
    )
    return _evaluation(identity, basis, trials, speakers, by, settings.seed, (), [])


def _evaluation(
    identity: tuple[str, str],
    basis: Basis,
    trials: ScoredTrials,
    speakers: Positions,
    by: Sequence[str],
    seed: int,
    failed: tuple[FailedSide, ...],
    warnings: list[str],
) -> Evaluation:
    _require_numbers(trials, basis.source)
    try:
        metrics = evaluate(trials.scores, trials.labels)
    except CalibrationError as error:
        raise CalibrationError(error.what, where=error.where or basis.source, hint=error.hint) from error
    threshold = metrics.fnmr_at_fmr[0].threshold
    breakdowns = tuple(break_down(trials, column, threshold=threshold, speakers=speakers, seed=seed) for column in by)
    intervals = None
    try:
        intervals = speaker_bootstrap(
            speakers[trials.first], speakers[trials.second], trials.scores, trials.labels, seed=seed
        )
    except CalibrationError as error:
        warnings = [*warnings, f"no intervals: {error.what}"]
    return Evaluation(
        *identity, basis, trials, speakers, metrics, intervals, breakdowns, failed, (*warnings, *metrics.warnings)
    )


def _require_numbers(trials: ScoredTrials, where: str) -> None:
    broken = ~np.isfinite(trials.scores)
    if not broken.any():
        return
    at = int(np.argmax(broken))
    one, other = (trials.sides[side[at]].name for side in (trials.first, trials.second))
    raise CalibrationError(
        f"{int(broken.sum()):,} of {broken.size:,} scores are no numbers, the first is that of {one} against {other}",
        where=where,
        hint="one of their embeddings is damaged: embed that recording again",
    )


def _remarks(trials: ScoredTrials, lines: Positions, contradicted: Flags) -> list[str]:
    """What about a list makes its figures less than they seem."""
    remarks = []
    itself = trials.first == trials.second
    if itself.any():
        remarks.append(f"{int(itself.sum()):,} trials compare a recording with itself (the first in line "
                       f"{lines[np.argmax(itself)]}): they flatter")  # fmt: skip
    keys = trials.first * len(trials.sides) + trials.second
    repeated = len(keys) - len(np.unique(keys))
    if repeated:
        remarks.append(f"{repeated:,} trials stand in the list more than once")
    if contradicted.any():
        remarks.append(
            f"{int(contradicted.sum()):,} non-targets contradict the targets, by which they are of one speaker "
            f"(the first in line {lines[np.argmax(contradicted)]})"
        )
    return remarks


def _sides_of(snapshot: Snapshot) -> tuple[Side, ...]:
    rows = snapshot.table(["utt_id", "segment", "speaker", "session", "channel", "extra"]).to_pylist()
    windows = snapshot.generation.has_window_rows
    return tuple(
        Side(
            _side_name(row, windows=windows),
            row["speaker"],
            columns_of(row["speaker"], row["session"], row["channel"], row["extra"]),
        )
        for row in rows
    )


def _side_name(row: Mapping[str, Any], *, windows: bool) -> str:
    return f"{row['utt_id']}#window={row['segment']}" if windows else str(row["utt_id"])


def _sample(pairs: PairSample, settings: SampleSettings, utterances: Utterances) -> dict[str, Any]:
    return {
        "all_pairs": settings.all_pairs,
        "targets_available": pairs.targets.available,
        "non_targets_available": pairs.non_targets.available,
        "same_session_targets": int((pairs.same_session & pairs.label).sum()),
        "utterances_without_session": int((utterances.sessions < 0).sum()),
        "ratio_asked": None if settings.all_pairs else settings.ratio,
        "ratio_reached": pairs.ratio_reached,
        "seed": settings.seed,
        "generator": pairs.generator,
        "left_out": {
            "overlapping cuts of one recording": pairs.targets.overlapping + pairs.non_targets.overlapping,
            "same session": pairs.targets.same_session + pairs.non_targets.same_session,
            "utterances whose session is unknown": pairs.without_session,
        },
    }


def _all_of(utterances: Utterances, metrics: Metrics) -> dict[str, Any]:
    """As `_sample`, where every pair was scored."""
    known = utterances.sessions >= 0
    keys = np.stack([utterances.speakers[known], utterances.sessions[known]])
    together = np.unique(keys, axis=1, return_counts=True)[1]
    return {
        "all_pairs": True,
        "targets_available": metrics.targets,
        "non_targets_available": metrics.non_targets,
        "utterances_without_session": int((~known).sum()),
        "same_session_targets": int((together * (together - 1) // 2).sum()),
        "ratio_asked": None,
        "ratio_reached": metrics.non_targets / metrics.targets,
        "seed": None,
        "generator": None,
        "left_out": {},
    }


def _count(speakers: Positions, trials: ScoredTrials) -> int:
    return len(np.unique(speakers[np.concatenate([trials.first, trials.second])]))
