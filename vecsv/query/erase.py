"""Erasing a person: from shards, ledger, index, enrolments, trial lists and thresholds, in one commit, with a receipt.

The new files are written beside the old ones, one new generation names them, and then everything that generation does
not name is removed. Killed anywhere, the store is the one before or the one after; running the command again
completes it.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from vecsv.calibration.run import without_rows
from vecsv.calibration.search_run import with_search_placed_anew
from vecsv.durable import sync_folder, write_text
from vecsv.errors import UnknownSpeakerError
from vecsv.index.build import with_new_index
from vecsv.store import enrolments
from vecsv.store.generation import Generation, commit, require_latest
from vecsv.store.removal import Removal, without_speaker
from vecsv.store.writing import RECEIPTS, sweep, writer

UNDER_WAY = "ERASING"


@dataclass(frozen=True)
class Receipt:
    """What an erasure removed. The copy kept in the store says nothing about who it was.

    Attributes
    ----------
    receipt : str
        Its number: names the copy in the store.
    erased_at : str
        UTC time, ISO 8601.
    embeddings, enrolments, failures, trials : int
        Rows removed from shards, enrolments, failure ledger and trial lists.
    files_rewritten : int
    calibrations_dropped : tuple of str
        Calibrations that had no pairs left.
    generation : int
        The first generation without the person.
    """

    receipt: str
    erased_at: str
    embeddings: int
    enrolments: int
    failures: int
    trials: int
    files_rewritten: int
    calibrations_dropped: tuple[str, ...]
    generation: int


def erase(folder: Path, speaker: str) -> Receipt:
    """Erase everything a store holds about one speaker.

    Raises
    ------
    UnknownSpeakerError
        When there is no such speaker, and no unfinished erasure to complete.
    StoreBusyError
        When another process writes to the store, or the enrolments are in use.
    """
    with writer(folder):
        before = require_latest(folder)
        removal = without_speaker(folder, before, speaker)
        found = len(removal.row_ids) + removal.failures_removed
        # Counted in any case: sealed enrolments without their key are an error before anything is erased.
        enrolled = enrolments.count(folder, speaker)
        if not found and not enrolled and not _was_begun(folder, speaker):
            hint = "vecsv speakers lists them"
            raise UnknownSpeakerError(f"no speaker is called {speaker!r}", where=str(folder), hint=hint)
        _begin(folder, speaker)
        enrolled = enrolments.remove(folder, speaker)
        generation, trials = _without(folder, before, removal) if found else (before, 0)
        if found:
            commit(folder, generation)
        sweep(folder)
        receipt = Receipt(
            receipt=uuid4().hex,
            erased_at=datetime.now(UTC).isoformat(timespec="seconds"),
            embeddings=len(removal.row_ids),
            enrolments=enrolled,
            failures=removal.failures_removed,
            trials=trials,
            files_rewritten=removal.files_rewritten,
            calibrations_dropped=tuple(sorted(before.calibrations.keys() - generation.calibrations.keys())),
            generation=generation.number,
        )
        text = json.dumps(asdict(receipt), indent=1) + "\n"
        write_text(folder / RECEIPTS / f"{receipt.receipt}.json", text)
        _end(folder)
    return receipt


def _without(folder: Path, before: Generation, removal: Removal) -> tuple[Generation, int]:
    """Write index and calibrations for what is left; returns the generation to commit, and how many trials went."""
    generation = before.successor(shards=removal.shards, failures=removal.failures)
    generation, trials = without_rows(folder, generation, removal.row_ids)
    if len(removal.row_ids):
        generation = with_search_placed_anew(folder, generation)
    if len(removal.row_ids) and generation.index is not None:
        generation = with_new_index(folder, generation) if generation.rows else replace(generation, index=None)
    return generation, trials


def _begin(folder: Path, speaker: str) -> None:
    """Note that an erasure is under way, by a digest that does not name the speaker."""
    write_text(folder / UNDER_WAY, _mark(speaker))


def _was_begun(folder: Path, speaker: str) -> bool:
    """Whether an erasure of this speaker was cut off: what is left of it is then to be completed."""
    path = folder / UNDER_WAY
    return path.is_file() and path.read_text(encoding="utf-8") == _mark(speaker)


def _end(folder: Path) -> None:
    (folder / UNDER_WAY).unlink(missing_ok=True)
    # Should the mark come back after a power cut, erasing once more finds nothing and takes it away.
    with suppress(OSError):
        sync_folder(folder)


def _mark(speaker: str) -> str:
    return hashlib.sha256(speaker.encode("utf-8", "surrogatepass")).hexdigest() + "\n"
