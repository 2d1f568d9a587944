from __future__ import annotations

import pytest

from vecsv.errors import AudioError
from vecsv.serve.problems import of_error


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("not-audio", "send WAV"),
        ("no-speech", "speak for a few seconds"),
        ("silent", "microphone"),
        ("steady", "somewhere quieter"),
        ("too-short", "at least a second"),
        ("no-embedding", "record it again"),
    ],
)
def test_whoever_sent_a_recording_is_told_what_to_do(code: str, said: str) -> None:
    details = of_error(AudioError(code, "it cannot be used", where="a.wav"))
    assert details.status == 422
    assert said in (details.hint or "")


def test_a_hint_that_the_error_has_itself_wins() -> None:
    assert of_error(AudioError("too-long", "is 200 s long", hint="send 120 s or less")).hint == "send 120 s or less"
