"""Shards and ledgers without one speaker: the store's part of an erasure.

Files are immutable, so a shard that holds the speaker is written again without those rows, under the same part
number. Nothing is removed here: the old files go when the generation that names the new ones is committed and swept.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vecsv.arrays import RowIds
from vecsv.store.generation import Generation, Part
from vecsv.store.parts import read_part, write_embedding_table, write_failure_table

if TYPE_CHECKING:
    import pyarrow as pa

_NUMBER = re.compile(r"part-(\d+)-")
_CITED = re.compile(r'"([^"]*)"')


@dataclass(frozen=True)
class Removal:
    """What is left of a store's Parquet files without a speaker, and what was taken out.

    Attributes
    ----------
    shards, failures : tuple of Part
        The files that hold everybody else; unchanged ones are the same files as before.
    row_ids : int64 ``(n,)``
        Row ids of the removed embeddings.
    failures_removed : int
    files_rewritten : int
    """

    shards: tuple[Part, ...]
    failures: tuple[Part, ...]
    row_ids: RowIds
    failures_removed: int
    files_rewritten: int


def without_speaker(folder: Path, generation: Generation, speaker: str) -> Removal:
    """Write the shards and ledgers that hold `speaker` again without that speaker."""
    import pyarrow.compute as pc

    row_ids: list[RowIds] = []
    words = {speaker}
    shards: list[Part] = []
    rewritten = 0
    for part in generation.shards:
        names = read_part(folder, part, ["row_id", "utt_id", "path", "speaker"])
        theirs = pc.equal(names.column("speaker"), speaker)
        if not pc.any(theirs).as_py():
            shards.append(part)
            continue
        removed = names.filter(theirs)
        row_ids.append(removed.column("row_id").to_numpy())
        words.update(removed.column("utt_id").to_pylist(), removed.column("path").to_pylist())
        rewritten += 1
        kept = read_part(folder, part).filter(pc.invert(theirs))
        if kept.num_rows:
            shards.append(write_embedding_table(folder, kept.combine_chunks(), part=_number(part)))

    failures: list[Part] = []
    failures_removed = 0
    ledgers = [(part, read_part(folder, part)) for part in generation.failures]
    for _, table in ledgers:
        theirs = table.filter(pc.equal(table.column("speaker"), speaker))
        words.update(filter(None, theirs.column("utt_id").to_pylist()))
        words.update(filter(None, theirs.column("path").to_pylist()))
    for part, table in ledgers:
        mask = _mentions(table, words)
        if not mask.any():
            failures.append(part)
            continue
        failures_removed += int(mask.sum())
        rewritten += 1
        kept = table.filter(~mask)
        if kept.num_rows:
            failures.append(write_failure_table(folder, kept.combine_chunks(), part=_number(part)))

    return Removal(
        shards=tuple(shards),
        failures=tuple(failures),
        row_ids=np.concatenate(row_ids) if row_ids else np.empty(0, np.int64),
        failures_removed=failures_removed,
        files_rewritten=rewritten,
    )


def without_failures_of(
    folder: Path, generation: Generation, manifest: str, keys: Collection[bytes] = ()
) -> tuple[Part, ...]:
    """Write the failure ledgers again without the rows of one manifest (given by its absolute path).

    Rows with one of `keys` go too: those that another manifest lists as well, and that failed when it was embedded.
    """
    import pyarrow.compute as pc

    parts: list[Part] = []
    for part in generation.failures:
        table = read_part(folder, part)
        theirs = pc.equal(table.column("manifest"), manifest).to_numpy()
        theirs |= np.array([key in keys for key in table.column("key").to_pylist()], np.bool_)
        kept = table.filter(~theirs)
        if kept.num_rows == table.num_rows:
            parts.append(part)
        elif kept.num_rows:
            parts.append(write_failure_table(folder, kept.combine_chunks(), part=_number(part)))
    return tuple(parts)


def _mentions(ledger: pa.Table, words: set[str]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Ledger rows that name the speaker, an utterance or a recording of theirs, or cite one in their reason."""
    mask = np.zeros(ledger.num_rows, np.bool_)
    for column in ("speaker", "utt_id", "path"):
        mask |= np.array([value in words for value in ledger.column(column).to_pylist()], np.bool_)
    # A name may be a word that any reason has in it; a path is not. Fields of a manifest are cited in quotes.
    paths = [word for word in words if "/" in word]
    for row, reason in enumerate(ledger.column("reason").to_pylist()):
        cited = _CITED.findall(reason)
        mask[row] |= any(path in reason for path in paths) or any(word in text for text in cited for word in words)
    return mask


def _number(part: Part) -> int:
    match = _NUMBER.search(part.file)
    if match is None:
        raise ValueError(f"not the name of a part: {part.file}")
    return int(match[1])
