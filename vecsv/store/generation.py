"""The store's table of contents: one small JSON file per committed generation.

``manifests/00000012.json`` names every file that belongs to generation 12. Readers take the highest number there is
and see nothing else; writers make all files of the next generation first and then create its manifest, exclusively.
That creation *is* the commit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vecsv.audio.windows import Kept, WindowRule
from vecsv.durable import create_exclusively
from vecsv.errors import FingerprintMismatchError, StoreBusyError, StoreError, UsageError

FORMAT_VERSION = 1
MANIFESTS = "manifests"
_NAME = re.compile(r"^(\d{8,})\.json$")


@dataclass(frozen=True)
class Part:
    """One immutable file of the store.

    Attributes
    ----------
    file : str
        Path below the store's folder, with forward slashes.
    rows : int
        Rows in it.
    sha256 : str
        Of its bytes.
    """

    file: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class IndexInForce:
    """The index that searches use.

    Attributes
    ----------
    folder : str
        Path below the store's folder.
    rows : int
        Vectors in it.
    next_row_id : int
        The store's row counter when it was built: rows from here on are not in it.
    """

    folder: str
    rows: int
    next_row_id: int


@dataclass(frozen=True)
class Generation:
    """What one committed state of a store consists of.

    Attributes
    ----------
    number : int
        Counts commits, from 1.
    model, fingerprint, dim
        The model all embeddings come from.
    next_row_id, next_part : int
        Counters; a number once given is never given again.
    shards, failures : tuple of Part
        Embedding shards and failure ledgers, in the order they were written.
    index : IndexInForce or None
    calibrations : mapping of str to str
        Calibration name to its folder below the store's folder.
    windows : WindowRule or None
        How utterances are cut into windows; None where each is embedded in one piece.
    """

    number: int
    model: str
    fingerprint: str
    dim: int
    next_row_id: int = 0
    next_part: int = 0
    shards: tuple[Part, ...] = ()
    failures: tuple[Part, ...] = ()
    index: IndexInForce | None = None
    calibrations: Mapping[str, str] = field(default_factory=dict)
    windows: WindowRule | None = None

    @property
    def rows(self) -> int:
        """Embeddings in the store."""
        return sum(shard.rows for shard in self.shards)

    @property
    def failed_rows(self) -> int:
        """Rows in the failure ledger."""
        return sum(part.rows for part in self.failures)

    @property
    def has_window_rows(self) -> bool:
        """Whether a row is a window of an utterance, and not the utterance."""
        return self.windows is not None and self.windows.kept is Kept.ROWS

    def successor(self, **changes: Any) -> Generation:
        """The next generation: this one with `changes`."""
        return replace(self, number=self.number + 1, **changes)

    def require_fingerprint(self, fingerprint: str, *, where: str) -> None:
        """Refuse to let embeddings of two models meet.

        Raises
        ------
        FingerprintMismatchError
            When `fingerprint` is not this store's; names both.
        """
        if fingerprint != self.fingerprint:
            raise FingerprintMismatchError(
                f"the store's embeddings are of model {self.model} (fingerprint {self.fingerprint[:12]}), "
                f"these are of fingerprint {fingerprint[:12]}; the two cannot be compared",
                where=where,
                hint="embed the recordings again into a new store: vecsv embed --manifest ... --store NEW",
            )

    def require_windows(self, windows: WindowRule | None, *, where: str) -> None:
        """Refuse to let utterances that were cut by two rules meet.

        Raises
        ------
        StoreError
            When `windows` is not this store's rule; names both.
        """
        if windows != self.windows:
            raise StoreError(
                f"the store holds {self.windows or 'whole utterances'}, these would be {windows or 'whole utterances'}",
                where=where,
                hint="leave out --window to go on as the store was begun, or embed into a new store",
            )

    def files(self) -> set[str]:
        """Every file and folder, below the store's folder, that belongs to this generation."""
        named = {part.file for part in (*self.shards, *self.failures)}
        if self.index is not None:
            named.add(self.index.folder)
        return named | set(self.calibrations.values())

    def to_json(self) -> str:
        """Canonical JSON text."""
        document = {
            "format": FORMAT_VERSION,
            "generation": self.number,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "dim": self.dim,
            "next_row_id": self.next_row_id,
            "next_part": self.next_part,
            "shards": [vars(part) for part in self.shards],
            "failures": [vars(part) for part in self.failures],
            "index": None if self.index is None else vars(self.index),
            "calibrations": dict(sorted(self.calibrations.items())),
            **({} if self.windows is None else {"windows": self.windows.to_json()}),
        }
        return json.dumps(document, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str) -> Generation:
        """Read what `to_json` wrote.

        Raises
        ------
        StoreError
            When it is not a manifest, or of a format this version does not know.
        """
        try:
            document = json.loads(text)
            if document["format"] != FORMAT_VERSION:
                raise StoreError(
                    f"store format {document['format']}, this vecsv reads format {FORMAT_VERSION}",
                    where=where,
                    hint="use the vecsv version that wrote it",
                )
            index, windows = document["index"], document.get("windows")
            return cls(
                number=document["generation"],
                model=document["model"],
                fingerprint=document["fingerprint"],
                dim=document["dim"],
                next_row_id=document["next_row_id"],
                next_part=document["next_part"],
                shards=tuple(Part(**part) for part in document["shards"]),
                failures=tuple(Part(**part) for part in document["failures"]),
                index=None if index is None else IndexInForce(**index),
                calibrations=document["calibrations"],
                windows=None if windows is None else WindowRule.from_json(windows),
            )
        except (ValueError, KeyError, TypeError, UsageError) as error:
            raise StoreError(f"not a store manifest: {error}", where=where) from error


