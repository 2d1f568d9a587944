"""Bodies are cut off at their limits, however they are cut into pieces."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("starlette")
pytest.importorskip("python_multipart")

from starlette.datastructures import Headers
from starlette.types import Message

from vecsv.serve.bodies import BodyLimits, BoundaryCounter, LimitedBody

LIMITS = BodyLimits(max_bytes=100, max_parts=3, seconds=5.0)


def form(parts: int, boundary: bytes = b"frontier", content: bytes = b"x") -> bytes:
    part = b"--" + boundary + b'\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + content + b"\r\n"
    return part * parts + b"--" + boundary + b"--\r\n"


def pieces_of(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)] or [b""]


def headers(**given: str) -> Headers:
    return Headers({name.replace("_", "-"): value for name, value in given.items()})


def read(
    pieces: list[bytes], limits: BodyLimits = LIMITS, given: Headers | None = None
) -> tuple[LimitedBody, bytes, list[str]]:
    """What an application gets that reads to the end."""
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces) - 1}
        for number, piece in enumerate(pieces)
    ]

    async def run() -> tuple[LimitedBody, bytes, list[str]]:
        async def receive() -> Message:
            return messages.pop(0)

        body = LimitedBody(receive, given or headers(), limits)
        got, types = b"", []
        while True:
            message = await body()
            types.append(message["type"])
            got += message.get("body", b"")
            if not message.get("more_body", False):
                return body, got, types

    return asyncio.run(run())


@given(st.integers(0, 130), st.integers(1, 130))
def test_a_body_is_handed_on_whole_or_cut_off_at_its_limit(length: int, size: int) -> None:
    body, got, types = read(pieces_of(b"x" * length, size))
    if length <= 100:
        assert (body.refusal(), len(got)) == (None, length)
    else:
        refusal = body.refusal()
        assert refusal is not None
        assert (refusal.status, refusal.kind) == (413, "too-large")
        assert types[-1] == "http.disconnect"
        assert len(got) <= 100


@pytest.mark.parametrize(("announced", "refused"), [("100", False), ("101", True), ("9" * 40, True), ("", False)])
def test_an_announced_size_is_refused_before_anything_is_read(announced: str, refused: bool) -> None:
    async def never() -> Message:
        raise AssertionError("read")

    body = LimitedBody(never, headers(content_length=announced), LIMITS)
    assert (body.refusal() is not None) is refused


def test_announcing_little_helps_nobody() -> None:
    body, _, _ = read([b"x" * 60, b"x" * 60], given=headers(content_length="10"))
    refusal = body.refusal()
    assert refusal is not None
    assert refusal.status == 413


@given(st.integers(0, 6), st.integers(1, 60), st.sampled_from([b"frontier", b"-", b"--", b"a" * 70]))
def test_parts_are_counted_however_the_form_is_cut(parts: int, size: int, boundary: bytes) -> None:
    content_type = f"multipart/form-data; boundary={boundary.decode()}"
    body, _, _ = read(
        pieces_of(form(parts, boundary), size),
        BodyLimits(max_bytes=100_000, max_parts=3, seconds=5.0),
        headers(content_type=content_type),
    )
    refusal = body.refusal()
    if parts > 3:
        assert refusal is not None
        assert (refusal.status, refusal.kind) == (413, "too-many-parts")
    elif boundary in {b"frontier", b"a" * 70}:
        assert refusal is None


@pytest.mark.parametrize(
    "content_type", ['multipart/form-data; boundary="frontier"', "multipart/form-data; charset=x; BOUNDARY=frontier"]
)
def test_the_boundary_is_found_as_the_forms_parser_finds_it(content_type: str) -> None:
    assert BoundaryCounter(headers(content_type=content_type)).count(form(4)) == 5


def test_a_body_without_a_boundary_has_no_parts() -> None:
    assert BoundaryCounter(headers(content_type="audio/wav")).count(form(4)) == 0
    assert BoundaryCounter(headers()).count(b"--" * 100) == 0


def test_a_body_that_does_not_come_is_given_up() -> None:
    async def run() -> LimitedBody:
        first: list[Message] = [{"type": "http.request", "body": b"x", "more_body": True}]

        async def receive() -> Message:
            if first:
                return first.pop()
            await asyncio.sleep(3600)
            raise AssertionError("waited")

        body = LimitedBody(receive, headers(), BodyLimits(max_bytes=100, max_parts=3, seconds=0.05))
        assert (await body())["type"] == "http.request"
        assert (await body())["type"] == "http.disconnect"
        return body

    refusal = asyncio.run(run()).refusal()
    assert refusal is not None
    assert (refusal.status, refusal.kind) == (408, "too-slow")


def test_a_slow_drip_is_given_up_too() -> None:
    now = [0.0]

    async def run() -> LimitedBody:
        async def receive() -> Message:
            now[0] += 2.0
            return {"type": "http.request", "body": b"x", "more_body": True}

        body = LimitedBody(receive, headers(), LIMITS, clock=lambda: now[0])
        types = [(await body())["type"] for _ in range(5)]
        assert types == ["http.request"] * 3 + ["http.disconnect"] * 2
        return body

    refusal = asyncio.run(run()).refusal()
    assert refusal is not None
    assert refusal.status == 408
