"""From what the service says to what a client reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from vecsv.audio.quality import Quality
from vecsv.calibration.search_record import SearchCalibration
from vecsv.query.ask import SearchResult
from vecsv.query.erase import Receipt
from vecsv.query.search import Hit
from vecsv.query.verify import Side, Verification
from vecsv.serve import schemas
from vecsv.serve.gallery import Gallery, Opened
from vecsv.serve.results import Enrolled, Person, Searched
from vecsv.serve.verdicts import ClipReport, judge_quality

NOT_CHECKED = "replay not checked"


def decision(same: bool | None) -> schemas.Decision | None:
    """The word for a decision."""
    return None if same is None else "same" if same else "different"


def finite(value: float) -> float | None:
    """JSON has no infinity: a threshold that rejects everything is null."""
    return value if math.isfinite(value) else None


def clip(name: str, quality: Quality, verdicts: Iterable[str]) -> schemas.Clip:
    """A clip as answers show it."""
    return schemas.Clip(
        name=name,
        duration_s=quality.duration_s,
        speech_s=quality.speech_s,
        snr_db=quality.snr_db,
        clipped=quality.clipped,
        peak=quality.peak,
        verdicts=list(verdicts),
    )


def heard_clip(name: str, quality: Quality) -> schemas.Clip:
    """A clip that was compared, with what makes its scores less sure."""
    return clip(name, quality, judge_quality(name, quality).reasons)


def recording(given: Side) -> schemas.Clip:
    """The side of a comparison that is a recording."""
    if given.quality is None:
        raise ValueError(f"{given.name} is no recording")
    return heard_clip(given.name, given.quality)


def side(given: Sequence[Side]) -> schemas.Clip | schemas.KnownSpeaker:
    """The other side of a comparison, as each store had it; of a speaker, the rows of the store that has most."""
    if given[0].quality is not None:
        return recording(given[0])
    return schemas.KnownSpeaker(speaker=given[0].name, utterances=max(len(one.vectors) for one in given))


def replay(scores: Iterable[float]) -> schemas.Replay:
    """What the countermeasure says; without any score, that there is none."""
    lowest = min(scores, default=None)
    if lowest is None:
        return schemas.Replay(checked=False, note=NOT_CHECKED)
    return schemas.Replay(checked=True, spoof_score=lowest)


def verification(answer: Verification) -> schemas.StoreAnswer:
    """One store's answer."""
    threshold = answer.threshold
    return schemas.StoreAnswer(
        score=answer.score,
        cosine=answer.cosine,
        normalised=answer.normalised,
        llr=answer.llr,
        decision=decision(answer.same),
        threshold=None if threshold is None else finite(threshold.value),
        threshold_name=None if threshold is None else threshold.name,
        threshold_origin=None if threshold is None else threshold.origin,
        threshold_source=None if threshold is None else threshold.source,
        threshold_fmr=None if threshold is None else threshold.fmr,
        threshold_fnmr=None if threshold is None else threshold.fnmr,
        model=answer.model,
        fingerprint=answer.fingerprint,
        engine=answer.engine,
        warnings=list(answer.warnings),
    )


def hits(result: SearchResult, searched: int, gallery: Gallery) -> schemas.StoreHits:
    """One store's hits. Where recordings lie on the server is nobody's business."""
    threshold = result.threshold
    return schemas.StoreHits(
        model=gallery.embedder.name,
        fingerprint=gallery.embedder.fingerprint,
        threshold=None if threshold is None else threshold.value,
        threshold_fpir=None if threshold is None else threshold.fpir,
        gallery_size=None if threshold is None else threshold.gallery_size,
        searched=searched,
        hits=[_hit(hit) for hit in result.hits],
        warnings=list(result.warnings),
    )


def _public(utt_id: str) -> str:
    """An utterance's id without folders of the server's: by default it is the path as the manifest has it.

    Examples
    --------
    >>> _public("/srv/calls/ann/1.wav#t=0,2"), _public("ann/1.wav")
    ('1.wav#t=0,2', 'ann/1.wav')
    """
    absolute = utt_id.startswith(("/", "\\")) or utt_id[1:3] in {":/", ":\\"}
    return utt_id.replace("\\", "/").rpartition("/")[2] if absolute else utt_id


