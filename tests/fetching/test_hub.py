from __future__ import annotations

import errno
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fetching import hub_server
from tests.fetching.hub_server import COMMIT, REPO, TOKEN, Hub, digest
from vecsv.errors import ModelError
from vecsv.fetching import download as downloading
from vecsv.fetching import hub as client
from vecsv.fetching.download import Patience
from vecsv.fetching.sources import HubSource, UnreachableModelError

NAME = "model.onnx"
CONTENT = bytes(range(256)) * 3000
QUICK = Patience(tries=3, wait_s=0.01, silence_s=5.0)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the person who runs the tests, and no proxy."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "VECSV_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server.serving(Hub({NAME: CONTENT, "config.json": b"{}"})) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def pinned(**files: str) -> HubSource:
    return HubSource(REPO, COMMIT, files or {NAME: digest(CONTENT)}, mb=1)


def fetch(folder: Path, source: HubSource | None = None, patience: Patience = QUICK, **given: Any) -> bytes:
    client.fetch(source or pinned(), folder, patience=patience, **given)
    return (folder / NAME).read_bytes()


def refusal(folder: Path, source: HubSource | None = None, patience: Patience = QUICK) -> str:
    """The one line that a fetch ends with; it leaves nothing that looks whole."""
    with pytest.raises(ModelError) as refused:
        fetch(folder, source, patience)
    assert not (folder / NAME).exists()
    text = str(refused.value)
    assert "\n" not in text
    return text


def part(folder: Path) -> Path:
    return folder / f"{NAME}.part"


