from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

from tests.fixtures.stores import read_enrolments
from tests.serve.conftest import StartService, talk, wav
from tests.serve.test_routes_queries import files, problem
from vecsv.serve.audit_log import lines_about

ANN = [wav(talk("ann", take)) for take in range(3)]
NAMES = ["ann", "zoë 你好", "a b", "a/b", "/", "x" * 200, "😀", "?#&=", "C:\\windows"]


def clips(*contents: bytes) -> list[tuple[str, tuple[str, bytes, str]]]:
    return [("clips", (f"{place}.wav", content, "audio/wav")) for place, content in enumerate(contents)]


def address(speaker: str) -> str:
    return f"/v1/speakers/{quote(speaker, safe='')}"


def enrol(service: Any, speaker: str, *contents: bytes) -> Any:
    return service.post(f"{address(speaker)}/enrollments", files=clips(*contents))


def test_an_enrolment_says_what_is_there_and_what_is_still_wanted(client: StartService) -> None:
    service = client(wanted_speech_s=10.0)
    response = enrol(service, "ann", *ANN)
    assert response.status_code == 201
    body = response.json()
    assert (body["speaker"], body["added"], body["already"], body["total"]) == ("ann", 3, 0, 3)
    assert body["percent"] == int(10 * body["speech_s"]) < 100
    assert body["complete"] is False
    assert [clip["name"] for clip in body["clips"]] == ["0.wav", "1.wav", "2.wav"]
    assert body["stores"] == {"default": {"added": 3, "total": 3}}
    more = enrol(service, "ann", *(wav(talk("ann", take)) for take in (3, 4, 5))).json()
    assert (more["percent"], more["complete"], more["total"]) == (100, True, 6)


def test_an_enrolled_speaker_is_found_and_verified_at_once(client: StartService) -> None:
    service = client("default", "other")
    enrol(service, "ann", *ANN)
    clip = wav(talk("ann", 9))
    assert service.post("/v1/search", files=files(clip=clip)).json()["answers"]["other"]["hits"][0]["speaker"] == "ann"
    verified = service.post("/v1/verify", files=files(first=clip), data={"speaker": "ann"}).json()
    assert (verified["decision"], verified["second"]["utterances"]) == ("same", 3)


def test_an_enrolment_is_on_the_disk_before_the_answer(client: StartService, stores: Path) -> None:
    enrol(client(), "ann", *ANN)
    rows = read_enrolments(stores / "default")
    assert len(rows) == 3
    assert {row[2] for row in rows} == {"uploaded"}
    assert all(row[1].startswith("clip-") for row in rows)


def test_a_refused_enrolment_says_what_was_wrong_with_each_clip_and_enrols_nothing(
    client: StartService, stores: Path
) -> None:
    service = client()
    silent, broken = wav(np.zeros(32000, np.float32)), b"not a recording"
    body = problem(enrol(service, "ann", ANN[0], silent, broken, wav(talk("ann")[:8000]), ANN[1]), 422, "refused-clips")
    assert [clip["accepted"] for clip in body["clips"]] == [True, False, False, False, True]
    assert [clip["reasons"] for clip in body["clips"]] == [
        [],
        ["too-short", "silent"],
        ["not-audio"],
        ["too-short"],
        [],
    ]
    assert [clip["name"] for clip in body["clips"]] == [f"{place}.wav" for place in range(5)]
    assert body["clips"][0]["speech_s"] > 1
    assert read_enrolments(stores / "default") == ()
    problem(service.get(address("ann")), 404, "unknown-speaker")


def test_a_clip_of_somebody_else_is_refused(client: StartService) -> None:
    body = problem(enrol(client(), "ann", ANN[0], wav(talk("bob")), ANN[1]), 422, "refused-clips")
    assert [clip["reasons"] for clip in body["clips"]] == [[], ["unlike-the-others"], []]
    assert "ann" in body["clips"][1]["details"][0]


def test_the_same_clips_twice_are_enrolled_once(client: StartService) -> None:
    service = client()
    enrol(service, "ann", *ANN)
    again = enrol(service, "ann", *ANN).json()
    assert (again["added"], again["already"], again["total"]) == (0, 3, 3)


