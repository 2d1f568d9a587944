"""What a service answers and refuses, as a client reads it: frozen values with the names that the JSON has.

They say what the service's own description says (GET /openapi.json). What a newer service says besides is passed over;
the whole of it is in `Answer.document`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar

from vecsv.errors import UnknownSpeakerError, VecsvError

Kind = TypeVar("Kind")
Decision = Literal["same", "different"]
_ABSENT: Any = object()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What every answer has.

    Attributes
    ----------
    request_id : str
        The service's logs know the request by it.
    document : mapping
        All that was answered, as JSON has it.
    """

    request_id: str
    document: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class SentClip:
    """A recording that was sent: its length and speech in seconds, noise in dB, and what makes scores less sure."""

    name: str
    duration_s: float
    speech_s: float
    snr_db: float | None
    clipped: float
    peak: float
    verdicts: tuple[str, ...]


@dataclass(frozen=True)
class KnownSpeaker:
    """The enrolled side of a comparison."""

    speaker: str
    utterances: int


@dataclass(frozen=True)
class Replay:
    """Whether recordings were checked for being played back or synthetic; higher scores are more genuine."""

    checked: bool
    spoof_score: float | None
    note: str | None


@dataclass(frozen=True)
class StoreAnswer:
    """What one store says to "is this the same person?"; None where nothing is calibrated."""

    score: float
    cosine: float
    normalised: bool
    llr: float | None
    decision: Decision | None
    threshold: float | None
    threshold_name: str | None
    threshold_origin: str | None
    threshold_source: str | None
    threshold_fmr: float | None
    threshold_fnmr: float | None
    model: str
    fingerprint: str
    engine: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class VerifyAnswer(Answer):
    """Whether two recordings, or a recording and a known speaker, are the same person."""

    decision: Decision | None
    agree: bool
    answers: Mapping[str, StoreAnswer]
    first: SentClip
    second: SentClip | KnownSpeaker
    replay: Replay

    @property
    def same(self) -> bool | None:
        """The decision as a truth value; None where the stores disagree or nothing is calibrated."""
        return None if self.decision is None else self.decision == "same"

    @property
    def score(self) -> float:
        """The score in the first store."""
        return next(iter(self.answers.values())).score


@dataclass(frozen=True)
class FoundSpeaker:
    """One answer to "who is this?"."""

    rank: int
    speaker: str
    score: float
    passes: bool | None
    utterance: str
    enrolled: bool
    segment: int
    offset_s: float
    duration_s: float | None


