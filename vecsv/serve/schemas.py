"""What the service answers, as its description shows it; all numbers are plain JSON, what is not there is null."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

Decision = Literal["same", "different"]
Reason = Annotated[
    str,
    Field(
        description="A stable word: too-short, silent, steady, no-speech, noisy, clipped, unlike-the-others, or why "
        "the file cannot be decoded, such as undecodable, too-long or too-large."
    ),
]
RequestId = Annotated[str, Field(description="Of this request; the header X-Request-ID says the same.")]
FINGERPRINT: Final = "1c1f8b7e5d6a4c3b2a19081726354453627180f9e8d7c6b5a4938271605f4e3d"
REQUEST_ID: Final = "5f1c2b9e8d7a4c3f9b0e6a1d2c3b4a59"


def _config(example: dict[str, Any]) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [example]})


_CLIP: Final[dict[str, Any]] = {
    "name": "monday.wav",
    "duration_s": 4.31,
    "speech_s": 3.42,
    "snr_db": 31.5,
    "clipped": 0.0,
    "peak": 0.62,
    "verdicts": [],
}
_REPLAY: Final[dict[str, Any]] = {"checked": False, "spoof_score": None, "note": "replay not checked"}
_ANSWER: Final[dict[str, Any]] = {
    "score": 0.8123,
    "cosine": 0.8123,
    "normalised": False,
    "llr": 4.7,
    "decision": "same",
    "threshold": 0.7115,
    "threshold_name": "fmr-0.01",
    "threshold_origin": "store",
    "threshold_source": "pairs of the store's own embeddings",
    "threshold_fmr": 0.0098,
    "threshold_fnmr": 0.041,
    "model": "ge2e",
    "fingerprint": FINGERPRINT,
    "engine": "onnxruntime 1.20 cpu fp32",
    "warnings": [],
}


class Problem(BaseModel):
    """Why there is no answer, and what to do about it (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="urn:vecsv:problem: and a stable word.")
    title: str
    status: int
    detail: str = Field(description="What is wrong, for a person.")
    hint: str | None = Field(default=None, description="What to do about it.")
    clip: str | None = Field(default=None, description="The recording that is at fault.")
    clips: list[dict[str, Any]] | None = Field(
        default=None, description="For an enrolment: of each recording whether it would do, and if not, why."
    )
    request_id: RequestId = ""


class Clip(BaseModel):
    """A recording that was sent, and how good it is."""

    model_config = _config(_CLIP)

    name: str = Field(description="The name it was sent with.")
    duration_s: float
    speech_s: float = Field(description="Seconds of speech in it.")
    snr_db: float | None = Field(description="Signal-to-noise ratio in dB; null where it cannot be told.")
    clipped: float = Field(description="Share of samples at full scale.")
    peak: float = Field(description="Largest absolute value of a sample; full scale is 1.")
    verdicts: list[Reason] = Field(description="What makes scores with it less sure; empty for a good recording.")


class KnownSpeaker(BaseModel):
    """The enrolled side of a comparison."""

    model_config = _config({"speaker": "alice", "utterances": 5})

    speaker: str
    utterances: int = Field(description="Rows of the speaker's that were compared with, in the store that has most.")


class Replay(BaseModel):
    """Whether the recording was checked for being played back or synthetic. A speaker model cannot tell."""

    model_config = _config(_REPLAY)

    checked: bool
    spoof_score: float | None = Field(
        default=None, description="Higher is more genuine; of several recordings the lowest. Null when not checked."
    )
    note: str | None = None


class StoreAnswer(BaseModel):
    """What one store says to "is this the same person?"."""

    model_config = _config(_ANSWER)

    score: float = Field(description="What was held against the threshold; higher is more alike.")
    cosine: float
    normalised: bool = Field(description="Whether the score is normalised against a cohort.")
    llr: float | None = Field(description="Natural log-likelihood ratio; null without a calibration.")
    decision: Decision | None = Field(description="Null where no threshold is calibrated.")
    threshold: float | None = Field(description="Null where none is calibrated, or where it rejects every pair.")
    threshold_name: str | None
    threshold_origin: str | None = Field(description="store, other-store or reference.")
    threshold_source: str | None
    threshold_fmr: float | None = Field(description="Share of strangers that passed where it was measured.")
    threshold_fnmr: float | None = Field(description="Share of the same speaker's pairs that failed there.")
    model: str
    fingerprint: str = Field(description="SHA-256 of the model; scores of two fingerprints cannot be compared.")
    engine: str
    warnings: list[str]


class VerifyAnswer(BaseModel):
    """Whether two recordings, or a recording and a known speaker, are the same person."""

    model_config = _config(
        {
            "decision": "same",
            "agree": True,
            "answers": {"default": _ANSWER},
            "first": _CLIP,
            "second": {**_CLIP, "name": "tuesday.wav"},
            "replay": _REPLAY,
            "request_id": REQUEST_ID,
        }
    )

    decision: Decision | None = Field(description="Null where the stores disagree, or one has no threshold.")
    agree: bool
    answers: dict[str, StoreAnswer] = Field(description="By the stores' names.")
    first: Clip
    second: Clip | KnownSpeaker
    replay: Replay
    request_id: RequestId