@pytest.mark.parametrize("name", NAMES)
def test_a_speaker_may_have_any_name(client: StartService, name: str) -> None:
    service = client()
    assert enrol(service, name, ANN[0]).json()["speaker"] == name
    assert service.get(address(name)).json()["speaker"] == name
    assert service.delete(address(name)).status_code == 200
    problem(service.get(address(name)), 404, "unknown-speaker")


@pytest.mark.parametrize("name", ["x" * 201, "a\nb", "\x00", "  ", "\x7f"])
def test_a_name_that_is_none_is_refused(client: StartService, stores: Path, name: str) -> None:
    problem(enrol(client(), name, ANN[0]), 422, "invalid")
    assert read_enrolments(stores / "default") == ()


def test_at_most_twenty_clips_at_once_and_at_least_one(client: StartService) -> None:
    service = client()
    short = wav(talk("ann")[:4000])
    problem(enrol(service, "ann", *[short] * 20), 422, "refused-clips")
    assert enrol(service, "ann", *[short] * 21).status_code in {413, 422}
    assert service.post(f"{address('ann')}/enrollments").status_code == 422


def test_the_list_comes_in_pages_by_name(client: StartService) -> None:
    service = client()
    enrol(service, "ann", *ANN)
    body = service.get("/v1/speakers", params={"offset": 0, "limit": 2}).json()
    assert [one["speaker"] for one in body["speakers"]] == ["ann", "speaker-000"]
    assert (body["total"], body["offset"], body["limit"]) == (15, 0, 2)
    assert body["speakers"][0]["enrolled"] == 3
    assert body["speakers"][1] | {"speech_s": 0, "stores": {}} == {
        "speaker": "speaker-000",
        "utterances": 6,
        "enrolled": 0,
        "speech_s": 0,
        "percent": 59,
        "stores": {},
    }
    last = service.get("/v1/speakers", params={"offset": 14, "limit": 1000}).json()
    assert [one["speaker"] for one in last["speakers"]] == ["speaker-013"]
    assert service.get("/v1/speakers", params={"offset": 99}).json()["speakers"] == []


@pytest.mark.parametrize("wrong", [{"offset": "-1"}, {"limit": "0"}, {"limit": "1001"}, {"limit": "x"}])
def test_a_page_that_makes_no_sense_is_refused(client: StartService, wrong: dict[str, str]) -> None:
    problem(client().get("/v1/speakers", params=wrong), 422, "invalid")


def test_an_erased_speaker_leaves_a_receipt_and_nothing_else(client: StartService) -> None:
    service = client("default", "other")
    enrol(service, "speaker-004", *(wav(talk("speaker-004", take)) for take in range(2)))
    receipts = service.delete(address("speaker-004")).json()["receipts"]
    assert {name: (one["embeddings"], one["enrolments"]) for name, one in receipts.items()} == {
        "default": (6, 2),
        "other": (6, 2),
    }
    found = service.post("/v1/search", files=files(clip=wav(talk("speaker-004", 9))), data={"top_k": "20"}).json()
    assert "speaker-004" not in json.dumps(found["answers"])
    problem(service.delete(address("speaker-004")), 404, "unknown-speaker")


def test_the_audit_log_has_a_line_for_all_that_was_done_and_names_nobody(client: StartService, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    service = client(audit_file=log)
    done = enrol(service, "ann", *ANN)
    problem(enrol(service, "ann", wav(talk("bob"))), 422, "refused-clips")
    service.post("/v1/search", files=files(clip=ANN[0]))
    service.post("/v1/verify", files=files(first=ANN[0]), data={"speaker": "ann"})
    erased = service.delete(address("ann"))
    lines = list(lines_about(log, "ann"))
    assert [(line["action"], line.get("decision")) for line in lines] == [
        ("enrol", "enrolled"),
        ("enrol", "refused"),
        ("search", None),
        ("verify", "same"),
        ("erase", "erased"),
    ]
    assert lines[0]["request_id"] == done.json()["request_id"]
    assert lines[-1]["receipts"] == [erased.json()["receipts"]["default"]["receipt"]]
    assert "ann" not in log.read_text(encoding="ascii").replace("scann", "")
