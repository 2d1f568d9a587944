"""The trials a calibration rests on: row ids, kinds and scores; kept as Parquet, without names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import Flags, RowIds, Scores, Vectors
from vecsv.calibration.llr import LOG_SPEECH, SNR, Column
from vecsv.calibration.utterances import codes_of
from vecsv.store.reader import Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

_PAIRS_PER_STEP = 65_536


@dataclass(frozen=True, eq=False)
class Trials:
    """Scored pairs, as arrays of one length.

    Attributes
    ----------
    first_row_id, second_row_id : int64
    target : bool
        True for pairs of one speaker.
    same_session : bool
        True where both sessions are known and the same.
    held_out : bool
        True where both speakers are of the held-out half; thresholds are placed on the other trials.
    score : float32
    """

    first_row_id: RowIds
    second_row_id: RowIds
    target: Flags
    same_session: Flags
    held_out: Flags
    score: Scores

    def __len__(self) -> int:
        return int(self.score.size)

    def where(self, chosen: Flags) -> Trials:
        """The trials that are chosen."""
        return Trials(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def undivided(self) -> Trials:
        """The same trials, none of them held out."""
        return replace(self, held_out=np.zeros(len(self), np.bool_))

    def to_table(self) -> pa.Table:
        """As they are written."""
        import pyarrow as pa

        return pa.table({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_table(cls, table: pa.Table) -> Trials:
        """Read what `to_table` gave, or a list from before there were halves."""
        given = {name: table.column(name).to_numpy() for name in table.column_names}
        return cls(**({"held_out": np.zeros(table.num_rows, np.bool_)} | given))


@dataclass(frozen=True, eq=False)
class Sides:
    """What is known of the two sides of trials, as arrays of one length.

    Attributes
    ----------
    first_speaker, second_speaker : int64
        Numbers that are equal where the speakers are.
    sessions_known : bool
        Whether both sessions are.
    quality : dict of str to float64
        The further inputs of a likelihood ratio (see `vecsv.calibration.llr`): of each trial the poorer side's; NaN
        where either side's is unknown.
    """

    first_speaker: NDArray[np.int64]
    second_speaker: NDArray[np.int64]
    sessions_known: Flags
    quality: dict[str, Column]

    def where(self, chosen: Flags) -> Sides:
        """Those of the trials that are chosen."""
        quality = {name: column[chosen] for name, column in self.quality.items()}
        return Sides(self.first_speaker[chosen], self.second_speaker[chosen], self.sessions_known[chosen], quality)


def sides_of(trials: Trials, snapshot: Snapshot) -> Sides:
    """Look up the rows of trials in the store they are of."""
    table = snapshot.table(["row_id", "speaker", "session", "speech_s", "snr_db"])
    row_ids = table.column("row_id").to_numpy()
    first, second = (np.searchsorted(row_ids, ids) for ids in (trials.first_row_id, trials.second_row_id))
    speakers, sessions = codes_of(table.column("speaker")), codes_of(table.column("session"))
    speech = table.column("speech_s").to_numpy().astype(np.float64)
    snr = table.column("snr_db").to_numpy().astype(np.float64)
    poorer = {name: np.minimum(column[first], column[second]) for name, column in ((LOG_SPEECH, speech), (SNR, snr))}
    # No speech at all would be refused when it is embedded; a row that says so all the same tells nothing.
    with np.errstate(divide="ignore"):
        logarithm = np.log(poorer[LOG_SPEECH])
    return Sides(
        first_speaker=speakers[first],
        second_speaker=speakers[second],
        sessions_known=(sessions[first] >= 0) & (sessions[second] >= 0),
        quality={LOG_SPEECH: np.where(np.isfinite(logarithm), logarithm, np.nan), SNR: poorer[SNR]},
    )


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
