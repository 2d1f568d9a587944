from __future__ import annotations

from typing import Any

import pytest

from tests.serve.conftest import StartService, talk, wav
from tests.serve.spoof_graphs import loudness_graph

pytest.importorskip("fastapi")

ANN, ANN_AGAIN, BOB = wav(talk("ann", 0)), wav(talk("ann", 1)), wav(talk("bob", 0))


def files(**given: bytes) -> dict[str, tuple[str, bytes, str]]:
    return {name: (f"{name}.wav", content, "audio/wav") for name, content in given.items()}


def problem(response: Any, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["type"] == f"urn:vecsv:problem:{kind}"
    assert body["status"] == status
    assert body["request_id"] == response.headers["x-request-id"]
    return body


def test_two_recordings_are_compared(client: StartService) -> None:
    service = client()
    same = service.post("/v1/verify", files=files(first=ANN, second=ANN_AGAIN))
    different = service.post("/v1/verify", files=files(first=ANN, second=BOB))
    assert (same.status_code, different.status_code) == (200, 200)
    assert (same.json()["decision"], different.json()["decision"]) == ("same", "different")


def test_an_answer_says_all_that_is_needed_to_judge_it(client: StartService) -> None:
    response = client().post("/v1/verify", files=files(first=ANN, second=BOB))
    body = response.json()
    answer = body["answers"]["default"]
    assert (answer["decision"] == "same") == (answer["score"] >= answer["threshold"])
    assert (answer["threshold_name"], answer["threshold_origin"], answer["model"]) == ("fmr-0.01", "store", "spectral")
    assert len(answer["fingerprint"]) == 64
    assert answer["normalised"] is False
    assert isinstance(answer["llr"], float)
    assert body["first"] == {
        "name": "first.wav",
        "duration_s": 2.0,
        "speech_s": pytest.approx(2.0, abs=0.1),
        "snr_db": None,
        "clipped": 0.0,
        "peak": pytest.approx(0.45, abs=0.15),
        "verdicts": [],
    }
    assert body["replay"] == {"checked": False, "spoof_score": None, "note": "replay not checked"}
    assert body["request_id"] == response.headers["x-request-id"]


def test_a_recording_is_compared_with_a_speaker(client: StartService) -> None:
    clip = wav(talk("speaker-003", 7))
    service = client()
    body = service.post("/v1/verify", files=files(first=clip), data={"speaker": "speaker-003"}).json()
    assert body["decision"] == "same"
    assert body["second"] == {"speaker": "speaker-003", "utterances": 6}


def test_two_stores_answer_side_by_side(client: StartService) -> None:
    body = client("default", "other").post("/v1/verify", files=files(first=ANN, second=ANN_AGAIN)).json()
    assert set(body["answers"]) == {"default", "other"}
    assert body["agree"] is True
    assert len({answer["fingerprint"] for answer in body["answers"].values()}) == 2


def test_a_short_clip_is_compared_and_its_verdict_says_that_it_is_short(client: StartService) -> None:
    body = client().post("/v1/verify", files=files(first=wav(talk("ann")[:16000]), second=ANN_AGAIN)).json()
    assert body["first"]["verdicts"] == ["too-short"]
    assert "scores are less sure" in body["answers"]["default"]["warnings"][0]


def test_an_unknown_speaker_is_not_found(client: StartService) -> None:
    response = client().post("/v1/verify", files=files(first=ANN), data={"speaker": "nobody"})
    assert "nobody" in problem(response, 404, "unknown-speaker")["detail"]


@pytest.mark.parametrize("both", [True, False])
def test_a_second_recording_or_a_speaker_one_of_the_two(client: StartService, both: bool) -> None:
    given = {"files": files(first=ANN, second=BOB), "data": {"speaker": "ann"}} if both else {"files": files(first=ANN)}
    problem(client().post("/v1/verify", **given), 422, "invalid")


def test_a_named_threshold_decides_and_one_that_is_not_there_is_refused_with_those_that_are(
    client: StartService,
) -> None:
    service = client()
    sent = {"files": files(first=ANN, second=BOB)}
    named = service.post("/v1/verify", **sent, data={"threshold_name": "eer"}).json()
    assert named["answers"]["default"]["threshold_name"] == "eer"
    refused = problem(service.post("/v1/verify", **sent, data={"threshold_name": "x"}), 422, "unusable-value")
    assert "fmr-0.001" in refused["hint"]


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b"", 422, "empty"),
        (b"RIFF not audio at all", 422, "not-audio"),
        (wav(0 * talk("ann")), 422, "silent"),
        (wav(talk("ann")[:1000]), 422, "too-short"),
        (wav(talk("ann", seconds=6)), 422, "too-long"),
        (wav(talk("ann", seconds=9)), 413, "too-large"),
    ],
)
def test_a_recording_that_gives_no_embedding_is_refused_by_its_name(
    client: StartService, content: bytes, status: int, kind: str
) -> None:
    service = client(max_duration_s=5.0, max_upload_mb=0.25)
    refused = problem(service.post("/v1/verify", files=files(first=ANN, second=content)), status, kind)
    assert refused["clip"] == "second.wav"


