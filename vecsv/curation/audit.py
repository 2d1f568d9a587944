"""Auditing a store: everything that looks like a label error or a copy, in one ranked list.

Only embeddings and columns that the store holds are read; no recording is opened and nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vecsv.arrays import RowIds, Vectors
from vecsv.calibration.utterances import PLACE, codes_of, places_of
from vecsv.curation.duplicates import Places, twin_bound, twins
from vecsv.curation.labels import alike, misplaced, splits
from vecsv.curation.levels import Levels, SpeakerMeans, levels, speaker_means
from vecsv.errors import StoreError
from vecsv.store.reader import Snapshot, read_consistently

if TYPE_CHECKING:
    import pyarrow as pa

#: Pairs of speakers kept at most; a list longer than that is read by nobody.
MOST_PAIRS = 10_000
# Below this the levels that everything is held against are medians of too little.
_FEW_SPEAKERS = 10
_IDS_IN_DETAIL = 10


class Kind(StrEnum):
    """What is wrong, if anything is."""

    OTHER_SPEAKER = "other-speaker"
    SAME_PERSON = "same-person"
    TWO_PEOPLE = "two-people"
    NEAR_DUPLICATE = "near-duplicate"


@dataclass(frozen=True)
class Finding:
    """One suspicion.

    Attributes
    ----------
    rank : int
        From 1. Copies under two speakers' names come first, then the three kinds of label errors by their score, then
        copies of one speaker.
    kind : Kind
    score : float
        Of a near-duplicate the cosine. Else the evidence on the store's own scale: above 0 it is more likely than not
        (`vecsv.curation.labels`), 1 is as plain as a swapped label.
    speaker, utt_id, path : str
        Whom and what it is about; of a speaker as a whole, the most typical recording.
    other_speaker, other_utt_id, other_path : str
        What it was held against: the nearest speaker's most typical recording, the other cluster's, the twin.
    detail : str
        The scores behind it, for a person.
    """

    rank: int
    kind: Kind
    score: float
    speaker: str
    utt_id: str
    path: str
    other_speaker: str
    other_utt_id: str
    other_path: str
    detail: str


@dataclass(frozen=True)
class Audit:
    """What an audit found, and what it held the recordings against.

    Attributes
    ----------
    findings : tuple of Finding
        By rank.
    recordings, speakers : int
        In the store; enrolments are not among them.
    recordings_not_judged : int
        Recordings of speakers who have one only: nothing tells whether it is theirs.
    own_level, strangers_level : float or None
        Usual score of one speaker's recordings with each other, and of two speakers'.
    twin_bound : float
        Score from which on recordings of about equal length count as near-duplicates.
    model, fingerprint : str
    notes : tuple of str
        What could not be looked for, and why.
    """

    findings: tuple[Finding, ...]
    recordings: int
    speakers: int
    recordings_not_judged: int
    own_level: float | None
    strangers_level: float | None
    twin_bound: float
    model: str
    fingerprint: str
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for `json.dumps`."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Recordings:
    """What an audit looks at: the embeddings of a store, in an order that does not depend on how they came in.

    Attributes
    ----------
    utt_ids, paths, sha256 : list of str
        Of each recording; `sha256` is that of the file.
    duration_s : ndarray of float64, shape (n,)
    codes : ndarray of int64, shape (n,)
        Position in `names` of each recording's speaker.
    names : list of str
        The speakers.
    vectors : ndarray of float32, shape (n, dim)
        Unit rows.
    places : Places or None
        Where rows are windows of utterances; None where each is a whole one.
    """

    utt_ids: list[str]
    paths: list[str]
    sha256: list[str]
    duration_s: NDArray[np.float64]
    codes: RowIds
    names: list[str]
    vectors: Vectors
    places: Places | None = None


def audit(folder: Path) -> Audit:
    """Look for label errors and near-duplicates among the embeddings of a store.

    Parameters
    ----------
    folder : Path
        The store.

    Raises
    ------
    StoreError
        When there is no store, or nothing in it.
    """
    return read_consistently(folder, _audit)


def _audit(snapshot: Snapshot) -> Audit:
    recordings = read_recordings(snapshot)
    if not recordings.utt_ids:
        raise StoreError("no embeddings in it", where=str(snapshot.folder), hint="vecsv embed --manifest FILE")
    return audit_recordings(recordings, snapshot.generation.model, snapshot.generation.fingerprint)


def audit_recordings(recordings: Recordings, model: str, fingerprint: str) -> Audit:
    """Look for label errors and near-duplicates; a pure function of the recordings, of which there must be one."""
    known = speaker_means(recordings.vectors, recordings.codes)
    scale = levels(known)
    bound = twin_bound(scale.own)
    copies = list(_copies(recordings, bound))
    suspicions = _label_findings(recordings, known, scale)
    ordered = [
        *_by_score(one for one in copies if one.speaker != one.other_speaker),
        *_by_score(suspicions),
        *_by_score(one for one in copies if one.speaker == one.other_speaker),
    ]
    return Audit(
        findings=tuple(replace(one, rank=rank) for rank, one in enumerate(ordered, start=1)),
        recordings=len(recordings.utt_ids),
        speakers=len(recordings.names),
        recordings_not_judged=int((known.sizes == 1).sum()),
        own_level=scale.own,
        strangers_level=scale.strangers,
        twin_bound=bound,
        model=model,
        fingerprint=fingerprint,
        notes=tuple(_notes(len(recordings.names), scale)),
    )


def read_recordings(snapshot: Snapshot) -> Recordings:
    """The recordings of a store, sorted by speaker and id."""
    table = snapshot.table(["speaker", "utt_id", "segment", "path", "audio_sha256", *PLACE])
    _, vectors = snapshot.vectors()
    speakers, utt_ids = table.column("speaker").to_pylist(), table.column("utt_id").to_pylist()
    segments = table.column("segment").to_pylist()
    order = sorted(range(len(utt_ids)), key=lambda row: (speakers[row], utt_ids[row], segments[row]))
    names = sorted(set(speakers))
    number = {name: code for code, name in enumerate(names)}
    paths, digests = table.column("path").to_pylist(), table.column("audio_sha256").to_pylist()
    return Recordings(
        utt_ids=[utt_ids[row] for row in order],
        paths=[paths[row] for row in order],
        sha256=[digests[row] for row in order],
        duration_s=table.column("duration_s").to_numpy()[order],
        codes=np.array([number[speakers[row]] for row in order], np.int64),
        names=names,
        vectors=vectors[order],
        places=_places(table, snapshot, order),
    )


def _places(table: pa.Table, snapshot: Snapshot, order: list[int]) -> Places | None:
    if not snapshot.generation.has_window_rows:
        return None
    start_s, end_s = places_of(table, snapshot)
    return Places(codes_of(table.column("utt_id"))[order], start_s[order], end_s[order])


def _by_score(findings: Iterable[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda one: (-one.score, one.speaker, one.utt_id, one.other_utt_id))


def _copies(recordings: Recordings, bound: float) -> Iterable[Finding]:
    found = twins(recordings.vectors, recordings.codes, recordings.duration_s, bound, places=recordings.places)
    for first, second, score in zip(found.first, found.second, found.scores.tolist(), strict=True):
        same_bytes = recordings.sha256[first] == recordings.sha256[second]
        lengths = f"{recordings.duration_s[second]:.2f} s and {recordings.duration_s[first]:.2f} s"
        at = recordings.places
        windows = "" if at is None else f", windows from {at.start_s[second]:.2f} s and {at.start_s[first]:.2f} s"
        detail = f"score {score:.4f}, {lengths}{windows}{', the same bytes' if same_bytes else ''}"
        yield _finding(recordings, Kind.NEAR_DUPLICATE, min(score, 1.0), int(second), int(first), detail)


def _label_findings(recordings: Recordings, known: SpeakerMeans, scale: Levels) -> list[Finding]:
    vectors, codes, names = recordings.vectors, recordings.codes, recordings.names
    typical = _typical_rows(vectors, codes, known)
    findings = []
    one_person = alike(known, scale, limit=MOST_PAIRS)
    pairs = _rows_of(one_person.first, one_person.second, one_person.cross, one_person.scores)
    for first, second, cross, score in pairs:
        own = " and ".join(_own_words(known, code) for code in (first, second))
        detail = f"score {cross:.3f} against each other; {own} among their own"
        findings.append(_finding(recordings, Kind.SAME_PERSON, score, typical(first), typical(second), detail))
    # Where two names are one person, their recordings lie with either by chance: that says nothing new.
    same = set(zip(one_person.first.tolist(), one_person.second.tolist(), strict=True))
    strays = misplaced(vectors, codes, known, scale)
    for row, nearest, own_score, other, score in _rows_of(
        strays.rows, strays.nearest, strays.own, strays.other, strays.scores
    ):
        label = int(codes[row])
        if (min(label, nearest), max(label, nearest)) in same:
            continue
        detail = (
            f"score {other:.3f} with the {known.sizes[nearest]} of {names[nearest]}, "
            f"{own_score:.3f} with the other {known.sizes[label] - 1} of {names[label]}"
        )
        findings.append(_finding(recordings, Kind.OTHER_SPEAKER, score, row, typical(nearest), detail))
    evidence = dict(_rows_of(strays.rows, strays.scores))
    for split in splits(vectors, codes, known, scale):
        # Where each of the smaller group has been found to be somebody else's, the split says nothing new either.
        if all(evidence.get(row, 0.0) >= split.score / 2 for row in split.rows.tolist()):
            continue
        ids = [recordings.utt_ids[row] for row in sorted(split.rows)]
        listed = ", ".join(ids[:_IDS_IN_DETAIL]) + (", ..." if len(ids) > _IDS_IN_DETAIL else "")
        detail = (
            f"score {split.between:.3f} across, {split.within:.3f} inside two groups: "
            f"{len(split.rows)} recordings ({listed}) and {len(split.other_rows)} others"
        )
        first, second = int(split.rows[0]), int(split.other_rows[0])
        findings.append(_finding(recordings, Kind.TWO_PEOPLE, split.score, first, second, detail))
    return findings


def _rows_of(*columns: NDArray[Any]) -> Iterable[tuple[Any, ...]]:
    return zip(*(column.tolist() for column in columns), strict=True)


def _own_words(known: SpeakerMeans, code: int) -> str:
    return f"{known.cohesion[code]:.3f} ({known.sizes[code]})" if known.sizes[code] > 1 else "unknown (1)"


def _typical_rows(vectors: Vectors, codes: RowIds, known: SpeakerMeans) -> Callable[[int], int]:
    """Row of each speaker's recording that is closest to the speaker's mean."""
    own = np.einsum("ij,ij->i", vectors, known.means[codes])
    order = np.lexsort((-own, codes))
    starts = np.append(0, np.cumsum(known.sizes)[:-1])
    return lambda code: int(order[starts[code]])


def _finding(recordings: Recordings, kind: Kind, score: float, row: int, other: int, detail: str) -> Finding:
    return Finding(
        rank=0,
        kind=kind,
        score=float(score),
        speaker=recordings.names[recordings.codes[row]],
        utt_id=recordings.utt_ids[row],
        path=recordings.paths[row],
        other_speaker=recordings.names[recordings.codes[other]],
        other_utt_id=recordings.utt_ids[other],
        other_path=recordings.paths[other],
        detail=detail,
    )


def _notes(speakers: int, scale: Levels) -> Iterable[str]:
    if scale.own is None:
        yield "no speaker has two recordings: only near-duplicates could be looked for"
    elif scale.strangers is None:
        yield "there is one speaker only: only near-duplicates could be looked for"
    elif not scale.apart:
        yield (
            f"one speaker's recordings score {scale.own:.3f} with each other, strangers' {scale.strangers:.3f}: "
            "only near-duplicates could be looked for; check the labels as a whole"
        )
    elif speakers < _FEW_SPEAKERS:
        yield f"{speakers} speakers are few: what strangers score is known roughly only"