class TestFetching:
    @pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
    def test_a_large_file_is_followed_to_the_content_network(self, code: int, hub: Hub, tmp_path: Path) -> None:
        hub.redirect_status = code
        assert fetch(tmp_path) == CONTENT
        assert [one.server for one in hub.asked] == ["hub", "cdn"]
        assert not part(tmp_path).exists()

    def test_a_small_file_comes_from_the_hub_itself(self, hub: Hub, tmp_path: Path) -> None:
        client.fetch(HubSource(REPO, COMMIT, {"config.json": digest(b"{}")}, 1), tmp_path)
        assert (tmp_path / "config.json").read_bytes() == b"{}"
        assert not hub.of_cdn()

    def test_a_file_in_a_folder_with_odd_letters_keeps_its_path(self, hub: Hub, tmp_path: Path) -> None:
        name = "onnx/a model+ü#1.onnx"
        hub.files[name] = CONTENT
        client.fetch(HubSource(REPO, COMMIT, {name: digest(CONTENT)}, 1), tmp_path)
        assert (tmp_path / name).read_bytes() == CONTENT

    def test_a_mirror_may_have_a_path_before_its_repositories(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with hub_server.serving(Hub({NAME: CONTENT}, prefix="/mirrors/hf")) as mirror:
            monkeypatch.setenv("HF_ENDPOINT", f"{mirror.url}/")
            assert fetch(tmp_path) == CONTENT
            assert mirror.asked[0].path == f"/mirrors/hf/{REPO}/resolve/{COMMIT}/{NAME}"

    def test_what_is_there_and_right_is_not_fetched_again(self, hub: Hub, tmp_path: Path) -> None:
        fetch(tmp_path)
        hub.asked.clear()
        assert fetch(tmp_path) == CONTENT
        assert not hub.asked

    def test_what_is_there_and_wrong_is_fetched_again(self, hub: Hub, tmp_path: Path) -> None:
        (tmp_path / NAME).write_bytes(b"damaged")
        assert fetch(tmp_path) == CONTENT

    def test_progress_counts_the_bytes_of_all_files_up_to_the_end(self, hub: Hub, tmp_path: Path) -> None:
        told: list[int] = []
        files = {NAME: digest(CONTENT), "config.json": digest(b"{}")}
        fetch(tmp_path, HubSource(REPO, COMMIT, files, mb=1), progress=lambda done, total: told.append(done))
        assert told == sorted(told)
        assert told[-1] == len(CONTENT) + 2

    def test_a_slow_server_is_waited_for_as_long_as_something_comes(self, hub: Hub, tmp_path: Path) -> None:
        hub.faults = [hub_server.dripping(8, 0.05)]
        assert fetch(tmp_path, patience=Patience(tries=1, silence_s=0.3)) == CONTENT

    def test_a_packed_answer_is_unpacked(self, hub: Hub, tmp_path: Path) -> None:
        hub.faults = [hub_server.packed]
        assert fetch(tmp_path) == CONTENT

    def test_no_packing_is_asked_for(self, hub: Hub, tmp_path: Path) -> None:
        fetch(tmp_path)
        assert {one.headers["Accept-Encoding"] for one in hub.asked} == {"identity"}


class TestCuts:
    def test_a_cut_connection_is_continued_within_the_run(self, hub: Hub, tmp_path: Path) -> None:
        hub.faults = [hub_server.cut_after(100_000), hub_server.cut_after(50_000)]
        assert fetch(tmp_path) == CONTENT
        assert [one.headers.get("Range") for one in hub.of_cdn()] == [None, "bytes=100000-", "bytes=150000-"]

    def test_what_came_before_giving_up_is_continued_by_the_next_run(self, hub: Hub, tmp_path: Path) -> None:
        hub.faults = [hub_server.cut_after(100_000)]
        text = refusal(tmp_path, patience=Patience(tries=1))
        assert "cut after 100,000 of 768,000 bytes (the 100,000 bytes that came are kept: try again)" in text
        assert part(tmp_path).read_bytes() == CONTENT[:100_000]
        hub.asked.clear()
        assert fetch(tmp_path) == CONTENT
        assert [one.headers.get("Range") for one in hub.of_cdn()] == ["bytes=100000-"]

    def test_a_server_that_knows_no_ranges_gives_the_whole_file_again(self, hub: Hub, tmp_path: Path) -> None:
        part(tmp_path).write_bytes(CONTENT[:1000])
        hub.faults = [hub_server.ignoring_range]
        assert fetch(tmp_path) == CONTENT
        assert hub.of_cdn()[0].headers["Range"] == "bytes=1000-"

    def test_a_download_killed_after_its_last_byte_is_finished_without_fetching(self, hub: Hub, tmp_path: Path) -> None:
        part(tmp_path).write_bytes(CONTENT)
        assert fetch(tmp_path) == CONTENT

    @pytest.mark.parametrize("left", [b"x" * 1000, CONTENT + b"x"])
    def test_the_beginning_of_another_file_is_thrown_away_and_fetched_anew(
        self, left: bytes, hub: Hub, tmp_path: Path
    ) -> None:
        part(tmp_path).write_bytes(left)
        assert fetch(tmp_path) == CONTENT

    def test_a_range_other_than_asked_for_is_not_appended(self, hub: Hub, tmp_path: Path) -> None:
        part(tmp_path).write_bytes(CONTENT[:1000])
        shifted = {"Content-Range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"}
        hub.faults = [lambda request, content: request.answer(206, content, shifted)]
        assert fetch(tmp_path) == CONTENT

    def test_silence_counts_as_a_cut(self, hub: Hub, tmp_path: Path) -> None:
        hub.faults = [hub_server.dripping(2, 1.0)]
        assert fetch(tmp_path, patience=Patience(tries=2, wait_s=0.01, silence_s=0.2)) == CONTENT

    def test_a_server_that_hangs_up_at_once_is_asked_again_and_given_up(self, hub: Hub, tmp_path: Path) -> None:
        hub.faults = [hub_server.hanging_up]
        assert fetch(tmp_path) == CONTENT
        shutil.rmtree(tmp_path)
        hub.faults = [hub_server.hanging_up] * 3
        assert "try again" in refusal(tmp_path)

    def test_a_server_that_cuts_for_ever_is_given_up(self, hub: Hub, tmp_path: Path) -> None:
        hub.faults = [hub_server.cut_after(1)] * 9
        assert "cut 5 times" in refusal(tmp_path, patience=Patience(tries=3, cuts=5, wait_s=0.0))


class TestStatuses:
    def test_a_busy_server_is_waited_for_as_long_as_it_asks(
        self, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits: list[float] = []
        monkeypatch.setattr("vecsv.fetching.download.time.sleep", waits.append)
        hub.hub_faults = [hub_server.status(429, {"Retry-After": "7"})]
        messages: list[str] = []
        assert fetch(tmp_path, on_message=messages.append) == CONTENT
        assert waits == [7.0]
        assert messages == [f"{NAME} of {REPO}: {hub.url} answers 429 Too Many Requests; trying again in 7 s"]

    def test_one_that_asks_for_too_long_a_wait_is_given_up_saying_how_long(self, hub: Hub, tmp_path: Path) -> None:
        hub.hub_faults = [hub_server.status(429, {"Retry-After": "3600"})]
        assert "answers 429 Too Many Requests, and asks to wait 3600 s" in refusal(tmp_path)
        assert len(hub.asked) == 1

    @pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
    def test_a_passing_failure_is_tried_again(self, code: int, hub: Hub, tmp_path: Path) -> None:
        hub.hub_faults = [hub_server.status(code), hub_server.status(code, {"Retry-After": "Thu, 01 Jan 2032"})]
        assert fetch(tmp_path) == CONTENT

    def test_a_server_that_stays_broken_is_given_up(self, hub: Hub, tmp_path: Path) -> None:
        hub.hub_faults = [hub_server.status(500)] * 3
        text = refusal(tmp_path)
        assert f"{NAME} of {REPO} cannot be fetched: " in text
        assert "answers 500 Internal Server Error (try again)" in text
        assert len(hub.asked) == 3

    @pytest.mark.parametrize(
        ("code", "advice"),
        [
            (401, "private or gated: check the name, or set HF_TOKEN"),
            (403, "accept its conditions"),
            (404, f"check the repository, the revision {COMMIT} and the file's name"),
            (410, "ask whoever runs it"),
        ],
    )
    def test_a_refusal_is_final_and_says_what_to_do(self, code: int, advice: str, hub: Hub, tmp_path: Path) -> None:
        hub.hub_faults = [hub_server.status(code)]
        text = refusal(tmp_path)
        assert f"answers {code}" in text
        assert advice in text
        assert len(hub.asked) == 1

    def test_a_file_that_is_not_in_the_repository_is_refused(self, hub: Hub, tmp_path: Path) -> None:
        with pytest.raises(UnreachableModelError, match=r"other\.onnx of someone/voices cannot be fetched: .* 404"):
            client.fetch(HubSource(REPO, COMMIT, {"other.onnx": "0" * 64}, 1), tmp_path)

    def test_redirects_without_end_are_given_up(self, hub: Hub, tmp_path: Path) -> None:
        hub.hub_faults = [hub_server.redirect(f"/{REPO}/resolve/{COMMIT}/{NAME}")] * 20
        assert "more than 10 redirects" in refusal(tmp_path)
        assert len(hub.asked) == 11

    @pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://127.0.0.1/a b", "http://["])
    def test_a_redirect_that_leads_nowhere_good_is_not_followed(self, where: str, hub: Hub, tmp_path: Path) -> None:
        hub.hub_faults = [hub_server.redirect(where)]
        assert refusal(tmp_path).startswith(f"{NAME} of {REPO} cannot be fetched: ")
        assert len(hub.asked) == 1

    def test_nobody_listening_is_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
            assert "Connection refused (try again)" in refusal(tmp_path)

    def test_a_host_that_is_not_found_is_one_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://no-such-host.invalid")
        text = refusal(tmp_path)
        assert "the host no-such-host.invalid is not found (check the network, HF_ENDPOINT" in text

    @pytest.mark.parametrize("value", ["huggingface.co", "ftp://x", "http://", "https://x/?y=1", "http://["])
    def test_an_endpoint_that_is_no_address_is_refused(
        self, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_ENDPOINT", value)
        assert "HF_ENDPOINT is" in refusal(tmp_path)

    def test_a_password_in_the_endpoint_is_refused_without_showing_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "https://me:secret@mirror.example")
        text = refusal(tmp_path)
        assert "set HF_TOKEN instead" in text
        assert "secret" not in text


class TestChecks:
    def test_a_wrong_file_is_removed_and_both_checksums_are_told(self, hub: Hub, tmp_path: Path) -> None:
        hub.files[NAME] = b"something else"
        text = refusal(tmp_path)
        assert f"{NAME} of {REPO} is not the file that was pinned: 14 bytes" in text
        assert digest(b"something else") in text
        assert f"expected {digest(CONTENT)}" in text
        assert not part(tmp_path).exists()

    def test_a_wrong_file_is_not_asked_for_twice(self, hub: Hub, tmp_path: Path) -> None:
        hub.files[NAME] = b"something else"
        refusal(tmp_path)
        assert len(hub.of_cdn()) == 1

    def test_a_file_larger_than_its_pin_allows_is_refused_before_it_comes(self, hub: Hub, tmp_path: Path) -> None:
        hub.files[NAME] = bytes(3_000_000)
        assert "has 3,000,000 bytes or more where at most 2,100,000 were expected" in refusal(tmp_path)
        assert not part(tmp_path).exists()

    def test_a_stream_without_end_is_cut_off(self, hub: Hub, tmp_path: Path) -> None:
        hub.faults = [hub_server.endless]
        assert "bytes or more where at most 2,100,000 were expected" in refusal(tmp_path)
        assert not part(tmp_path).exists()

    def test_a_little_that_unpacks_to_very_much_is_cut_off(self, hub: Hub, tmp_path: Path) -> None:
        hub.files[NAME] = bytes(50_000_000)
        hub.faults = [hub_server.packed]
        assert "bytes or more where at most 2,100,000 were expected" in refusal(tmp_path)
        assert not part(tmp_path).exists()

    def test_a_disk_that_is_too_small_is_told_before_a_byte_is_written(
        self, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr("vecsv.fetching.download.shutil.disk_usage", lambda _: usage._replace(free=1000))
        text = refusal(tmp_path)
        assert "there is no room" in text
        assert "VECSV_CACHE" in text
        assert list(tmp_path.iterdir()) == []

    def test_a_disk_that_fills_up_on_the_way_keeps_nothing(
        self, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        hub.faults = [hub_server.cut_after(1000)]
        refusal(tmp_path, patience=Patience(tries=1))
        monkeypatch.setattr(downloading, "_copy", full)
        assert "there is no room" in refusal(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_cannot_be_written_is_one_line(self, hub: Hub, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(ModelError, match="cannot be written: "):
            fetch(tmp_path / "file" / "folder")


class TestToken:
    def test_a_gated_repository_opens_for_the_token(
        self, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.gated = True
        assert "set HF_TOKEN" in refusal(tmp_path)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert fetch(tmp_path) == CONTENT

    def test_the_token_is_for_the_hub_and_not_for_the_content_network(
        self, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        fetch(tmp_path)
        assert [one.headers.get("Authorization") for one in hub.asked] == [f"Bearer {TOKEN}", None]

    def test_a_token_that_may_not_read_it_is_told_apart_from_none(
        self, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.gated = True
        monkeypatch.setenv("HF_TOKEN", "hf_another")
        text = refusal(tmp_path)
        assert "the token in HF_TOKEN may not read it" in text
        assert "hf_another" not in text

    def test_a_token_with_a_line_break_is_refused_without_showing_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "secret\r\nX-Evil: 1")
        text = refusal(tmp_path)
        assert "HF_TOKEN is no token" in text
        assert "secret" not in text


class TestListing:
    def test_a_branch_is_resolved_to_its_commit_and_files(self, hub: Hub) -> None:
        found = client.list_files(REPO, "main")
        assert found.commit == COMMIT
        assert found.files == {NAME: len(CONTENT), "config.json": 2}

    @pytest.mark.parametrize(("repo", "revision"), [(REPO, "no-such-branch"), ("someone/else", "main")])
    def test_what_the_hub_has_not_is_refused(self, repo: str, revision: str, hub: Hub) -> None:
        with pytest.raises(UnreachableModelError, match="404"):
            client.list_files(repo, revision)

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"sha": 1, "siblings": 3}'])
    def test_a_server_that_is_no_hub_is_refused(self, body: bytes, hub: Hub) -> None:
        hub.hub_faults = [lambda request, content: request.answer(200, body)]
        with pytest.raises(UnreachableModelError, match="does not answer as a hub does"):
            client.list_files(REPO, "main")

    def test_a_hub_that_names_another_commit_than_asked_for_is_refused(self, hub: Hub) -> None:
        hub.branches["f" * 40] = COMMIT
        with pytest.raises(ModelError, match="which cannot be"):
            client.list_files(REPO, "f" * 40)

    @pytest.mark.parametrize("repo", ["", "voices", "../x", "a/b/c", "a/..", "https://huggingface.co/a/b"])
    def test_what_is_no_repository_is_refused_before_anything_is_asked(self, repo: str) -> None:
        with pytest.raises(ModelError, match="is no repository"):
            client.list_files(repo, "main")


class TestOffline:
    @pytest.mark.parametrize("variable", ["VECSV_OFFLINE", "HF_HUB_OFFLINE"])
    def test_it_is_what_either_variable_says(self, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
        client.require_online("a model", hint="go online")
        monkeypatch.setenv(variable, "1")
        with pytest.raises(UnreachableModelError, match=f"{variable} forbids fetching it"):
            client.require_online("a model", hint="go online")
