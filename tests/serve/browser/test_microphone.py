"""The microphone: allowed, denied, missing, or not to be had on this address."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import soundfile

from tests.serve.browser.conftest import Launch, Visit, open_window
from tests.serve.browser.running import Microphone, Watch, origin_of, serving


def test_a_denied_microphone_is_explained_and_files_still_do(
    launch: Launch, service: str, corpus: Path, microphone: Microphone
) -> None:
    microphone.hear(corpus / "voice-000" / "000.wav")
    with launch("--use-fake-ui-for-media-stream=deny") as browser:
        page = open_window(browser, Watch(origin_of(service)), service)
        panel = page.tab("search")
        panel.locator("button.record").click()
        alert = panel.get_by_role("alert")
        alert.get_by_text("The browser did not let this page use the microphone.").wait_for()
        page.picture("microphone-denied")
        page.give(panel, corpus / "voice-000" / "000.wav")
        assert "voice-000" in page.answer(panel)
        assert page.watch.complaints == []


def test_a_missing_microphone_is_explained(visit: Visit, service: str) -> None:
    page = visit(service)
    page.page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError'); }; }"
    )
    panel = page.tab("search")
    panel.locator("button.record").click()
    panel.get_by_text("No microphone was found.").wait_for()
    assert panel.locator("button.record").is_enabled()


def test_an_address_that_is_not_secure_is_explained(launch: Launch, store: Path) -> None:
    with (
        serving("--store", store, "--allow-host", "vecsv.test") as address,
        launch("--host-resolver-rules=MAP vecsv.test 127.0.0.1") as browser,
    ):
        url = f"http://vecsv.test:{urlsplit(address).port}/"
        page = open_window(browser, Watch(origin_of(url)), url)
        page.page.get_by_text("A browser gives the microphone only to pages on HTTPS or on localhost.").wait_for()
        assert page.page.locator("#enrol button.record").is_disabled()


def test_what_is_too_quiet_is_said_while_it_is_recorded(
    visit: Visit, service: str, microphone: Microphone, tmp_path: Path
) -> None:
    hum = 0.002 * np.sin(np.arange(16000 * 10) * 0.2)
    soundfile.write(tmp_path / "quiet.wav", hum, 16000, "PCM_16")
    microphone.hear(tmp_path / "quiet.wav")
    page = visit(service)
    panel = page.tab("search")
    panel.locator("button.record").click()
    panel.get_by_text("Too quiet. Come closer or speak up").wait_for()
    panel.locator("button.record").click()


def test_what_is_too_loud_is_said_while_it_is_recorded(
    visit: Visit, service: str, microphone: Microphone, tmp_path: Path
) -> None:
    loud = np.clip(3 * np.sin(np.arange(16000 * 10) * 0.2), -1, 1)
    soundfile.write(tmp_path / "loud.wav", loud, 16000, "PCM_16")
    microphone.hear(tmp_path / "loud.wav")
    page = visit(service)
    panel = page.tab("search")
    panel.locator("button.record").click()
    panel.get_by_text("Too loud, it distorts. Move back a little").wait_for()
    panel.locator("button.record").click()


def test_the_microphone_is_let_go_after_a_recording(
    visit: Visit, service: str, corpus: Path, microphone: Microphone
) -> None:
    microphone.hear(corpus / "voice-000" / "000.wav")
    page = visit(service)
    page.page.evaluate(
        """() => {
          const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
          navigator.mediaDevices.getUserMedia = async (wanted) => (window.given = await ask(wanted));
        }"""
    )
    page.record(page.tab("search"), 1.0)
    assert page.page.evaluate("() => window.given.getTracks().map((track) => track.readyState)") == ["ended"]


def test_a_recording_begun_elsewhere_ends_the_first_and_keeps_it(
    visit: Visit, service: str, corpus: Path, microphone: Microphone
) -> None:
    microphone.hear(corpus / "voice-000" / "000.wav")
    page = visit(service)
    _, first, second = page.verify()
    first.locator("button.record").click()
    page.wait_until_recorded(first, 1.0)
    second.locator("button.record").click()
    first.locator(".clip").wait_for()
    second.locator(".taker.recording").wait_for()
    page.page.keyboard.press("Escape")
    second.locator(".taker.recording").wait_for(state="detached")
    assert second.locator(".clip").count() == 0


def test_while_somebody_speaks_the_page_shows_it(
    visit: Visit, service: str, corpus: Path, microphone: Microphone
) -> None:
    takes = [corpus / "voice-000" / f"{take:03d}.wav" for take in range(2)]
    microphone.hear(*takes)
    page = visit(service)
    panel = page.tab("enrol")
    panel.locator("button.record").click()
    panel.get_by_text("That is enough. Stop when you like").wait_for()
    drawn = panel.locator(".live canvas").evaluate(
        "(canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((one) => one)"
    )
    assert drawn
    page.picture("recording")
    panel.locator("button.record").click()
    panel.locator(".clip").wait_for()
