"""What a training was, for those who will use its model: it goes into the bundle and onto the model card."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vecsv.durable import sha256_of
from vecsv.errors import TrainingError
from vecsv.models import registry
from vecsv.models.add import UNKNOWN_LICENCE
from vecsv.models.bundle import is_bundle, read_bundle
from vecsv.training.configuration import TrainingConfig
from vecsv.training.provenance import git_revision, versions, without_folders

if TYPE_CHECKING:
    from vecsv.training.data.recordings import Corpus

SOURCE_KIND: Final = "training"
"""What ``kind`` is in the source of a bundle that vecsv trained."""

MODEL_FOLDER: Final = "model"
"""Where in a run's folder its bundle is."""

SCORES: Final = ("epoch", "loss", "accuracy", "held_out_accuracy", "dev_eer", "dev_min_dcf")
"""What of an epoch's report says how good the network was."""


@dataclass(frozen=True)
class DataFacts:
    """What a network learnt from; numbers, and nobody's name.

    Attributes
    ----------
    manifest : str
        Name of the file.
    sha256 : str
        Of the file: its rows, not the recordings they name.
    recordings, speakers : int
        That crops came from.
    hours : float
        Of audio in them.
    narrow : int
        Recordings of a lower sampling rate than the network's.
    bad, short : int
        Rows that gave no recording, and rows that were refused for their length.
    held_out : int
        Recordings, or tails of recordings, that were kept to measure accuracy on.
    noises, rooms : int
        Recordings of noise, and room impulse responses, that crops were changed with.
    """

    manifest: str
    sha256: str
    recordings: int
    speakers: int
    hours: float
    narrow: int = 0
    bad: int = 0
    short: int = 0
    held_out: int = 0
    noises: int = 0
    rooms: int = 0

    @classmethod
    def of(cls, manifest: Path, corpus: Corpus, *, held_out: int = 0, noises: int = 0, rooms: int = 0) -> DataFacts:
        """Count what a corpus holds.

        Parameters
        ----------
        manifest : Path
            That it was read from; hashed here.
        corpus : Corpus
            What crops come from; `bad` and `short` in it count.
        held_out, noises, rooms : int
            As above.
        """
        return cls(
            manifest=manifest.name,
            sha256=_digest(manifest),
            recordings=len(corpus.recordings),
            speakers=len(corpus.speakers),
            hours=round(corpus.duration_s / 3600.0, 4),
            narrow=corpus.narrow,
            bad=len(corpus.bad),
            short=len(corpus.short),
            held_out=held_out,
            noises=noises,
            rooms=rooms,
        )


@dataclass(frozen=True)
class DevelopmentFacts:
    """What verification was measured on after each epoch, and the best epoch chosen by.

    Attributes
    ----------
    manifest : str
        Name of the file; of the training manifest where its speakers were divided.
    sha256 : str
        Of that file.
    recordings, speakers : int
        In the pairs.
    targets, non_targets : int
        Pairs of one speaker, and of two.
    """

    manifest: str
    sha256: str
    recordings: int
    speakers: int
    targets: int
    non_targets: int

    @classmethod
    def of(cls, manifest: Path, *, recordings: int, speakers: int, targets: int, non_targets: int) -> DevelopmentFacts:
        """Describe it; the manifest is hashed here."""
        return cls(manifest.name, _digest(manifest), recordings, speakers, targets, non_targets)

    @classmethod
    def of_speakers(cls, manifest: Path, speakers: Sequence[str]) -> DevelopmentFacts:
        """Describe it before anything was measured: all pairs count, as they do unless a recording cannot be decoded.

        Parameters
        ----------
        manifest : Path
            Hashed here.
        speakers : sequence of str
            Whose each recording is, of those that are measured on.
        """
        counts = Counter(speakers)
        pairs, targets = math.comb(len(speakers), 2), sum(math.comb(count, 2) for count in counts.values())
        return cls(manifest.name, _digest(manifest), len(speakers), len(counts), targets, pairs - targets)


