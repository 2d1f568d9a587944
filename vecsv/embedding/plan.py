"""What an embedding run will do, decided before anything is decoded.

The plan is a pure function of the manifest's rows and of what the store holds: the same inputs always give the same
units in the same order. A run that was killed plans again and finds just what is missing; a runner on other machines
may take the same units.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from vecsv.embedding.known import Known, Standing, digest, read_known, utterance_digest
from vecsv.manifest import BadRow, ManifestRow
from vecsv.store.schema import FailedRow

# Rows passed over are reported at least this often, so that a progress bar moves through a finished stretch.
_PASSED_PER_UNIT = 4096


@dataclass(frozen=True)
class Survey:
    """What one pass over a manifest found.

    Attributes
    ----------
    rows : int
        Rows in it, unreadable ones too.
    repeated : frozenset of int
        Digests of utterance ids that occur more than once.
    """

    rows: int
    repeated: frozenset[int]


def survey(rows: Iterable[ManifestRow | BadRow]) -> Survey:
    """Count a manifest's rows and find repeated utterance ids, in 8 bytes a row."""
    count = 0

    def digests() -> Iterator[int]:
        nonlocal count
        for row in rows:
            count += 1
            if isinstance(row, ManifestRow):
                yield utterance_digest(row.utt_id)

    found = np.fromiter(digests(), dtype=np.uint64)
    found.sort()
    return Survey(rows=count, repeated=frozenset(found[1:][found[1:] == found[:-1]].tolist()))


@dataclass(frozen=True, slots=True)
class ToEmbed:
    """A row to embed.

    `moved_audio` is set where the store has this utterance from another path: the digest its audio had there.
    """

    row: ManifestRow
    moved_audio: int | None = None


class PassedOver(Enum):
    """Why a row needs no work: the store has its embedding, or an earlier run failed on it."""

    EMBEDDED_BEFORE = "embedded before"
    FAILED_BEFORE = "failed before"


@dataclass(frozen=True, slots=True)
class WorkUnit:
    """Consecutive rows that one worker takes at a time.

    Attributes
    ----------
    number : int
        Counts units, from 0.
    items : tuple of ToEmbed or FailedRow
        In manifest order; rows refused by the plan itself travel along.
    embedded_before, failed_before : int
        Rows passed over since the unit before.
    """

    number: int
    items: tuple[ToEmbed | FailedRow, ...]
    embedded_before: int = 0
    failed_before: int = 0


@dataclass(frozen=True)
class Plan:
    """An embedding run over one manifest.

    Attributes
    ----------
    manifest : str
        Absolute path of the manifest, as it will stand in the failure ledger.
    survey : Survey
    known : Known
        What the store holds.
    rows_per_unit : int
    """

    manifest: str
    survey: Survey
    known: Known
    rows_per_unit: int = 8

    def without_rows(self) -> Plan:
        """The plan without what it needs to decide about rows: small enough to send to whoever works on its units."""
        return replace(self, survey=Survey(self.survey.rows, frozenset()), known=read_known(None))

    def units(self, rows: Iterable[ManifestRow | BadRow]) -> Iterator[WorkUnit]:
        """Cut the rows that are still to do into work units, in manifest order; streams."""
        number = 0
        items: list[ToEmbed | FailedRow] = []
        passed: Counter[PassedOver] = Counter()
        first_lines: dict[str, int] = {}

        def unit() -> WorkUnit:
            before = passed[PassedOver.EMBEDDED_BEFORE], passed[PassedOver.FAILED_BEFORE]
            return WorkUnit(number, tuple(items), *before)

        for row in rows:
            item = self._decide(row, first_lines)
            if isinstance(item, PassedOver):
                passed[item] += 1
            else:
                items.append(item)
            if len(items) == self.rows_per_unit or passed.total() >= _PASSED_PER_UNIT:
                yield unit()
                number, items, passed = number + 1, [], Counter()
        if items or passed:
            yield unit()

    def _decide(self, row: ManifestRow | BadRow, first_lines: dict[str, int]) -> ToEmbed | FailedRow | PassedOver:
        item = self._judge(row, first_lines)
        key = item.key if isinstance(item, FailedRow) else failure_key(item.row) if isinstance(item, ToEmbed) else None
        return PassedOver.FAILED_BEFORE if key in self.known.failed else item

    def _judge(self, row: ManifestRow | BadRow, first_lines: dict[str, int]) -> ToEmbed | FailedRow | PassedOver:
        if isinstance(row, BadRow):
            return FailedRow(
                key=digest("bad", self.manifest, row.line, row.text),
                manifest=self.manifest,
                line=row.line,
                utt_id=None,
                speaker=None,
                path=None,
                code="bad-row",
                reason=row.reason,
            )
        if utterance_digest(row.utt_id) in self.survey.repeated:
            first = first_lines.setdefault(row.utt_id, row.line)
            if first != row.line:
                key = digest("duplicate", self.manifest, row.line, row.utt_id)
                return self.failure(
                    row, "duplicate", f"utterance id already on line {first}; give each a utt_id of its own", key=key
                )
        standing, audio = self.known.standing(row)
        if standing is Standing.EMBEDDED:
            return PassedOver.EMBEDDED_BEFORE
        if standing is Standing.CLAIMED:
            return self.failure(
                row,
                "claimed",
                "utterance id already in the store with another speaker or cut; erase it or give a utt_id",
            )
        return ToEmbed(row, moved_audio=audio if standing is Standing.MOVED else None)

    def failure(self, row: ManifestRow, code: str, reason: str, *, key: bytes | None = None) -> FailedRow:
        """The ledger row for a manifest row that gives no embedding."""
        return FailedRow(
            key=failure_key(row) if key is None else key,
            manifest=self.manifest,
            line=row.line,
            utt_id=row.utt_id,
            speaker=row.speaker,
            path=str(row.path),
            code=code,
            reason=reason,
        )


def failure_key(row: ManifestRow) -> bytes:
    """What a failed row is known by in later runs: everything about it but its line."""
    return digest("row", row.utt_id, row.speaker, str(row.path), row.channel, row.start_s, row.end_s)
