"""What the endpoints share: who asks, what they may ask with, and the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Final

from fastapi import Depends, Path, Request
from pydantic import BeforeValidator

from vecsv.serve.audit_log import Action, Entry
from vecsv.serve.guard import Caller
from vecsv.serve.path_segments import with_slashes
from vecsv.serve.problems import request_id_of
from vecsv.serve.results import Heard
from vecsv.serve.runtime import Runtime

# No control characters, and not blank.
SPEAKER_PATTERN: Final = (
    r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$"
)
LONGEST_SPEAKER: Final = 200
MOST_CLIPS: Final = 20

SpeakerId = Annotated[
    str,
    Path(
        description="The speaker's name: any characters but control characters.",
        min_length=1,
        max_length=LONGEST_SPEAKER,
        pattern=SPEAKER_PATTERN,
        examples=["alice"],
    ),
    BeforeValidator(with_slashes),
]


def _runtime(request: Request) -> Runtime:
    found: Runtime = request.app.state.runtime
    return found


class Asked:
    """A request on its way: the service it is for, and what is noted of it.

    Parameters
    ----------
    request : Request
    """

    def __init__(self, request: Request) -> None:
        self.runtime = _runtime(request)
        self.request_id = request_id_of(request.scope)
        self._caller: Caller | None = getattr(request.state, "caller", None)

    async def spoof_scores(self, clips: Sequence[Heard]) -> list[float]:
        """What the countermeasure says of each clip; nothing where there is none."""
        spoof = self.runtime.spoof
        if spoof is None:
            return []
        work = (partial(spoof.score, one.clip.waveform) for one in clips)
        return list(await asyncio.gather(*map(self.runtime.readers.run, work)))

    def note(self, action: Action, **facts: Any) -> None:
        """Write a line of the audit log, where there is one; blocks until it is on the disk."""
        audit, caller = self.runtime.audit, self._caller
        if audit is None or caller is None:
            return
        audit.add(
            Entry(
                action=action,
                caller=caller.name,
                key_id=caller.key_id,
                address=caller.address,
                request_id=self.request_id,
                stores=self.runtime.store_names,
                **facts,
            )
        )


def _asked(request: Request) -> Asked:
    return Asked(request)


AskedNow = Annotated[Asked, Depends(_asked)]
RuntimeNow = Annotated[Runtime, Depends(_runtime)]
