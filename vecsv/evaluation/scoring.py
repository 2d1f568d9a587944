"""From a trial list to scores: every recording embedded once, every enrolment the mean over its recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Flags, Scores, Vectors
from vecsv.audio.decode import Clip
from vecsv.calibration.populations import Positions
from vecsv.embedding.parallel import usable_cores
from vecsv.embedding.recordings import embed_clips
from vecsv.errors import TrialListError, VecsvError
from vecsv.evaluation.recordings import Recording, find_recordings, recordings_of, rows_of
from vecsv.evaluation.trials import TrialList
from vecsv.manifest import ManifestRow
from vecsv.models.protocol import Embedder
from vecsv.store.generation import Generation
from vecsv.store.reader import Snapshot, read_consistently

_CLIPS_PER_STEP = 64
_TRIALS_PER_STEP = 16_384


@dataclass(frozen=True, eq=False)
class Side:
    """What stands on one side of a trial: a recording, or a model enrolled from several.

    Attributes
    ----------
    name : str
        As the trial list has it, or the utterance id.
    speaker : str or None
        Who it is, where that is known.
    columns : mapping of str to str
        What is known about the recording; of a model, what all its recordings have in common.
    """

    name: str
    speaker: str | None
    columns: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class ScoredTrials:
    """Trials with their scores and both sides.

    Attributes
    ----------
    sides : tuple of Side
    first, second : int64 ``(trials,)``
        Positions in `sides`: enrolment and test.
    labels : bool ``(trials,)``
        True for target trials.
    scores : float32 ``(trials,)``
    """

    sides: tuple[Side, ...]
    first: Positions
    second: Positions
    labels: Flags
    scores: Scores

    def where(self, chosen: Flags | Positions) -> ScoredTrials:
        """The trials that are chosen."""
        arrays = {name: getattr(self, name)[chosen] for name in ("first", "second", "labels", "scores")}
        return replace(self, **arrays)


@dataclass(frozen=True)
class FailedSide:
    """A recording that gave no embedding, and what that cost.

    Attributes
    ----------
    name : str
        Of the recording.
    reason : str
    trials : int
        Trials left out for it; one with two such recordings counts for both.
    """

    name: str
    reason: str
    trials: int


@dataclass(frozen=True, eq=False)
class ScoredList:
    """What a trial list came to.

    Attributes
    ----------
    model, fingerprint : str
        Whose scores they are.
    trials : ScoredTrials
        Those both sides of which have an embedding.
    lines : int64
        Where each stands in the list.
    failed : tuple of FailedSide
    left_out : int
        Trials left out.
    recordings, from_store : int
        Distinct recordings, and how many of them the store had.
    """

    model: str
    fingerprint: str
    trials: ScoredTrials
    lines: Positions
    failed: tuple[FailedSide, ...]
    left_out: int
    recordings: int
    from_store: int


def score_list(
    trials: TrialList,
    embedder: Callable[[], Embedder],
    *,
    root: Path,
    manifest: Path | None = None,
    enrol: Path | None = None,
    store: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ScoredList:
    """Embed the recordings of a trial list, each once, and score its trials.

    A score is what `vecsv.query.verify.score_sides` gives: the cosine, and against a model the mean over the model's
    recordings. A model of which one recording fails is no model: its trials are left out.

    Parameters
    ----------
    trials : TrialList
    embedder : callable
        Gives the model; not called when the store has every recording.
    root : Path
        The folder that relative names are relative to.
    manifest : Path, optional
        Says which cuts the names stand for, and who speaks.
    enrol : Path, optional
        A manifest whose speakers are the models that the list's enrolment column names.
    store : Path, optional
        A store of embeddings that need not be made again.
    progress : callable, optional
        Called with recordings embedded and recordings to embed.

    Raises
    ------
    TrialListError
        When a model has no recording, or no trial is left.
    ManifestError
        When a manifest cannot be read.
    FingerprintMismatchError
        When the store is another model's.
    """
    if store is None:
        layout, generation = _lay_out(trials, root, manifest, enrol, None), None
    else:
        layout, generation = read_consistently(
            store, lambda snapshot: (_lay_out(trials, root, manifest, enrol, snapshot), snapshot.generation)
        )
    found = [one for side in layout.sides for one in side]
    vectors = {one.clip: one.vector for one in found if one.vector is not None}
    missing = list(dict.fromkeys(one.clip for one in found if one.clip not in vectors))
    recordings, from_store = len(vectors) + len(missing), len(vectors)
    failed: dict[Clip, VecsvError] = {}
    model: Generation | Embedder | None = generation
    if model is None or missing:
        model = embedder()
        if generation is not None:
            generation.require_fingerprint(model.fingerprint, where=str(store))
        failed = _embed(model, missing, vectors, progress)
    broken = np.array([any(one.clip in failed for one in side) for side in layout.sides])
    kept = ~(broken[layout.first] | broken[layout.second])
    if not kept.any():
        problem = next(iter(failed.values()))
        raise TrialListError(f"no trial is left, all {len(kept):,} lack an embedding; the first reason: {problem}")
    first, second = layout.first[kept], layout.second[kept]
    means = np.zeros((len(layout.sides), model.dim), np.float64)
    for position in np.flatnonzero(~broken).tolist():
        means[position] = np.mean([vectors[one.clip] for one in layout.sides[position]], axis=0, dtype=np.float64)
    return ScoredList(
        model=model.model if isinstance(model, Generation) else model.name,
        fingerprint=model.fingerprint,
        trials=ScoredTrials(layout.described(), first, second, trials.labels[kept], _score(means, first, second)),
        lines=trials.lines[kept],
        failed=tuple(_failures(layout, failed)),
        left_out=int((~kept).sum()),
        recordings=recordings,
        from_store=from_store,
    )


@dataclass(frozen=True, eq=False)
class _Layout:
    """What stands on the sides, and which two sides each trial has."""

    names: Sequence[str]
    sides: Sequence[Sequence[Recording]]
    first: Positions
    second: Positions
    models_from: int

    def described(self) -> tuple[Side, ...]:
        described = []
        for position, (name, recordings) in enumerate(zip(self.names, self.sides, strict=True)):
            # A model's id is a name the list's author chose, and two of them may be one person: who it is, the trials
            # say.
            speaker = recordings[0].speaker if position < self.models_from else None
            shared = set.intersection(*(set(one.columns.items()) for one in recordings))
            described.append(Side(name, speaker, dict(shared)))
        return tuple(described)


def _lay_out(
    trials: TrialList, root: Path, manifest: Path | None, enrol: Path | None, store: Snapshot | None
) -> _Layout:
    if enrol is None:
        # A recording that stands in both columns is one side.
        place = {name: at for at, name in enumerate(dict.fromkeys((*trials.enrol_names, *trials.test_names)))}
        names = list(place)
        sides = [[one] for one in find_recordings(names, root=root, manifest=manifest, store=store)]
        first = np.array([place[name] for name in trials.enrol_names], np.int64)[trials.enrol]
        second = np.array([place[name] for name in trials.test_names], np.int64)[trials.test]
        return _Layout(names, sides, first, second, len(names))
    tests = [[one] for one in find_recordings(trials.test_names, root=root, manifest=manifest, store=store)]
    names = [*trials.test_names, *trials.enrol_names]
    sides = [*tests, *_models(trials.enrol_names, enrol, store)]
    return _Layout(names, sides, len(tests) + trials.enrol, trials.test, len(tests))


def _models(names: Sequence[str], enrol: Path, store: Snapshot | None) -> list[list[Recording]]:
    """The recordings of each model."""
    wanted = set(names)
    rows: list[ManifestRow] = [row for row in rows_of(enrol) if row.speaker in wanted]
    models: dict[str, list[Recording]] = {name: [] for name in names}
    for row, recording in zip(rows, recordings_of(rows, store=store), strict=True):
        models[row.speaker].append(recording)
    for name, recordings in models.items():
        if not recordings:
            raise TrialListError(
                f"no recording of the model {name!r}", where=str(enrol), hint="every model takes a line: path, model"
            )
    return list(models.values())


def _embed(
    model: Embedder,
    clips: Sequence[Clip],
    vectors: dict[Clip, Vectors],
    progress: Callable[[int, int], None] | None,
) -> dict[Clip, VecsvError]:
    """Add the clips' embeddings to `vectors`; those that have none are returned, with the reason."""
    failed: dict[Clip, VecsvError] = {}
    for start in range(0, len(clips), _CLIPS_PER_STEP):
        step = clips[start : start + _CLIPS_PER_STEP]
        for clip, result in zip(step, embed_clips(model, step, workers=usable_cores()), strict=True):
            if isinstance(result, VecsvError):
                failed[clip] = result
            else:
                vectors[clip] = result.vector
        if progress is not None:
            progress(start + len(step), len(clips))
    return failed


def _failures(layout: _Layout, failed: Mapping[Clip, VecsvError]) -> list[FailedSide]:
    """The recordings that failed, each with the trials it cost."""
    sides = len(layout.sides)
    # A trial of a recording with itself is one trial.
    other = layout.second[layout.second != layout.first]
    trials_of = np.bincount(layout.first, minlength=sides) + np.bincount(other, minlength=sides)
    cost: Counter[Clip] = Counter()
    names: dict[Clip, str] = {}
    for position, recordings in enumerate(layout.sides):
        for one in recordings:
            if one.clip in failed:
                names.setdefault(one.clip, one.name)
                cost[one.clip] += int(trials_of[position])
    return [FailedSide(name, str(failed[clip]), cost[clip]) for clip, name in names.items()]


def _score(means: NDArray[np.float64], first: Positions, second: Positions) -> Scores:
    scores = np.empty(len(first), np.float32)
    for start in range(0, len(first), _TRIALS_PER_STEP):
        step = slice(start, start + _TRIALS_PER_STEP)
        scores[step] = np.einsum("ij,ij->i", means[first[step]], means[second[step]])
    return np.clip(scores, np.float32(-1), np.float32(1))
