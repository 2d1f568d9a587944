from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from tests.serve.conftest import StartService, talk, wav
from tests.serve.test_routes_queries import files, problem
from vecsv.errors import StoreError, UsageError
from vecsv.serve.keys import Scope, add_key
from vecsv.serve.score_histogram import ScoreHistogram, histogram_of
from vecsv.serve.settings import ServeSettings

pytest.importorskip("fastapi")

CLIP = wav(talk("ann"))


def show(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_process_that_answers_is_alive(client: StartService) -> None:
    assert client().get("/healthz").json()["status"] == "alive"


def test_ready_says_which_generation_each_store_is_at(client: StartService) -> None:
    body = client("default", "other").get("/readyz").json()
    assert body["status"] == "ready"
    assert set(body["stores"]) == {"default", "other"}
    assert min(body["stores"].values()) >= 1
    assert (body["queued"], body["queue"]) == (0, 64)


def test_a_service_whose_store_is_gone_is_alive_and_not_ready(client: StartService, stores: Path) -> None:
    service = client()
    shutil.rmtree(stores / "default")
    body = problem(service.get("/readyz"), 503, "busy")
    assert str(stores) not in json.dumps(body)
    assert service.get("/healthz").status_code == 200
    # Nor does any other answer tell where it was.
    refused = service.post("/v1/verify", files=files(first=CLIP, second=CLIP))
    assert str(stores) not in problem(refused, 409, "store")["hint"]


def test_every_error_is_a_problem(client: StartService) -> None:
    service = client()
    problem(service.get("/nothing"), 404, "not-found")
    assert service.get("/nothing").json()["hint"]
    problem(service.put("/v1/speakers"), 405, "method")
    garbled = service.post(
        "/v1/search", content=b"x", headers={"Content-Type": "multipart/form-data; boundary=b", "Content-Length": "1"}
    )
    assert garbled.status_code in {400, 422}
    assert garbled.headers["content-type"] == "application/problem+json"


def test_a_defect_is_told_without_its_traceback(client: StartService, monkeypatch: pytest.MonkeyPatch) -> None:
    service = client()

    def broken(*_: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(service.app.state.runtime.service, "speakers", broken)
    response = service.get("/v1/speakers")
    problem(response, 500, "defect")
    assert "secret" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"


def test_metrics_count_what_was_asked(client: StartService) -> None:
    service = client()
    service.post("/v1/search", files=files(clip=CLIP))
    service.post("/v1/search", files=files(clip=b"no recording"))
    text = service.get("/metrics").text
    assert 'vecsv_requests_total{method="POST",route="/v1/search",status="200"} 1.0' in text
    assert 'vecsv_requests_total{method="POST",route="/v1/search",status="422"} 1.0' in text
    assert 'vecsv_decode_failures_total{code="not-audio"} 1.0' in text
    assert "vecsv_batch_clips_count 1.0" in text
    assert 'vecsv_enrolled_speakers{store="default"} 0.0' in text


def test_the_calibration_is_shown_with_the_scores_behind_it(client: StartService) -> None:
    found = client("default", "other").get("/v1/calibration").json()
    assert set(found) == {"default", "other"}
    for one in found.values():
        assert one["origin"] == "store"
        names = [point["name"] for point in one["thresholds"]]
        assert one["in_force"] in names
        histogram = one["histogram"]
        assert len(histogram["edges"]) == len(histogram["targets"]) + 1 == len(histogram["non_targets"]) + 1
        assert histogram["edges"] == sorted(histogram["edges"])
        assert (sum(histogram["targets"]), sum(histogram["non_targets"])) == (
            14 * 15,
            pytest.approx(14 * 13 * 18, rel=0.6),
        )
        assert one["search"]["fpir"] == 0.1


def test_the_histogram_is_read_once_a_generation(client: StartService, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(path: Path) -> ScoreHistogram | None:
        read.append(path)
        return histogram_of(path)

    monkeypatch.setattr("vecsv.serve.gallery.histogram_of", counted)
    service = client()
    for _ in range(3):
        service.get("/v1/calibration")
    assert len(read) == 1
    service.delete("/v1/speakers/speaker-000")
    service.get("/v1/calibration")
    assert len(read) == 2


def test_the_page_is_served_and_a_browsers_copy_is_checked_each_time(client: StartService) -> None:
    service = client()
    page = service.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    assert "script-src 'unsafe" not in page.headers["content-security-policy"]
    again = service.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    style = service.get("/page/style.css")
    assert style.headers["content-type"] == "text/css; charset=utf-8"
    problem(service.get("/page/../app.py"), 404, "not-found")
    problem(service.get("/page/nothing.js"), 404, "not-found")


def test_the_description_names_examples_and_problems_for_every_route(client: StartService) -> None:
    document = client().get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/verify",
        "/v1/search",
        "/v1/speakers/{speaker}/enrollments",
        "/v1/speakers",
        "/v1/speakers/{speaker}",
        "/v1/calibration",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    schemas = document["components"]["schemas"]
    assert "HTTPValidationError" not in schemas
    (name,) = document["paths"]["/v1/speakers/{speaker}"]["get"]["parameters"]
    assert name["schema"]["maxLength"] == 200
    assert name["schema"]["pattern"].startswith("^")
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            for status, response in operation["responses"].items():
                (media,) = response["content"].items()
                if status.startswith("2"):
                    continue
                assert media[0] == "application/problem+json"
                assert media[1]["schema"] == {"$ref": "#/components/schemas/Problem"}
                assert media[1]["example"]["status"] == int(status)
    references = json.dumps(document).split('"$ref": "#/components/schemas/')[1:]
    assert {reference.split('"')[0] for reference in references} <= set(schemas)
    for name in ("VerifyAnswer", "SearchAnswer", "EnrolAnswer", "SpeakersAnswer", "EraseAnswer", "CalibrationInfo"):
        assert schemas[name]["examples"], name


def test_the_examples_are_such_answers(client: StartService) -> None:
    from vecsv.serve import schemas

    for name, model in vars(schemas).items():
        examples = getattr(model, "model_config", {}).get("json_schema_extra", {}) if isinstance(model, type) else {}
        for example in examples.get("examples", []):
            assert model.model_validate(example).model_dump() == example, name


def test_each_request_has_an_id_that_the_answer_repeats(client: StartService) -> None:
    response = client().get("/v1/speakers", headers={"X-Request-ID": "mine-1"})
    assert response.json()["request_id"] == response.headers["x-request-id"] == "mine-1"


def test_a_key_is_asked_for_where_there_are_keys(client: StartService, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    _, reader = add_key(path, "reader", [Scope.READ])
    _, writer = add_key(path, "writer", [Scope.ENROL])
    service = client(keys_file=path)
    clip = {"files": [("clips", ("a.wav", CLIP, "audio/wav"))]}
    problem(service.get("/v1/speakers"), 401, "no-key")
    assert service.get("/v1/speakers", headers=show(reader)).status_code == 200
    problem(service.post("/v1/speakers/ann/enrollments", **clip, headers=show(reader)), 403, "scope")
    assert service.post("/v1/speakers/ann/enrollments", **clip, headers=show(writer)).status_code == 201
    problem(service.delete("/v1/speakers/ann", headers=show(writer)), 403, "scope")
    problem(service.get("/metrics", headers=show(reader)), 403, "scope")
    for path_open in ("/", "/healthz", "/readyz", "/openapi.json", "/page/app.js"):
        assert service.get(path_open).status_code == 200


def test_who_asks_too_often_is_told_to_wait(client: StartService) -> None:
    service = client(rate_per_minute=2)
    answers = [service.get("/v1/speakers") for _ in range(4)]
    problem(answers[-1], 429, "rate")
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert service.get("/healthz").status_code == 200


def test_a_request_that_is_too_large_is_not_read(client: StartService) -> None:
    service = client(max_upload_mb=0.05)
    problem(service.post("/v1/search", files=files(clip=b"x" * 500_000)), 413, "too-large")


def test_a_full_queue_is_told_and_when_to_come_back(client: StartService, monkeypatch: pytest.MonkeyPatch) -> None:
    service = client(queue=1)
    pool = service.app.state.runtime.pool
    monkeypatch.setattr(pool, "_clips_in_house", 1)
    body = service.post("/v1/search", files=files(clip=CLIP))
    problem(body, 503, "busy")
    assert int(body.headers["retry-after"]) >= 1
    problem(service.get("/readyz"), 503, "busy")
    assert "vecsv_overload_refusals_total 1.0" in service.get("/metrics").text


def test_clips_that_are_being_decoded_count_as_well(client: StartService, monkeypatch: pytest.MonkeyPatch) -> None:
    service = client(queue=1)
    monkeypatch.setattr(service.app.state.runtime.intake, "_inside", 2)
    problem(service.post("/v1/search", files=files(clip=CLIP)), 503, "busy")
    monkeypatch.setattr(service.app.state.runtime.intake, "_inside", 1)
    assert service.post("/v1/search", files=files(clip=CLIP)).status_code == 200
    # A request that failed has left the house too.
    for content in (b"no recording", CLIP):
        service.post("/v1/search", files=files(clip=content))
    assert service.app.state.runtime.intake._inside == 1


def test_the_event_loop_answers_while_the_stores_are_busy(
    client: StartService, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    service = client()
    held, free = threading.Event(), threading.Event()

    def slow(speaker: str) -> Any:
        held.set()
        free.wait(30)
        raise UsageError("enough")

    monkeypatch.setattr(service.app.state.runtime.service, "erase", slow)
    asked = threading.Thread(target=service.delete, args=("/v1/speakers/ann",))
    asked.start()
    try:
        assert held.wait(30)
        assert service.get("/healthz").status_code == 200
        assert service.post("/v1/search", files=files(clip=CLIP)).status_code == 200
    finally:
        free.set()
        asked.join()


def test_what_was_accepted_is_finished_when_the_service_ends(client: StartService) -> None:
    service = client(shutdown_s=30.0)
    runtime = service.app.state.runtime

    async def ends() -> tuple[int, bool]:
        class Upload:
            filename = "a.wav"

            async def read(self, size: int = -1) -> bytes:
                return CLIP

        heard = asyncio.create_task(runtime.intake.hear([Upload()]))
        while not runtime.pool.depth:
            await asyncio.sleep(0.001)
        finished = await runtime.drain()
        return len(await heard), finished

    assert asyncio.run(ends()) == (1, True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stores": {}}, "at least one store"),
        ({"stores": {"a/b": Path("x")}}, "no name for a store"),
        ({"port": 70000}, "port 70000"),
        ({"queue": 0}, "queue 0"),
        ({"max_upload_mb": float("nan")}, "max upload mb"),
        ({"decode_s": -1.0}, "decode s"),
        ({"rate_per_minute": -1}, "rate"),
        ({"tls_key": Path("key.pem")}, "certificate and its key"),
        ({"allowed_origins": ("*",)}, "no origin"),
        ({"allowed_origins": ("example.org",)}, "no origin"),
        ({"trusted_proxies": ("everybody",)}, "no network"),
        ({"model": "ge2e", "stores": {"a": Path("a"), "b": Path("b")}}, "--model goes with one store"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ServeSettings(**({"stores": {"default": Path("index")}} | options))


def test_off_loopback_nothing_is_served_without_keys(stores: Path, tmp_path: Path) -> None:
    at_large = {"stores": {"default": stores / "default"}, "host": "0.0.0.0"}
    with pytest.raises(UsageError, match="would ask nobody for a key"):
        ServeSettings(**at_large).require_safe()
    path = tmp_path / "keys.json"
    add_key(path, "reader", [Scope.READ])
    (note,) = ServeSettings(**at_large, keys_file=path).require_safe()
    assert "in the clear" in note
    path.chmod(0o644)
    with pytest.raises(UsageError, match="may be read by everybody"):
        ServeSettings(**at_large, keys_file=path).require_safe()


def test_a_folder_without_a_store_is_not_served(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store here"):
        ServeSettings({"default": tmp_path}).require_safe()


def test_nothing_is_left_running_when_the_start_fails(stores: Path, tmp_path: Path) -> None:
    from tests.fixtures.embedders import SpectralEmbedder
    from vecsv.serve.runtime import open_runtime

    settings = ServeSettings({"default": stores / "default"}, spoof_model=tmp_path / "none.onnx")
    begun = time.monotonic()
    with pytest.raises(UsageError, match="no such file"):
        open_runtime(settings, embedders={"default": SpectralEmbedder(0)})
    assert time.monotonic() - begun < 30