@dataclass(frozen=True)
class TrainingFacts:
    """A training that is done.

    Attributes
    ----------
    name : str
        What its model will be called.
    config : TrainingConfig
        What it followed.
    data : DataFacts
        What it learnt from.
    history : tuple of mapping
        What each epoch came to, in order, as JSON values (`vecsv.training.trainer.EpochReport.to_json`).
    best_epoch : int
        The ``epoch`` of the one whose state the model is.
    development : DevelopmentFacts or None
        What verification was measured on; None where it was not.
    started_from : mapping or None
        The model whose weights it began with, as JSON values: its ``name`` (or ``model``, ``repo`` or ``folder``), and
        where known its ``licence`` and ``fingerprint``; None where they were drawn. See `started_from`.
    licence : str
        SPDX identifier of the licence that the weights are given under.
    """

    name: str
    config: TrainingConfig
    data: DataFacts
    history: tuple[Mapping[str, Any], ...]
    best_epoch: int
    development: DevelopmentFacts | None = None
    started_from: Mapping[str, Any] | None = None
    licence: str = UNKNOWN_LICENCE

    @property
    def best(self) -> Mapping[str, Any]:
        """What the best epoch came to, of `SCORES`; its number alone where the history does not have it."""
        row = next((row for row in self.history if row.get("epoch") == self.best_epoch), {})
        return {"epoch": self.best_epoch, **{name: row[name] for name in SCORES if row.get(name) is not None}}

    @property
    def description(self) -> str:
        """One line for people."""
        what = " ".join(self.config.description.split()) or self.config.family
        people = f"{self.data.speakers:,} speakers, {self.data.hours:,.1f} h"
        return f"{what}; trained on {people}" if self.data.hours >= 0.05 else f"{what}; trained on a few recordings"

    def source(self, *, parameters: int) -> dict[str, Any]:
        """Where the weights come from, as `vecsv.models.bundle.Bundle.source` has it.

        Parameters
        ----------
        parameters : int
            Numbers that the network learns.
        """
        return {
            "kind": SOURCE_KIND,
            "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "git_revision": git_revision(),
            "versions": versions(),
            "parameters": parameters,
            "started_from": None if self.started_from is None else _origin(self.started_from),
            "data": asdict(self.data),
            "development": None if self.development is None else asdict(self.development),
            "epochs": len(self.history),
            "best": dict(self.best),
            "config": without_folders(self.config.to_json()),
        }


def started_from(start: str | Path) -> dict[str, Any]:
    """Describe what a training started from, as `TrainingFacts` has it.

    Parameters
    ----------
    start : str or Path
        Name of a model in the cache, folder of a bundle or of a run; anything else is known by its name alone.

    Examples
    --------
    >>> started_from("microsoft/wavlm-base-plus")
    {'name': 'microsoft/wavlm-base-plus'}
    """
    name, folder = str(start), Path(start)
    places = [folder, folder / MODEL_FOLDER]
    if isinstance(start, str) and registry.installed(name):
        places.insert(0, registry.cached_folder(name))
    for place in places:
        if is_bundle(place):
            found = read_bundle(place)
            return {"name": found.name, "licence": found.licence, "fingerprint": found.fingerprint}
    return {"name": name}


def _origin(values: Mapping[str, Any]) -> dict[str, Any]:
    """What it started from, without all that a training before it followed: that model's own bundle says so."""
    source = values.get("source")
    trained = isinstance(source, Mapping) and source.get("kind") == SOURCE_KIND
    found: dict[str, Any] = without_folders({key: one for key, one in values.items() if key != "source" or not trained})
    return found


def _digest(manifest: Path) -> str:
    try:
        return sha256_of(manifest)
    except OSError as error:
        raise TrainingError(f"cannot be read: {error.strerror}", where=str(manifest)) from error
