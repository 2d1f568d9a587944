"""Keys on the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serve.browser.conftest import Visit, close
from tests.serve.browser.running import serving
from vecsv.serve.keys import add_key


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def locked(store: Path, keys: Path, windows: list[Any]) -> Iterator[str]:
    """A service that asks for a key."""
    add_key(keys, "somebody else", ["read"])
    with serving("--store", store, "--keys", keys) as address:
        yield address + "/"
        close(windows)


def test_a_wrong_key_is_said_to_be_and_a_right_one_opens(visit: Visit, locked: str, keys: Path) -> None:
    _, key = add_key(keys, "tester", ["read", "enrol", "admin"])
    page = visit(locked, at="#people")
    page.watch.refusals.add(401)
    dialog = page.page.get_by_role("dialog", name="This service asks for a key")
    field = dialog.get_by_label("Key", exact=True)
    field.fill("vecsv_00000000_" + 64 * "0")
    page.page.keyboard.press("Enter")
    dialog.get_by_text("This key is not known here.").wait_for()
    page.picture("key", whole=False)
    assert field.input_value() == ""
    field.fill(key)
    dialog.get_by_role("button", name="Continue").click()
    dialog.wait_for(state="hidden")
    assert "voice-000" in page.names()
    storages = page.page.evaluate("() => [Object.values({...sessionStorage}), Object.values({...localStorage})]")
    assert key in storages[0]
    assert key not in storages[1]
    page.page.reload()
    assert "voice-000" in page.names()
    page.page.get_by_role("button", name="Forget key").click()
    dialog.wait_for()
    assert key not in page.page.evaluate("() => Object.values({...sessionStorage})")


def test_a_key_without_the_scope_is_told_so(visit: Visit, locked: str, keys: Path, corpus: Path) -> None:
    _, key = add_key(keys, "reader", ["read"])
    page = visit(locked)
    page.watch.refusals |= {401, 403}
    dialog = page.page.get_by_role("dialog")
    dialog.get_by_label("Key", exact=True).fill(key)
    page.page.keyboard.press("Enter")
    dialog.wait_for(state="hidden")
    panel = page.tab("enrol")
    panel.get_by_label("Name").fill("Ada")
    page.give(panel, corpus / "voice-010" / "000.wav")
    assert "The key you gave may not do this." in page.problem(panel)


def test_without_a_key_nothing_is_shown_of_anybody(visit: Visit, locked: str) -> None:
    page = visit(locked, at="#people")
    page.watch.refusals.add(401)
    dialog = page.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Cancel").click()
    dialog.wait_for(state="hidden")
    page.page.locator("#people .problem").wait_for()
    assert "This needs a key." in page.page.locator("#people .problem").inner_text()
    assert page.page.locator(".people li").count() == 0