def _hit(hit: Hit) -> schemas.FoundSpeaker:
    return schemas.FoundSpeaker(
        rank=hit.rank,
        speaker=hit.speaker,
        score=hit.score,
        passes=hit.passes,
        utterance=_public(hit.utt_id),
        enrolled=hit.enrolled,
        segment=hit.segment,
        offset_s=hit.offset_s,
        duration_s=hit.duration_s,
    )


def search(
    found: Searched, galleries: Mapping[str, Gallery], checked: schemas.Replay, request_id: str
) -> schemas.SearchAnswer:
    """The stores' hits side by side."""
    answers = found.sightings.answers
    first = next(iter(answers.values()))
    if first.quality is None:
        raise ValueError("a search without a recording")
    return schemas.SearchAnswer(
        speaker=found.sightings.speaker,
        agree=found.sightings.agree,
        answers={name: hits(answer, found.sizes[name], galleries[name]) for name, answer in answers.items()},
        clip=heard_clip(first.query.name, first.quality),
        replay=checked,
        request_id=request_id,
    )


def enrolled(found: Enrolled, checked: schemas.Replay, request_id: str) -> schemas.EnrolAnswer:
    """An enrolment that is committed."""
    return schemas.EnrolAnswer(
        speaker=found.speaker,
        added=found.added,
        already=found.already,
        total=found.total,
        speech_s=found.speech_s,
        wanted_speech_s=found.wanted_speech_s,
        percent=found.percent,
        complete=found.percent == 100,
        clips=[clip(one.name, one.quality, one.reasons) for one in found.clips if one.quality is not None],
        stores={name: schemas.StoreCount(added=one.added, total=one.total) for name, one in found.stores.items()},
        replay=checked,
        warnings=list(found.warnings),
        request_id=request_id,
    )


def refused_clip(report: ClipReport) -> dict[str, object]:
    """A clip of an enrolment that was refused, for the problem's ``clips``."""
    quality = report.quality
    measured = {} if quality is None else clip(report.name, quality, ()).model_dump(exclude={"verdicts", "name"})
    return {
        "name": report.name,
        "accepted": report.accepted,
        "reasons": list(report.reasons),
        "details": list(report.details),
        **measured,
    }


def person(found: Person) -> schemas.Person:
    """A speaker."""
    return schemas.Person(
        speaker=found.speaker,
        utterances=max(one.utterances for one in found.stores.values()),
        enrolled=max(one.enrolments for one in found.stores.values()),
        speech_s=max(one.speech_s for one in found.stores.values()),
        percent=found.percent,
        stores={
            name: schemas.PersonInStore(utterances=one.utterances, enrolled=one.enrolments, speech_s=one.speech_s)
            for name, one in found.stores.items()
        },
    )


def receipt(found: Receipt) -> schemas.ReceiptAnswer:
    """What an erasure removed from one store."""
    return schemas.ReceiptAnswer(**vars(found) | {"calibrations_dropped": list(found.calibrations_dropped)})


def calibration(opened: Opened, gallery: Gallery) -> schemas.CalibrationInfo:
    """One store's thresholds and how its trials scored."""
    found, _ = opened.calibration
    own = found is not None and found.origin == "store"
    histogram = opened.histogram if own else None
    return schemas.CalibrationInfo(
        model=gallery.embedder.name,
        fingerprint=gallery.embedder.fingerprint,
        origin=None if found is None else found.origin,
        source=None if found is None else found.source,
        made_at=None if found is None else found.made_at,
        in_force=None if found is None else found.in_force,
        normalised=found is not None and not found.of_cosines,
        thresholds=[
            schemas.ThresholdInfo(
                name=point.name,
                threshold=finite(point.threshold),
                criterion=point.criterion,
                fmr=point.reported.fmr,
                fnmr=point.reported.fnmr,
                supported=point.supported,
                note=point.note,
            )
            for point in (() if found is None else found.points)
        ],
        search=_search_threshold(opened.search_calibration),
        histogram=None
        if histogram is None
        else schemas.ScoreHistogram(
            edges=list(histogram.edges), targets=list(histogram.targets), non_targets=list(histogram.non_targets)
        ),
        generation=opened.snapshot.generation.number,
    )


def _search_threshold(found: SearchCalibration | None) -> schemas.SearchThresholdInfo | None:
    if found is None:
        return None
    return schemas.SearchThresholdInfo(
        threshold=found.threshold,
        fpir=found.fpir_asked,
        gallery_size=found.gallery_size,
        supported=found.supported,
        note=found.note,
    )