_HIT: Final[dict[str, Any]] = {
    "rank": 1,
    "speaker": "alice",
    "score": 0.8311,
    "passes": True,
    "utterance": "clip-0a1b2c3d",
    "enrolled": True,
    "segment": 0,
    "offset_s": 0.0,
    "duration_s": None,
}


class FoundSpeaker(BaseModel):
    """One answer to "who is this?"."""

    model_config = _config(_HIT)

    rank: int = Field(ge=1)
    speaker: str
    score: float = Field(description="Cosine with the best utterance.")
    passes: bool | None = Field(description="Whether the search threshold lets it; null where none is calibrated.")
    utterance: str = Field(description="The best utterance.")
    enrolled: bool = Field(description="Whether that is an enrolment.")
    segment: int
    offset_s: float
    duration_s: float | None


_SEARCH_ANSWER: Final[dict[str, Any]] = {
    "model": "ge2e",
    "fingerprint": FINGERPRINT,
    "threshold": 0.79,
    "threshold_fpir": 0.01,
    "gallery_size": 39,
    "searched": 40,
    "hits": [_HIT],
    "warnings": [],
}


class StoreHits(BaseModel):
    """What one store says to "who is this?"."""

    model_config = _config(_SEARCH_ANSWER)

    model: str
    fingerprint: str
    threshold: float | None = Field(description="Search threshold; null where none is calibrated.")
    threshold_fpir: float | None = Field(description="Share of strangers for whom it would let somebody pass.")
    gallery_size: int | None = Field(description="Speakers it was made for.")
    searched: int = Field(description="Speakers that were searched.")
    hits: list[FoundSpeaker]
    warnings: list[str]


class SearchAnswer(BaseModel):
    """Who is closest to a recording."""

    model_config = _config(
        {
            "speaker": "alice",
            "agree": True,
            "answers": {"default": _SEARCH_ANSWER},
            "clip": _CLIP,
            "replay": _REPLAY,
            "request_id": REQUEST_ID,
        }
    )

    speaker: str | None = Field(description="The best hit, where it is the same in every store and passes in each.")
    agree: bool = Field(description="Whether the best hit is the same speaker in every store.")
    answers: dict[str, StoreHits]
    clip: Clip
    replay: Replay
    request_id: RequestId


class StoreCount(BaseModel):
    """What an enrolment came to in one store."""

    model_config = _config({"added": 3, "total": 3})

    added: int
    total: int = Field(description="Recordings the speaker is enrolled with now.")


class EnrolAnswer(BaseModel):
    """An enrolment that is committed: it survives the service, and the next search finds it."""

    model_config = _config(
        {
            "speaker": "alice",
            "added": 3,
            "already": 0,
            "total": 3,
            "speech_s": 10.4,
            "wanted_speech_s": 10.0,
            "percent": 100,
            "complete": True,
            "clips": [_CLIP],
            "stores": {"default": {"added": 3, "total": 3}},
            "replay": _REPLAY,
            "warnings": [],
            "request_id": REQUEST_ID,
        }
    )

    speaker: str
    added: int = Field(description="Recordings that are new in at least one store.")
    already: int = Field(description="Recordings that every store had already.")
    total: int = Field(description="Recordings the speaker is enrolled with now.")
    speech_s: float = Field(description="Seconds of speech that are known of the speaker now.")
    wanted_speech_s: float
    percent: int = Field(ge=0, le=100, description="How much of the wanted speech is there.")
    complete: bool
    clips: list[Clip]
    stores: dict[str, StoreCount]
    replay: Replay
    warnings: list[str]
    request_id: RequestId


_PERSON: Final[dict[str, Any]] = {
    "speaker": "alice",
    "utterances": 0,
    "enrolled": 3,
    "speech_s": 10.4,
    "percent": 100,
    "stores": {"default": {"utterances": 0, "enrolled": 3, "speech_s": 10.4}},
}


class PersonInStore(BaseModel):
    """What one store knows of a speaker."""

    utterances: int = Field(description="Embedded recordings.")
    enrolled: int = Field(description="Recordings the speaker was enrolled with.")
    speech_s: float


class Person(BaseModel):
    """A speaker; the numbers are those of the store that has most, `percent` is that of the store that has least."""

    model_config = _config(_PERSON)

    speaker: str
    utterances: int
    enrolled: int
    speech_s: float
    percent: int = Field(ge=0, le=100)
    stores: dict[str, PersonInStore] = Field(description="The stores that know the speaker.")


class PersonAnswer(Person):
    """One speaker."""

    model_config = _config({**_PERSON, "request_id": REQUEST_ID})

    request_id: RequestId