def manifest_path(folder: Path, number: int) -> Path:
    """Where the manifest of a generation lies."""
    return folder / MANIFESTS / f"{number:08d}.json"


def committed_numbers(folder: Path) -> list[int]:
    """Numbers of the generations whose manifests are there, ascending."""
    try:
        names = [entry.name for entry in (folder / MANIFESTS).iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(match[1]) for match in map(_NAME.match, names) if match)


def latest(folder: Path) -> Generation | None:
    """The last committed generation, or None where there is no store yet."""
    while numbers := committed_numbers(folder):
        path = manifest_path(folder, numbers[-1])
        try:
            return Generation.from_json(path.read_text(encoding="utf-8"), where=str(path))
        except FileNotFoundError:
            # A writer committed the next generation and removed this one between the listing and the reading.
            continue
    return None


def require_latest(folder: Path) -> Generation:
    """The last committed generation.

    Raises
    ------
    StoreError
        When there is no store in `folder`.
    """
    generation = latest(folder)
    if generation is None:
        raise StoreError(
            "no store here",
            where=str(folder),
            hint="make one: vecsv embed --manifest train.tsv --store " + str(folder),
        )
    return generation


def commit(folder: Path, generation: Generation) -> None:
    """Make `generation` the one that readers see.

    Raises
    ------
    StoreBusyError
        When another writer committed this number first; the store is then as that writer left it.
    """
    path = manifest_path(folder, generation.number)
    if not create_exclusively(path, generation.to_json().encode("utf-8")):
        raise StoreBusyError("another process committed to the store meanwhile", where=str(folder), hint="run it again")


def open_or_create(
    folder: Path, *, model: str, fingerprint: str, dim: int, windows: WindowRule | None = None
) -> Generation:
    """The last generation of a store, made empty where there is none; `windows` is for a new one.

    Raises
    ------
    FingerprintMismatchError
        When the store there is another model's.
    StoreError
        When the folder cannot be made.
    """
    generation = latest(folder)
    if generation is None:
        try:
            # Should somebody else make it in this very moment, theirs it is.
            with suppress(StoreBusyError):
                commit(folder, Generation(1, model=model, fingerprint=fingerprint, dim=dim, windows=windows))
        except OSError as error:
            raise StoreError(f"the store cannot be made: {error.strerror}", where=str(folder)) from error
        generation = require_latest(folder)
    generation.require_fingerprint(fingerprint, where=str(folder))
    return generation