@dataclass(frozen=True)
class StoreHits:
    """What one store says to "who is this?"."""

    model: str
    fingerprint: str
    threshold: float | None
    threshold_fpir: float | None
    gallery_size: int | None
    searched: int
    hits: tuple[FoundSpeaker, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SearchAnswer(Answer):
    """Who is closest to a recording."""

    speaker: str | None
    agree: bool
    answers: Mapping[str, StoreHits]
    clip: SentClip
    replay: Replay

    @property
    def hits(self) -> tuple[FoundSpeaker, ...]:
        """The first store's."""
        return next(iter(self.answers.values())).hits


@dataclass(frozen=True)
class StoreCount:
    """What an enrolment came to in one store."""

    added: int
    total: int


@dataclass(frozen=True, kw_only=True)
class EnrolAnswer(Answer):
    """An enrolment that is committed: it survives the service, and the next search finds it."""

    speaker: str
    added: int
    already: int
    total: int
    speech_s: float
    wanted_speech_s: float
    percent: int
    complete: bool
    clips: tuple[SentClip, ...]
    stores: Mapping[str, StoreCount]
    replay: Replay
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class PersonInStore:
    """What one store knows of a speaker."""

    utterances: int
    enrolled: int
    speech_s: float


@dataclass(frozen=True)
class Person:
    """A speaker; the numbers are those of the store that has most, `percent` is that of the store that has least."""

    speaker: str
    utterances: int
    enrolled: int
    speech_s: float
    percent: int
    stores: Mapping[str, PersonInStore]


@dataclass(frozen=True, kw_only=True)
class SpeakersAnswer(Answer):
    """A page of the list of speakers, by name."""

    speakers: tuple[Person, ...]
    total: int
    offset: int
    limit: int
    wanted_speech_s: float


@dataclass(frozen=True)
class Receipt:
    """What an erasure removed from one store."""

    receipt: str
    erased_at: str
    embeddings: int
    enrolments: int
    failures: int
    trials: int
    files_rewritten: int
    calibrations_dropped: tuple[str, ...]
    generation: int


@dataclass(frozen=True, kw_only=True)
class EraseAnswer(Answer):
    """Everything about a speaker is gone."""

    speaker: str
    receipts: Mapping[str, Receipt]


@dataclass(frozen=True)
class ThresholdInfo:
    """An operating point of a calibration; the threshold is None where it rejects every pair."""

    name: str
    threshold: float | None
    criterion: str
    fmr: float
    fnmr: float
    supported: bool
    note: str | None


@dataclass(frozen=True)
class SearchThresholdInfo:
    """The threshold of searches."""

    threshold: float
    fpir: float
    gallery_size: int
    supported: bool
    note: str | None


@dataclass(frozen=True)
class ScoreHistogram:
    """How the calibration's trials scored; one edge more than there are counts."""

    edges: tuple[float, ...]
    targets: tuple[int, ...]
    non_targets: tuple[int, ...]


@dataclass(frozen=True)
class CalibrationInfo:
    """One store's thresholds, and what they rest on."""

    model: str
    fingerprint: str
    origin: str | None
    source: str | None
    made_at: str | None
    in_force: str | None
    normalised: bool
    thresholds: tuple[ThresholdInfo, ...]
    search: SearchThresholdInfo | None
    histogram: ScoreHistogram | None
    generation: int


@dataclass(frozen=True)
class ClipVerdict:
    """Of a recording in a refused enrolment: whether it would do, and if not, why, in words for machines and people."""

    name: str
    accepted: bool
    reasons: tuple[str, ...]
    details: tuple[str, ...] = ()
    duration_s: float | None = None
    speech_s: float | None = None
    snr_db: float | None = None
    clipped: float | None = None
    peak: float | None = None


class ServiceError(VecsvError):
    """A service gave no answer, or refused.

    Parameters
    ----------
    what : str
    hint : str, optional
    status : int, optional
        HTTP status; None where there was no response.
    kind : str
        A stable word for machines, such as ``"no-speech"``; empty where the response had none.
    request_id : str
        The service's logs know the request by it; empty where there is none.
    problem : mapping, optional
        The whole refusal, as JSON has it.
    where : str, optional
        The recording or the service that it is about.
    """

    def __init__(
        self,
        what: str,
        *,
        hint: str | None = None,
        status: int | None = None,
        kind: str = "",
        request_id: str = "",
        problem: Mapping[str, Any] | None = None,
        where: str | None = None,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.status = status
        self.kind = kind
        self.request_id = request_id
        self.problem: Mapping[str, Any] = problem or {}


class UnreachableServiceError(ServiceError):
    """Nobody answered, or the answer broke off. What was asked for may have been done."""


class KeyRefusedError(ServiceError):
    """The key is missing, wrong, or not good for what was asked (401, 403)."""


class BusyServiceError(ServiceError):
    """The service had no room, also after waiting as it asked (429, 503).

    Attributes
    ----------
    retry_after_s : float
        When to ask again, in seconds from then.
    """

    retry_after_s: float = 0.0


class ServiceUnknownSpeakerError(ServiceError, UnknownSpeakerError):
    """No store of the service knows anybody of that name (404)."""


class ClipsRefusedError(ServiceError):
    """Nothing was enrolled, since some recordings will not do (422).

    Attributes
    ----------
    clips : tuple of ClipVerdict
        All that were sent, the good ones too.
    """

    clips: tuple[ClipVerdict, ...] = ()


def read(kind: type[Kind], found: Mapping[str, Any]) -> Kind:
    """Make a value of one of the classes here from what JSON has.

    Parameters
    ----------
    kind : type
        One of the dataclasses of this module.
    found : mapping
        A JSON object; members that the class does not know are passed over.

    Raises
    ------
    ServiceError
        When something is missing or of another kind than it should be.

    Examples
    --------
    >>> read(KnownSpeaker, {"speaker": "ann", "utterances": 3, "since": 2026})
    KnownSpeaker(speaker='ann', utterances=3)
    """
    result: Kind = _read(kind, found, kind.__name__)
    return result


def _read(kind: Any, found: Any, place: str) -> Any:
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in {types.UnionType, typing.Union}:
        return _read_either(parts, found, place)
    if origin is tuple:
        return tuple(_read(parts[0], one, place) for one in _checked(list, found, place))
    if origin is Mapping:
        return {name: _read(parts[1], one, f"{place}.{name}") for name, one in _checked(dict, found, place).items()}
    if origin is Literal:
        if found not in parts:
            raise _unreadable(place)
        return found
    if is_dataclass(kind):
        return _read_object(kind, _checked(dict, found, place), place)
    if kind is float and type(found) is int:
        return float(found)
    return found if kind is Any else _checked(kind, found, place)


def _read_either(kinds: tuple[Any, ...], found: Any, place: str) -> Any:
    if found is None and types.NoneType in kinds:
        return None
    for kind in kinds:
        try:
            return _read(kind, found, place)
        except ServiceError:
            continue
    raise _unreadable(place)


def _read_object(kind: Any, found: dict[str, Any], place: str) -> Any:
    values = {}
    for name, (expected, optional) in _members(kind).items():
        value = found.get(name, _ABSENT)
        if name == "document":
            values[name] = found
        elif value is not _ABSENT:
            values[name] = _read(expected, value, f"{place}.{name}")
        elif not optional:
            raise _unreadable(f"{place}.{name}")
    return kind(**values)


@cache
def _members(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Type of each field of a class, and whether it may be missing."""
    hints = typing.get_type_hints(kind)
    return {one.name: (hints[one.name], one.default is not MISSING) for one in fields(kind)}


def _checked(kind: type, found: Any, place: str) -> Any:
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        raise _unreadable(place)
    return found


def _unreadable(place: str) -> ServiceError:
    return ServiceError(
        f"the answer is not what a vecsv service gives ({place})", hint="check the address, and that versions agree"
    )
