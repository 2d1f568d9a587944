"""A search threshold as it is kept: what it was made for, what it rests on, and how it fares in other galleries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from vecsv.calibration.open_set import SearchRate
from vecsv.calibration.record import read_document, write_document
from vecsv.errors import CalibrationError
from vecsv.store.reader import Snapshot

FORMAT_VERSION = 1
SEARCH_FILE = "search.json"
#: Its name among a store's calibrations.
SEARCH_NAME = "search"

_REDO = "calibrate again: vecsv calibrate --search"


@dataclass(frozen=True)
class GalleryRow:
    """How searches fare in galleries of one size.

    Attributes
    ----------
    gallery_size : int
        Speakers in the gallery.
    fpir, fnir : SearchRate
        At the threshold in force; `fnir` is None where no speaker has two utterances to compare.
    own_threshold : float
        Threshold that the FPIR asked for would take at this size.
    own_fnir : float or None
        FNIR at that.
    pairs_fpir : float or None
        FPIR at the threshold for pairs; None where the store had none.
    """

    gallery_size: int
    fpir: SearchRate
    fnir: SearchRate | None
    own_threshold: float
    own_fnir: float | None
    pairs_fpir: float | None


@dataclass(frozen=True)
class SearchCalibration:
    """A threshold for searches, and where it comes from. It names nobody and holds no row ids.

    Attributes
    ----------
    model, fingerprint : str
        The model whose scores it is for.
    threshold : float
        Accept a hit iff ``score >= threshold``, both float32.
    fpir_asked : float
        What it was made for.
    gallery_size : int
        Speakers in the gallery it was made for.
    gallery_size_asked : int or None
        None: all speakers but the one searched for.
    speakers, utterances : int
        In the store when it was made.
    fpir, fnir : SearchRate
        At that size; `fnir` is None where no speaker has two utterances to compare.
    mates_of_session : int
        Mated searches whose mate is known to be of the probe's session; they flatter the FNIR.
    probes_per_speaker : int
        Utterances of one speaker that were searched for at most.
    supported : bool
        Whether there are speakers enough to show such an FPIR at all; if not, `note` says how many it takes.
    note : str or None
        What to know before trusting it.
    fmr_bound : float
        False match rate of a pair that would give the FPIR asked for, were the comparisons of a search independent.
    pairs_name, pairs_threshold
        The threshold for pairs in force when it was made, for comparison; None where there was none.
    table : tuple of GalleryRow
        By gallery size, ascending.
    seed : int
    made_at : str
        UTC time, ISO 8601.
    """

    model: str
    fingerprint: str
    threshold: float
    fpir_asked: float
    gallery_size: int
    gallery_size_asked: int | None
    speakers: int
    utterances: int
    fpir: SearchRate
    fnir: SearchRate | None
    mates_of_session: int
    probes_per_speaker: int
    supported: bool
    note: str | None
    fmr_bound: float
    pairs_name: str | None
    pairs_threshold: float | None
    table: tuple[GalleryRow, ...]
    seed: int
    made_at: str

    @property
    def row(self) -> GalleryRow:
        """The table's row for the gallery size it was made for."""
        return next(row for row in self.table if row.gallery_size == self.gallery_size)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`, the rates beside the counts; a threshold that rejects all pairs is None."""
        document = {"format": FORMAT_VERSION, **asdict(self)}
        if self.pairs_threshold is not None and math.isinf(self.pairs_threshold):
            document["pairs_threshold"] = None
        for place, rates in ((document, self), *zip(document["table"], self.table, strict=True)):
            for name in ("fpir", "fnir"):
                if place[name] is not None:
                    place[name]["rate"] = getattr(rates, name).rate
        return document

    @classmethod
    def from_json(cls, values: Mapping[str, Any], *, where: str) -> SearchCalibration:
        """Read what `to_json` gave.

        Raises
        ------
        CalibrationError
            When it is not a search calibration of this format.
        """
        try:
            if values["format"] != FORMAT_VERSION:
                problem = f"search calibration format {values['format']} is unknown"
                raise CalibrationError(problem, where=where, hint=_REDO)
            known = {field.name: values[field.name] for field in fields(cls)}
            table = tuple(GalleryRow(**row | _rates(row)) for row in values["table"])
            found = cls(**known | _rates(values) | {"table": table})
            if not math.isfinite(found.threshold) or found.gallery_size not in {row.gallery_size for row in table}:
                raise CalibrationError("not a search calibration: no threshold in it", where=where, hint=_REDO)
        except (KeyError, TypeError, AttributeError) as error:
            raise CalibrationError(f"not a search calibration: {error}", where=where, hint=_REDO) from error
        return found


def _rates(values: Mapping[str, Any]) -> dict[str, SearchRate | None]:
    return {name: _rate(values[name]) for name in ("fpir", "fnir")}


def _rate(values: Mapping[str, Any] | None) -> SearchRate | None:
    return None if values is None else SearchRate(**{field.name: values[field.name] for field in fields(SearchRate)})


def write_search(path: Path, calibration: SearchCalibration) -> None:
    """Write a search calibration as JSON."""
    write_document(path, calibration.to_json())


def read_search(path: Path) -> SearchCalibration:
    """Read a search calibration.

    Raises
    ------
    FileNotFoundError
        When it is not there.
    StoreError
        When it is not JSON.
    """
    return SearchCalibration.from_json(read_document(path, hint=_REDO), where=str(path))


def search_calibration_in_force(snapshot: Snapshot) -> SearchCalibration | None:
    """A store's search calibration, or None when it has none."""
    folder = snapshot.generation.calibrations.get(SEARCH_NAME)
    return None if folder is None else read_search(snapshot.folder / folder / SEARCH_FILE)