class SpeakersAnswer(BaseModel):
    """A page of the list of speakers, by name."""

    model_config = _config(
        {
            "speakers": [_PERSON],
            "total": 1,
            "offset": 0,
            "limit": 100,
            "wanted_speech_s": 10.0,
            "request_id": REQUEST_ID,
        }
    )

    speakers: list[Person]
    total: int
    offset: int
    limit: int
    wanted_speech_s: float
    request_id: RequestId


class ReceiptAnswer(BaseModel):
    """What an erasure removed from one store."""

    receipt: str = Field(description="Names the copy of this receipt that the store keeps, without the speaker.")
    erased_at: str
    embeddings: int
    enrolments: int
    failures: int
    trials: int
    files_rewritten: int
    calibrations_dropped: list[str]
    generation: int


class EraseAnswer(BaseModel):
    """Everything about the speaker is gone."""

    model_config = _config(
        {
            "speaker": "alice",
            "receipts": {
                "default": {
                    "receipt": "6a4f0a4f2c5e4f0c8d6b1e2a3c4d5e6f",
                    "erased_at": "2026-01-31T12:00:00+00:00",
                    "embeddings": 0,
                    "enrolments": 3,
                    "failures": 0,
                    "trials": 0,
                    "files_rewritten": 0,
                    "calibrations_dropped": [],
                    "generation": 7,
                }
            },
            "request_id": REQUEST_ID,
        }
    )

    speaker: str
    receipts: dict[str, ReceiptAnswer]
    request_id: RequestId


class ThresholdInfo(BaseModel):
    """An operating point of a calibration."""

    name: str
    threshold: float | None = Field(description="Null where it rejects every pair.")
    criterion: str
    fmr: float | None
    fnmr: float | None
    supported: bool = Field(description="Whether the pairs can carry the criterion at all.")
    note: str | None


class SearchThresholdInfo(BaseModel):
    """The threshold of searches."""

    threshold: float
    fpir: float = Field(description="Share of strangers for whom it would let somebody pass.")
    gallery_size: int
    supported: bool
    note: str | None


class ScoreHistogram(BaseModel):
    """How the calibration's trials scored: `counts` has one number fewer than `edges`."""

    edges: list[float] = Field(description="Limits of the bins, ascending; a bin holds scores from one to the next.")
    targets: list[int] = Field(description="Pairs of one speaker, by bin.")
    non_targets: list[int] = Field(description="Pairs of two speakers, by bin.")


class LlrLine(BaseModel):
    """From a score to a natural log-likelihood ratio, where it hangs on the score alone."""

    intercept: float
    score: float = Field(description="Weight of the score.")


_CALIBRATION: Final[dict[str, Any]] = {
    "model": "ge2e",
    "fingerprint": FINGERPRINT,
    "origin": "store",
    "source": "pairs of the store's own embeddings",
    "made_at": "2026-01-31T12:00:00+00:00",
    "in_force": "fmr-0.01",
    "normalised": False,
    "thresholds": [
        {
            "name": "fmr-0.01",
            "threshold": 0.7115,
            "criterion": "FMR of at most 1%",
            "fmr": 0.0098,
            "fnmr": 0.041,
            "supported": True,
            "note": None,
        }
    ],
    "search": {"threshold": 0.79, "fpir": 0.01, "gallery_size": 39, "supported": True, "note": None},
    "histogram": {"edges": [0.2, 0.4, 0.6, 0.8, 1.0], "targets": [0, 3, 40, 157], "non_targets": [812, 1103, 85, 0]},
    "generation": 7,
}


class CalibrationInfo(BaseModel):
    """One store's thresholds, what they rest on, and how its trials scored."""

    model_config = _config(_CALIBRATION)

    model: str
    fingerprint: str
    origin: str | None = Field(description="store, other-store or reference; null where nothing is calibrated.")
    source: str | None
    made_at: str | None
    in_force: str | None = Field(description="Name of the threshold that decides when none is asked for.")
    normalised: bool = Field(description="Whether scores are normalised, so that they are no cosines.")
    thresholds: list[ThresholdInfo]
    search: SearchThresholdInfo | None
    histogram: ScoreHistogram | None = Field(description="Null where the calibration's trials are not in the store.")
    generation: int = Field(description="Of the store; while it stays the same, so does this.")


class Alive(BaseModel):
    """The process answers."""

    model_config = _config({"status": "alive", "version": "0.2.0"})

    status: Literal["alive"]
    version: str


class Ready(BaseModel):
    """The service can take requests."""

    model_config = _config({"status": "ready", "stores": {"default": 7}, "queued": 0, "queue": 64})

    status: Literal["ready"]
    stores: dict[str, int] = Field(description="Generation of each store.")
    queued: int = Field(description="Recordings that wait or are worked on.")
    queue: int = Field(description="How many may.")
