"""For Schemathesis (``SCHEMATHESIS_HOOKS``): real recordings in place of most arbitrary bytes.

Without them every answer would be that there is no recording in it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import schemathesis

from tests.serve.conftest import talk, wav

FILES = {"first", "second", "clip", "clips"}
# Of one person, or hardly anybody could be enrolled with several of them.
RECORDINGS = [wav(talk("zoe", take, 3)) for take in range(4)]


@schemathesis.hook
def map_body(context: schemathesis.HookContext, body: Any) -> Any:
    """Put recordings where files are; which ones hangs on the body, so that a failure can be repeated."""
    if not isinstance(body, dict):
        return body
    # A form has no null: what is null is not sent.
    sent = {name: value for name, value in body.items() if value is not None}
    operation = context.operation
    if operation is not None and operation.path == "/v1/verify" and _drawn(repr(sent)) < 0.5:
        # Else there would be a second recording and no speaker once in a blue moon.
        return {"first": RECORDINGS[0], "second": RECORDINGS[int(4 * _drawn(repr(body)))]}
    return {name: with_recordings(value) if name in FILES else value for name, value in sent.items()}


def with_recordings(value: Any) -> Any:
    """What is sent as a file, or as several."""
    return [recorded(one) for one in value] if isinstance(value, list) else recorded(value)


def recorded(value: Any) -> Any:
    """A recording in place of bytes, four times of five."""
    drawn = _drawn(repr(value))
    return RECORDINGS[int(5 * drawn)] if isinstance(value, bytes | str) and drawn < 0.8 else value


def _drawn(text: str) -> float:
    """A number in [0, 1) that hangs on a text."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:6], "big") / 2.0**48
