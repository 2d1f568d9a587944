"""What a person does on the page, said in one word each."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.serve.browser.running import Watch

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

_SCREENSHOTS = Path(__file__).resolve().parents[3] / "build" / "screenshots"


@dataclass(frozen=True)
class VecsvPage:
    """The page, and what it did."""

    page: Page
    watch: Watch

    def tab(self, name: str) -> Locator:
        """Bring a tab into view; gives its panel."""
        self.page.locator(f"#tab-{name}").click()
        return self.page.locator(f"#{name}")

    def record(self, place: Locator, seconds: float) -> None:
        """Record for so long, in a panel or a card of it."""
        button = place.locator("button.record")
        cards = place.locator(".clip")
        before = cards.count()
        button.click()
        self.wait_until_recorded(place, seconds)
        button.click()
        cards.nth(before).wait_for()

    def wait_until_recorded(self, place: Locator, seconds: float) -> None:
        """Wait for a recording to begin and to be so long."""
        place.locator(".taker.recording").wait_for()
        self.page.wait_for_function(
            "([clock, seconds]) => parseFloat(clock.textContent) >= seconds",
            arg=[place.locator(".clock").element_handle(), seconds],
        )

    def give(self, place: Locator, *files: Path) -> None:
        """Choose files, in a panel or a card of it."""
        cards = place.locator(".clip")
        before = cards.count()
        place.locator("input[type=file]").set_input_files([str(file) for file in files])
        cards.nth(before + len(files) - 1).wait_for()

    def verify(self) -> tuple[Locator, Locator, Locator]:
        """The tab "Verify": its panel, and the cards of the first and the second voice."""
        panel = self.tab("verify")
        cards = panel.locator(".pair").first.locator("> .card")
        return panel, cards.nth(0), cards.nth(1)

    def answer(self, panel: Locator) -> str:
        """Ask the service; gives the verdict."""
        panel.locator("button[type=submit]").click()
        return panel.locator(".verdict").inner_text()

    def problem(self, panel: Locator) -> str:
        """Ask the service, and be told what is wrong."""
        panel.locator("button[type=submit]").click()
        return panel.locator(".problem").inner_text()

    def score(self, panel: Locator) -> float:
        """The score that the chart points at."""
        return float(panel.locator(".bubble-text").first.text_content() or "nan")

    def names(self) -> list[str]:
        """The names in the tab "People"."""
        panel = self.tab("people")
        panel.locator(".people li").first.wait_for()
        return panel.locator(".who").all_inner_texts()

    def picture(self, name: str, *, whole: bool = True) -> Path:
        """Take a picture for people to look at."""
        folder = Path(os.environ.get("VECSV_TEST_SCREENSHOTS") or _SCREENSHOTS)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{re.sub('[^a-z0-9-]', '-', name.lower())}.png"
        # Rings fill and answers scroll for half a second or so.
        self.page.wait_for_timeout(900)
        self.page.screenshot(path=path, full_page=whole)
        return path
