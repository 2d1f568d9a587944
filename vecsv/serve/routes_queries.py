"""The questions: is this the same person, and who is this?"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Form, UploadFile

from vecsv.query.search import Level
from vecsv.query.several import Verdict
from vecsv.serve import answers, schemas
from vecsv.serve.audit_log import Action
from vecsv.serve.problems import ProblemDetails, RefusedError, responses
from vecsv.serve.requests import LONGEST_SPEAKER, SPEAKER_PATTERN, AskedNow
from vecsv.serve.results import Searched

router = APIRouter(tags=["queries"])

_MOST_HITS = 100
_RECORDING = "WAV, FLAC, Ogg, MP3 or anything else that the server can decode; told by its content, not its name."


@router.post(
    "/v1/verify",
    summary="Say whether two recordings, or a recording and a known speaker, are the same person",
    responses=responses(400, 401, 403, 404, 413, 422, 429, 503),
    openapi_extra={"security": [{}, {"key": []}]},
)
async def verify(
    asked: AskedNow,
    first: Annotated[UploadFile, File(description=_RECORDING)],
    second: Annotated[UploadFile | None, File(description="The other recording; or give `speaker`.")] = None,
    speaker: Annotated[
        str | None,
        Form(
            description="Compare with this speaker of the store; or give `second`.",
            max_length=LONGEST_SPEAKER,
            pattern=SPEAKER_PATTERN,
            examples=["alice"],
        ),
    ] = None,
    threshold_name: Annotated[
        str | None,
        Form(
            description="Decide by this threshold of the calibration; by default by the one in force.",
            max_length=64,
            examples=["fmr-0.001"],
        ),
    ] = None,
) -> schemas.VerifyAnswer:
    """Every store answers with its own model and threshold; `decision` is theirs where they agree."""
    if (second is None) == (speaker is None):
        raise RefusedError(
            ProblemDetails(
                422,
                "give a second recording or a speaker, one of the two",
                "invalid",
                "send the file `second`, or the field `speaker`",
            )
        )
    service = asked.runtime.service
    clips = await asked.runtime.intake.hear([first] if second is None else [first, second])
    other = clips[1] if speaker is None else speaker

    def work() -> Verdict:
        verdict = service.verify(clips[0], other, threshold_name=threshold_name)
        best = next(iter(verdict.answers.values()))
        asked.note(Action.VERIFY, speaker=speaker, decision=answers.decision(verdict.same), score=best.score)
        return verdict

    verdict = await asked.runtime.readers.run(work)
    replay = answers.replay(await asked.spoof_scores(clips))
    one = next(iter(verdict.answers.values()))
    return schemas.VerifyAnswer(
        decision=answers.decision(verdict.same),
        agree=verdict.agree,
        answers={name: answers.verification(answer) for name, answer in verdict.answers.items()},
        first=answers.recording(one.first),
        second=answers.side([answer.second for answer in verdict.answers.values()]),
        replay=replay,
        request_id=asked.request_id,
    )


@router.post(
    "/v1/search",
    summary="Find the known speakers who are closest to a recording",
    responses=responses(400, 401, 403, 409, 413, 422, 429, 503),
    openapi_extra={"security": [{}, {"key": []}]},
)
async def search(
    asked: AskedNow,
    clip: Annotated[UploadFile, File(description=_RECORDING)],
    top_k: Annotated[int, Form(description="How many hits.", ge=1, le=_MOST_HITS)] = 5,
    level: Annotated[Level, Form(description="What a hit stands for.")] = Level.SPEAKER,
) -> schemas.SearchAnswer:
    """Every store answers with its own model; a hit `passes` where a search threshold is calibrated and it is above."""
    service = asked.runtime.service
    clips = await asked.runtime.intake.hear([clip])

    def work() -> Searched:
        found = service.search(clips[0], top_k=top_k, level=level)
        best = next((hit for answer in found.sightings.answers.values() for hit in answer.hits), None)
        asked.note(
            Action.SEARCH,
            speaker=None if best is None else best.speaker,
            score=None if best is None else best.score,
        )
        return found

    found = await asked.runtime.readers.run(work)
    replay = answers.replay(await asked.spoof_scores(clips))
    return answers.search(found, service.galleries, replay, asked.request_id)
