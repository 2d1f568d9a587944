"""Searching, listing and erasing on the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serve.browser.conftest import Visit
from tests.serve.browser.running import Microphone
from vecsv.api import Store


def test_a_voice_from_the_microphone_is_found(visit: Visit, service: str, corpus: Path, microphone: Microphone) -> None:
    page = visit(service)
    panel = page.tab("search")
    page.record(panel, min(4.0, microphone.hear(corpus / "voice-006" / "000.wav")))
    page.answer(panel)
    hits = panel.locator(".hits > li")
    assert hits.count() == 5
    assert hits.first.locator(".who").inner_text() == "voice-006"
    page.picture("search")


def test_the_ranking_is_the_librarys(visit: Visit, service: str, store: Path, corpus: Path) -> None:
    page = visit(service)
    panel = page.tab("search")
    page.give(panel, corpus / "voice-011" / "002.wav")
    page.answer(panel)
    expected = Store(store).search(corpus / "voice-011" / "002.wav", top_k=5).hits
    assert panel.locator(".hits .who").all_inner_texts() == [hit.speaker for hit in expected]
    shown = [float(text) for text in panel.locator(".hits li > .row > .numbers > [aria-hidden]").all_inner_texts()]
    assert shown == pytest.approx([hit.score for hit in expected], abs=0.00501)


def test_whoever_is_erased_is_gone_everywhere(visit: Visit, service: str, store: Path, corpus: Path) -> None:
    page = visit(service)
    assert "voice-006" in page.names()
    people = page.page.locator("#people")
    dialog = page.page.get_by_role("dialog", name="Erase voice-006?")
    people.get_by_role("button", name="Erase voice-006").click()
    page.picture("people-erase", whole=False)
    dialog.get_by_role("button", name="Cancel").click()
    assert "voice-006" in page.names()
    people.get_by_role("button", name="Erase voice-006").click()
    dialog.get_by_role("button", name="Erase", exact=True).click()
    people.get_by_role("button", name="Erase voice-006").wait_for(state="detached")
    assert "voice-006" not in page.names()
    assert "voice-006" not in {one.speaker for one in Store(store).speakers()}
    panel = page.tab("search")
    page.give(panel, corpus / "voice-006" / "000.wav")
    page.answer(panel)
    assert "voice-006" not in panel.locator(".hits .who").all_inner_texts()


def test_escape_erases_nobody(visit: Visit, service: str) -> None:
    page = visit(service)
    page.names()
    page.page.get_by_role("button", name="Erase voice-001").click()
    page.page.keyboard.press("Escape")
    page.page.get_by_role("dialog").wait_for(state="hidden")
    assert "voice-001" in page.names()


def test_a_person_of_the_list_is_taken_to_verify(visit: Visit, service: str, corpus: Path) -> None:
    page = visit(service)
    page.names()
    page.page.get_by_role("button", name="Verify voice-004").click()
    panel = page.page.locator("#verify")
    page.give(panel.locator(".card").first, corpus / "voice-004" / "003.wav")
    assert page.answer(panel) == "Same person"


def test_a_name_is_never_read_as_markup(visit: Visit, service: str, corpus: Path) -> None:
    name = "<img src=x onerror=alert(1)> & \"quotes\" 'n' ../.."
    page = visit(service)
    panel = page.tab("enrol")
    panel.get_by_label("Name").fill(name)
    page.give(panel, corpus / "voice-010" / "000.wav")
    page.answer(panel)
    assert name in page.names()
    assert page.page.locator("main img").count() == 0


def test_a_store_with_nobody_says_so(visit: Visit, service: str) -> None:
    page = visit(service)
    for name in page.names():
        row = page.page.get_by_role("button", name=f"Erase {name}")
        row.click()
        page.page.get_by_role("dialog").get_by_role("button", name="Erase", exact=True).click()
        row.wait_for(state="detached")
    page.page.get_by_text("Nobody is here yet.").wait_for()
    page.page.get_by_role("button", name="Enrol the first voice").click()
    assert page.page.locator("#tab-enrol").get_attribute("aria-selected") == "true"