def test_a_file_name_is_a_name_and_nothing_else(client: StartService, tmp_path: Any) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(ANN)
    sent = {"first": (str(secret), b"", "audio/wav"), "second": ("b.wav", BOB, "audio/wav")}
    problem(client().post("/v1/verify", files=sent), 422, "empty")


def test_a_search_lists_who_is_closest_and_whether_they_pass(client: StartService) -> None:
    response = client("default", "other").post(
        "/v1/search", files=files(clip=wav(talk("speaker-005", 3))), data={"top_k": "2"}
    )
    assert response.status_code == 200
    body = response.json()
    assert body["speaker"] == "speaker-005"
    assert body["agree"] is True
    for answer in body["answers"].values():
        assert [hit["rank"] for hit in answer["hits"]] == [1, 2]
        assert answer["hits"][0]["speaker"] == "speaker-005"
        assert [hit["passes"] for hit in answer["hits"]] == [
            hit["score"] >= answer["threshold"] for hit in answer["hits"]
        ]
        assert answer["searched"] == 14
    assert body["clip"]["name"] == "clip.wav"


def test_a_search_does_not_tell_where_recordings_lie_on_the_server(client: StartService, stores: Any) -> None:
    text = client().post("/v1/search", files=files(clip=ANN)).text
    assert "path" not in text
    assert str(stores) not in text


@pytest.mark.parametrize("wrong", [{"top_k": "0"}, {"top_k": "101"}, {"top_k": "x"}, {"level": "room"}])
def test_a_search_that_makes_no_sense_is_refused(client: StartService, wrong: dict[str, str]) -> None:
    body = problem(client().post("/v1/search", files=files(clip=ANN), data=wrong), 422, "invalid")
    assert body["errors"][0]["field"] == next(iter(wrong))


def test_a_stranger_passes_in_no_store(client: StartService) -> None:
    body = client().post("/v1/search", files=files(clip=wav(talk("a stranger", 0)))).json()
    assert body["speaker"] is None
    assert not any(hit["passes"] for hit in body["answers"]["default"]["hits"])


def test_a_countermeasure_adds_the_lowest_score_of_the_clips(client: StartService, tmp_path: Any) -> None:
    service = client(spoof_model=loudness_graph(tmp_path / "spoof.onnx"))
    one = service.post("/v1/search", files=files(clip=ANN)).json()["replay"]
    other = service.post("/v1/search", files=files(clip=BOB)).json()["replay"]
    assert one["checked"] is True
    assert one["spoof_score"] != other["spoof_score"]
    both = service.post("/v1/verify", files=files(first=ANN, second=BOB)).json()["replay"]
    assert both["spoof_score"] == pytest.approx(min(one["spoof_score"], other["spoof_score"]))
