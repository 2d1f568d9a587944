"""A calibration as it is kept: thresholds, and what they rest on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vecsv.calibration.llr import LlrMapping
from vecsv.calibration.normalise import Normalisation
from vecsv.calibration.operating_points import OperatingPoint
from vecsv.errors import CalibrationError, StoreError, UsageError

FORMAT_VERSION = 1
THRESHOLDS_FILE = "thresholds.json"
TRIALS_FILE = "trials.parquet"

#: The operating point that decides when none is asked for: of a hundred different speakers, at most one is taken for
#: the same.
DEFAULT_POINT = "fmr-0.01"


@dataclass(frozen=True)
class Basis:
    """The pairs a calibration was made from.

    Attributes
    ----------
    speakers, utterances : int
        In the store when it was made.
    targets, non_targets : int
        Pairs used, in both halves of the speakers.
    targets_available, non_targets_available : int
        Pairs there were.
    same_session_targets : int
        Target pairs used whose two recordings are known to be of one session; they flatter.
    utterances_without_session : int
        Utterances whose session is unknown.
    speakers_capped : int
        Speakers with more target pairs than were taken of one speaker.
    left_out : mapping of str to int
        Pairs (or utterances, where the reason says so) left out, by reason.
    ratio_asked, ratio_reached : float
        Non-targets a target.
    seed : int
    generator : str
        Name of the random generator.
    """

    speakers: int
    utterances: int
    targets: int
    non_targets: int
    targets_available: int
    non_targets_available: int
    same_session_targets: int
    utterances_without_session: int
    speakers_capped: int
    left_out: Mapping[str, int]
    ratio_asked: float
    ratio_reached: float
    seed: int
    generator: str


@dataclass(frozen=True)
class Halves:
    """The two halves of the speakers: thresholds are placed on one, their errors reported on the other.

    Attributes
    ----------
    fit_speakers, held_out_speakers : int
        Speakers in the trials of each half.
    fit_targets, fit_non_targets, held_out_targets, held_out_non_targets : int
        Trials of each half.
    level : float
        What share of such intervals should hold the true rate.
    replicates : int
        Draws of the speaker bootstrap behind the intervals.
    """

    fit_speakers: int
    held_out_speakers: int
    fit_targets: int
    fit_non_targets: int
    held_out_targets: int
    held_out_non_targets: int
    level: float
    replicates: int


@dataclass(frozen=True)
class Calibration:
    """Thresholds for one model, and where they come from.

    Attributes
    ----------
    name : str
    model, fingerprint : str
        The model whose scores they are for.
    origin : str
        ``"store"`` for pairs of the store itself, ``"other-store"`` for thresholds taken over from another store of
        the same model, ``"reference"`` for those a model brings along.
    source : str
        The data they come from, in words.
    in_force : str
        Name of the operating point that decides when none is asked for.
    points : tuple of OperatingPoint
    basis : Basis
    made_at : str
        UTC time, ISO 8601.
    held_out : Halves or None
        How the speakers were divided; None where all pairs served both to place the thresholds and to report their
        errors, which flatters: `held_out_note` says why.
    held_out_note : str or None
    llr : LlrMapping or None
        From scores to log-likelihood ratios.
    normalisation : Normalisation or None
        Of the scores; None where no cohort was named. Where it is kept, thresholds and ratios are for normalised
        scores.
    """

    name: str
    model: str
    fingerprint: str
    origin: str
    source: str
    in_force: str
    points: tuple[OperatingPoint, ...]
    basis: Basis
    made_at: str
    held_out: Halves | None = None
    held_out_note: str | None = None
    llr: LlrMapping | None = None
    normalisation: Normalisation | None = None

    @property
    def of_cosines(self) -> bool:
        """Whether the thresholds are for cosines, not for normalised scores."""
        return self.normalisation is None or not self.normalisation.kept

    def point(self, name: str | None = None) -> OperatingPoint:
        """The operating point of a name, or the one in force.

        Raises
        ------
        UsageError
            When there is no such point; lists those there are.
        """
        wanted = self.in_force if name is None else name
        for point in self.points:
            if point.name == wanted:
                return point
        raise UsageError(
            f"no threshold is called {wanted!r}", hint="there are: " + ", ".join(point.name for point in self.points)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return {
            "format": FORMAT_VERSION,
            **{key: value for key, value in vars(self).items() if key not in _PARTS},
            "held_out": None if self.held_out is None else asdict(self.held_out),
            "points": [point.to_json() for point in self.points],
            "llr": None if self.llr is None else self.llr.to_json(),
            "normalisation": None if self.normalisation is None else self.normalisation.to_json(),
            "basis": asdict(self.basis),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], *, where: str) -> Calibration:
        """Read what `to_json` gave.

        Raises
        ------
        CalibrationError
            When it is not a calibration of this format.
        """
        try:
            if values["format"] != FORMAT_VERSION:
                raise CalibrationError(f"calibration format {values['format']} is unknown", where=where, hint=_REDO)
            known = {key: value for key, value in values.items() if key not in {"format", *_PARTS}}
            halves, llr, normalisation = (values[name] for name in ("held_out", "llr", "normalisation"))
            return cls(
                **known,
                points=tuple(OperatingPoint.from_json(point) for point in values["points"]),
                basis=Basis(**values["basis"]),
                held_out=None if halves is None else Halves(**halves),
                llr=None if llr is None else LlrMapping.from_json(llr),
                normalisation=None if normalisation is None else Normalisation.from_json(normalisation),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CalibrationError(f"not a calibration: {error}", where=where, hint=_REDO) from error


_REDO = "calibrate again: vecsv calibrate"
_PARTS = frozenset({"points", "basis", "held_out", "llr", "normalisation"})


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a calibration's document as JSON; it becomes part of the store when a generation names its folder."""
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_document(path: Path, *, hint: str) -> Any:
    """Read what `write_document` wrote; `hint` says how to make it again.

    Raises
    ------
    FileNotFoundError
        When it is not there.
    StoreError
        When it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"damaged: {error}", where=str(path), hint=hint) from error


def write_thresholds(path: Path, calibration: Calibration) -> None:
    """Write a calibration as JSON."""
    write_document(path, calibration.to_json())


def read_thresholds(path: Path) -> Calibration:
    """Read a calibration.

    Raises
    ------
    FileNotFoundError
        When it is not there.
    StoreError
        When it is not JSON.
    """
    return Calibration.from_json(read_document(path, hint=_REDO), where=str(path))
