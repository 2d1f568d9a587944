"""Trials drawn from a manifest or a store, as calibration draws its pairs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vecsv.calibration.pairs import PairSample, sample_pairs
from vecsv.calibration.populations import Positions
from vecsv.calibration.utterances import Utterances, read_utterances
from vecsv.errors import CalibrationError, UsageError
from vecsv.evaluation.trials import name_beside
from vecsv.manifest import BadRow, ManifestRow, read_manifest
from vecsv.store.reader import Snapshot, read_consistently


@dataclass(frozen=True)
class SampleSettings:
    """Which pairs to take.

    Attributes
    ----------
    ratio : int
        Non-targets a target.
    per_speaker : int
        Target pairs one speaker gives at most.
    seed : int
    cross_session : bool
        Leave out pairs of one session, and recordings whose session is unknown.
    all_pairs : bool
        Take every pair there is; ratio, pairs per speaker and seed then decide nothing.
    """

    ratio: int = 99
    per_speaker: int = 200
    seed: int = 0
    cross_session: bool = False
    all_pairs: bool = False

    def __post_init__(self) -> None:
        if self.ratio < 1 or self.per_speaker < 1 or self.seed < 0:
            raise UsageError("ratio and pairs per speaker must be at least 1, the seed not negative")


MOST_PAIRS = 10_000_000
"""A list of more pairs than this would take gigabytes."""


@dataclass(frozen=True)
class DrawnTrials:
    """Pairs of named recordings.

    Attributes
    ----------
    names : tuple of str
        The recordings; the pairs are positions in it.
    pairs : PairSample
    """

    names: tuple[str, ...]
    pairs: PairSample

    def listed(self) -> Iterable[tuple[bool, str, str]]:
        """Label, enrolment and test of each pair."""
        columns = (self.pairs.label.tolist(), self.pairs.first.tolist(), self.pairs.second.tolist())
        return ((label, self.names[first], self.names[second]) for label, first, second in zip(*columns, strict=True))


def draw_from_manifest(
    manifest: Path, settings: SampleSettings, *, beside: Path, left_out: Callable[[BadRow], object]
) -> DrawnTrials:
    """Draw trials from a manifest, without opening a recording.

    Parameters
    ----------
    manifest : Path
    settings : SampleSettings
    beside : Path
        The folder the list is going to lie in: recordings are named relative to it. A cut, or one channel, goes by
        its utterance id, which is understood beside the manifest only.
    left_out : callable
        Told about each row that cannot be read.

    Raises
    ------
    ManifestError
        When the manifest cannot be read.
    CalibrationError
        When it gives no pair of one speaker, or none of two.
    """
    rows: list[ManifestRow] = []
    for row in read_manifest(manifest):
        if isinstance(row, BadRow):
            left_out(row)
        else:
            rows.append(row)
    sessions = _codes(row.session for row in rows)
    sessions[[row.session is None for row in rows]] = -1
    pairs = _draw(
        settings,
        str(manifest),
        speakers=_codes(row.speaker for row in rows),
        sessions=sessions,
        recordings=_codes((row.path, row.channel) for row in rows),
        start=np.array([row.start_s or 0.0 for row in rows]),
        end=np.array([np.inf if row.end_s is None else row.end_s for row in rows]),
    )
    return DrawnTrials(tuple(_name(row, beside) for row in rows), pairs)


def draw_from_store(folder: Path, settings: SampleSettings) -> DrawnTrials:
    """Draw trials from the embeddings of a store; the recordings go by their utterance ids.

    Raises
    ------
    StoreError
        When there is no store.
    CalibrationError
        When it gives no pair of one speaker, or none of two.
    """

    def read(snapshot: Snapshot) -> DrawnTrials:
        if snapshot.generation.has_window_rows:
            raise UsageError(
                "the store holds a row for each window, and trials name whole recordings",
                where=str(folder),
                hint="draw from the manifest: --manifest",
            )
        names = tuple(snapshot.table(["utt_id"]).column("utt_id").to_pylist())
        return DrawnTrials(names, draw_pairs(read_utterances(snapshot), settings, str(folder)))

    return read_consistently(folder, read)


def draw_pairs(utterances: Utterances, settings: SampleSettings, where: str) -> PairSample:
    """Draw pairs of utterances of a store.

    Raises
    ------
    CalibrationError
        When there is no pair of one speaker, or none of two.
    """
    return _draw(
        settings,
        where,
        speakers=utterances.speakers,
        sessions=utterances.sessions,
        recordings=utterances.recordings,
        start=utterances.start_s,
        end=utterances.end_s,
    )


def _draw(
    settings: SampleSettings,
    where: str,
    *,
    speakers: Positions,
    sessions: Positions,
    recordings: Positions,
    start: np.ndarray[tuple[int], np.dtype[np.float64]],
    end: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> PairSample:
    there_are = speakers.size * (speakers.size - 1) // 2
    if settings.all_pairs and there_are > MOST_PAIRS:
        raise UsageError(
            f"{speakers.size:,} recordings give {there_are:,} pairs, and at most {MOST_PAIRS:,} can be listed, as it "
            "takes to write them, to break them down, or to leave out those of one session",
            hint="leave out --all-pairs and take a sample",
        )
    try:
        return sample_pairs(
            speakers,
            seed=settings.seed,
            ratio=max(there_are, 1) if settings.all_pairs else settings.ratio,
            per_speaker_cap=None if settings.all_pairs else settings.per_speaker,
            max_targets=None if settings.all_pairs else 50_000,
            sessions=sessions,
            recordings=recordings,
            start=start,
            end=end,
            cross_session=settings.cross_session,
        )
    except CalibrationError as error:
        raise CalibrationError(error.what, where=error.where or where, hint=error.hint) from error


def _name(row: ManifestRow, beside: Path) -> str:
    whole = row.start_s is None and row.end_s is None and row.channel is None
    return name_beside(row.path, beside) if whole else row.utt_id


def _codes(values: Iterable[Hashable]) -> Positions:
    """Numbers that are equal where the values are."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values], np.int64)
