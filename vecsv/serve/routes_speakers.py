"""Who is known: enrol, list, look up and erase speakers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Query, UploadFile

from vecsv.query.erase import Receipt
from vecsv.serve import answers, schemas
from vecsv.serve.audit_log import Action
from vecsv.serve.problems import ProblemDetails, RefusedError, responses
from vecsv.serve.requests import MOST_CLIPS, AskedNow, SpeakerId
from vecsv.serve.results import Enrolled, Heard, RefusedClipsError

router = APIRouter(tags=["speakers"])

_LONGEST_PAGE = 1000


@router.post(
    "/v1/speakers/{speaker}/enrollments",
    summary="Enrol a person with one or more recordings",
    status_code=201,
    responses=responses(400, 401, 403, 413, 422, 429, 503),
    openapi_extra={"security": [{}, {"key": []}]},
)
async def enrol(
    asked: AskedNow,
    speaker: SpeakerId,
    clips: Annotated[
        list[UploadFile],
        File(description="Recordings of this person alone.", min_length=1, max_length=MOST_CLIPS),
    ],
) -> schemas.EnrolAnswer:
    """All recordings are taken, or none when one will not do.

    It may be too short, silent, without speech, noisy, clipped, or unlike the others. What is answered for is
    committed: it survives a crash, and the next search finds it. Sending the same recordings again changes nothing.
    """
    heard = await asked.runtime.intake.hear_each(clips)
    replay = answers.replay(await asked.spoof_scores([one for one in heard if isinstance(one, Heard)]))

    def work() -> Enrolled:
        try:
            found = asked.runtime.service.enrol(speaker, heard)
        except RefusedClipsError:
            asked.note(Action.ENROL, speaker=speaker, decision="refused", recordings=0)
            raise
        asked.note(Action.ENROL, speaker=speaker, decision="enrolled", recordings=found.added)
        return found

    try:
        found = await asked.runtime.writers.run(work)
    except RefusedClipsError as error:
        members = {"speaker": speaker, "clips": [answers.refused_clip(one) for one in error.clips]}
        raise RefusedError(ProblemDetails(422, error.what, "refused-clips", error.hint, members)) from error
    return answers.enrolled(found, replay, asked.request_id)


@router.get(
    "/v1/speakers",
    summary="List the speakers, embedded or enrolled, by name",
    responses=responses(401, 403, 422, 429, 503),
    openapi_extra={"security": [{}, {"key": []}]},
)
async def speakers(
    asked: AskedNow,
    offset: Annotated[int, Query(description="Speakers to pass over.", ge=0, le=2**31)] = 0,
    limit: Annotated[int, Query(description="Speakers to give at most.", ge=1, le=_LONGEST_PAGE)] = 100,
) -> schemas.SpeakersAnswer:
    """Give one page of the list."""
    service = asked.runtime.service
    found = await asked.runtime.readers.run(service.speakers)
    return schemas.SpeakersAnswer(
        speakers=[answers.person(one) for one in found[offset : offset + limit]],
        total=len(found),
        offset=offset,
        limit=limit,
        wanted_speech_s=service.wanted_speech_s,
        request_id=asked.request_id,
    )


@router.get(
    "/v1/speakers/{speaker}",
    summary="Say what is known of one speaker",
    responses=responses(401, 403, 404, 422, 429, 503),
    openapi_extra={"security": [{}, {"key": []}]},
)
async def speaker(asked: AskedNow, speaker: SpeakerId) -> schemas.PersonAnswer:
    """Give the numbers of every store that knows the speaker."""
    found = await asked.runtime.readers.run(lambda: asked.runtime.service.speaker(speaker))
    return schemas.PersonAnswer(**answers.person(found).model_dump(), request_id=asked.request_id)


@router.delete(
    "/v1/speakers/{speaker}",
    summary="Erase everything about a speaker from all stores",
    responses=responses(401, 403, 404, 422, 429, 503),
    openapi_extra={"security": [{}, {"key": []}]},
)
async def erase(asked: AskedNow, speaker: SpeakerId) -> schemas.EraseAnswer:
    """Embeddings, enrolments, index entries, trials: nothing is left of them in the stores' files.

    Where it is cut off, or a store is busy, asking again completes it.
    """

    def work() -> dict[str, Receipt]:
        receipts = asked.runtime.service.erase(speaker)
        asked.note(
            Action.ERASE,
            speaker=speaker,
            decision="erased",
            recordings=sum(one.embeddings + one.enrolments for one in receipts.values()),
            receipts=[one.receipt for one in receipts.values()],
        )
        return receipts

    receipts = await asked.runtime.writers.run(work)
    return schemas.EraseAnswer(
        speaker=speaker,
        receipts={name: answers.receipt(one) for name, one in receipts.items()},
        request_id=asked.request_id,
    )
