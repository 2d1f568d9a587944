"""Whether everybody can use the page: contrast, names, languages, the keyboard alone."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import vecsv.serve
from tests.serve.browser.conftest import Visit
from tests.serve.browser.pages import VecsvPage
from tests.serve.browser.running import Microphone
from vecsv.api import Store

PAGE = Path(vecsv.serve.__file__).parent / "page"
TABS = ("enrol", "verify", "search", "people")
TEXT = 4.5
SHAPES = 3.0
#: WCAG 2.2, 1.4.3 and 1.4.11: what is seen in front of what, and how much they must differ.
SEEN = [
    *[(ink, ground, TEXT) for ink in ("ink", "ink-soft", "accent") for ground in ("paper", "card", "sunken")],
    ("ink", "raised", TEXT),
    ("accent-strong", "card", TEXT),
    ("same", "card", TEXT),
    ("different", "card", TEXT),
    ("on-accent", "accent", TEXT),
    ("on-accent", "accent-strong", TEXT),
    ("on-record", "record", TEXT),
    ("on-record", "record-strong", TEXT),
    ("accent", "accent-soft", TEXT),
    ("different", "different-soft", TEXT),
    ("warn", "warn-soft", TEXT),
    ("problem", "problem-soft", TEXT),
    ("ink", "problem-soft", TEXT),
    ("ink-soft", "problem-soft", TEXT),
    ("problem", "card", TEXT),
    ("edge", "card", SHAPES),
    ("edge", "paper", SHAPES),
    ("edge", "sunken", SHAPES - 0.3),
    ("record", "card", SHAPES),
    ("record", "sunken", SHAPES),
    ("warn", "sunken", SHAPES),
    ("focus", "paper", SHAPES),
    ("focus", "card", SHAPES),
    ("focus", "sunken", SHAPES),
]


def colours() -> dict[str, tuple[str, str]]:
    """Each colour of the page, light and dark."""
    text = (PAGE / "colours.css").read_text(encoding="utf-8")
    return {
        name: (light, dark)
        for name, light, dark in re.findall(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", text)
    }


def contrast(one: str, other: str) -> float:
    """WCAG 2.2's contrast ratio of two colours.

    Examples
    --------
    >>> contrast("#000000", "#ffffff")
    21.0
    """
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("front", "ground", "least"), SEEN)
def test_colours_differ_enough(front: str, ground: str, least: float, scheme: int) -> None:
    found = colours()
    assert contrast(found[front][scheme], found[ground][scheme]) >= least


def test_every_colour_is_one_of_the_palette() -> None:
    style = (PAGE / "style.css").read_text(encoding="utf-8")
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|hsla?\(", style) == []
    names = set(re.findall(r"var\(--([a-z-]+)\)", style))
    assert len(names) > 15
    defined = set(re.findall(r"--([a-z-]+):", (PAGE / "colours.css").read_text(encoding="utf-8")))
    assert names <= defined


@pytest.mark.parametrize(("scheme", "ground"), [("light", 0), ("dark", 1)])
def test_the_page_follows_the_system_and_the_button(visit: Visit, service: str, scheme: str, ground: int) -> None:
    page = visit(service, color_scheme=scheme)
    expected = [colours()["paper"][ground]]
    assert [_ground(page)] == expected
    theme = page.page.locator("#theme")
    grounds = []
    for _ in range(3):
        theme.click()
        grounds.append(_ground(page))
    assert grounds == [*colours()["paper"], expected[0]]
    theme.click()
    theme.click()
    page.page.reload()
    assert _ground(page) == colours()["paper"][1]


def test_everything_has_a_name_and_every_id_is_one_elements(visit: Visit, service: str, corpus: Path) -> None:
    page = visit(service)
    panel, first, _ = page.verify()
    page.give(first, corpus / "voice-000" / "000.wav")
    page.names()
    for tab in TABS:
        page.tab(tab)
        assert page.page.evaluate(_CHECKS) == []
    assert panel.count() == 1


def test_the_checks_find_what_is_wrong(visit: Visit, service: str) -> None:
    page = visit(service)
    page.page.evaluate(
        """() => document.getElementById('main').insertAdjacentHTML('beforeend',
          '<button></button><input><img src="page/icon.svg"><p id="main"></p><div role="img"></div><h5>x</h5>'
          + '<p aria-labelledby="nowhere"></p>')"""
    )
    assert len(page.page.evaluate(_CHECKS)) == 7


@pytest.mark.parametrize("width", [320, 900])
def test_nothing_is_wider_than_the_screen(visit: Visit, service: str, corpus: Path, width: int) -> None:
    page = visit(service, viewport={"width": width, "height": 800})
    panel, first, second = page.verify()
    page.give(first, corpus / "voice-000" / "000.wav")
    page.give(second, corpus / "voice-001" / "000.wav")
    page.answer(panel)
    panel.get_by_text("Details").click()
    for tab in TABS:
        page.tab(tab)
        assert page.page.evaluate("() => document.documentElement.scrollWidth") <= width, tab


def test_buttons_are_large_enough_to_be_hit(visit: Visit, service: str) -> None:
    page = visit(service)
    page.names()
    for tab in TABS:
        page.tab(tab)
        small = page.page.evaluate(
            """() => [...document.querySelectorAll('button')].filter((one) => one.checkVisibility())
              .filter((one) => Math.min(one.offsetWidth, one.offsetHeight) < 24).map((one) => one.outerHTML)"""
        )
        assert small == [], tab


@pytest.mark.parametrize(
    ("locale", "lang", "tab"),
    [("en-GB", "en", "Enrol"), ("zh-CN", "zh-Hans", "登记"), ("zh-TW", "zh-Hans", "登记"), ("fr-FR", "en", "Enrol")],
)
def test_the_browsers_language_is_spoken(visit: Visit, service: str, locale: str, lang: str, tab: str) -> None:
    page = visit(service, locale=locale)
    assert page.page.locator("html").get_attribute("lang") == lang
    assert page.page.locator("#tab-enrol").inner_text() == tab


def test_another_language_changes_every_word_and_is_kept(visit: Visit, service: str, corpus: Path) -> None:
    page = visit(service)
    panel, first, second = page.verify()
    page.give(first, corpus / "voice-000" / "000.wav")
    page.give(second, corpus / "voice-000" / "001.wav")
    page.answer(panel)
    panel.locator("summary").click()
    page.names()
    page.page.get_by_role("button", name="用中文显示").click()
    page.tab("verify")
    assert panel.locator(".verdict").inner_text() == "同一个人"
    for tab in TABS:
        text = page.tab(tab).inner_text()
        # What is left of English: names, of files, models and thresholds.
        words = set(re.findall(r"[A-Za-z]{4,}", text)) - {"voice", "default", "onnxruntime", "dB", "recording"}
        assert words <= _untranslated(page), (tab, words)
    page.page.reload()
    assert page.page.locator("html").get_attribute("lang") == "zh-Hans"


def test_dark_and_chinese_look_well(visit: Visit, service: str, corpus: Path, microphone: Microphone) -> None:
    page = visit(service, color_scheme="dark", locale="zh-CN")
    panel, first, second = page.verify()
    page.record(first, microphone.hear(corpus / "voice-000" / "000.wav"))
    page.give(second, corpus / "voice-000" / "001.wav")
    assert page.answer(panel) == "同一个人"
    picture = page.picture("verify-dark-chinese")
    assert picture.stat().st_size > 20_000
    page.tab("enrol")
    page.picture("enrol-dark-chinese")
    page.names()
    page.picture("people-dark-chinese")


def test_a_telephone_shows_it_too(visit: Visit, service: str, corpus: Path) -> None:
    page = visit(service, viewport={"width": 390, "height": 844}, device_scale_factor=2, has_touch=True)
    panel, first, second = page.verify()
    page.give(first, corpus / "voice-000" / "000.wav")
    page.give(second, corpus / "voice-003" / "001.wav")
    assert page.answer(panel) == "Different people"
    assert page.picture("verify-telephone").stat().st_size > 20_000


def test_the_keyboard_alone_will_do(
    visit: Visit, service: str, store: Path, corpus: Path, microphone: Microphone
) -> None:
    page = visit(service)
    keyboard = page.page.keyboard
    panel = page.page.locator("#enrol")
    keyboard.press("Tab")
    assert _focused(page) == "Skip to the content"
    _go_to(page, "Enrol")
    _go_to(page, "Name")
    keyboard.type("Ada")
    for take in range(2):
        length = microphone.hear(corpus / "voice-010" / f"{take:03d}.wav")
        _go_to(page, "Record a clip to enrol", back=take > 0)
        keyboard.press("Space")
        panel.locator(".taker.recording").wait_for()
        assert _focused(page) == "Stop recording a clip to enrol"
        page.page.wait_for_timeout(min(length, 4.0) * 1000)
        keyboard.press("Space")
        panel.locator(".clips > li").nth(take).wait_for()
    _go_to(page, "Enrol")
    keyboard.press("Enter")
    panel.get_by_text("Ada is enrolled").wait_for()
    assert _focused(page) == "Verify Ada"
    keyboard.press("Enter")
    assert _focused(page) == "Record First voice"
    microphone.hear(corpus / "voice-010" / "002.wav")
    keyboard.press("Enter")
    panel = page.page.locator("#verify")
    panel.locator(".taker.recording").wait_for()
    page.page.wait_for_timeout(3000)
    keyboard.press("Enter")
    panel.locator(".clip").wait_for()
    assert _focused(page).startswith("Play Recording")
    _go_to(page, "Compare")
    keyboard.press("Enter")
    assert panel.locator(".verdict").inner_text() in {"Same person", "Different people"}
    _go_to(page, "Verify", back=True)
    for name in ("Search", "People"):
        keyboard.press("ArrowRight")
        assert _focused(page) == name
    page.page.get_by_role("button", name="Erase Ada").wait_for()
    _go_to(page, "Erase Ada")
    keyboard.press("Enter")
    assert _focused(page) == "Cancel"
    _go_to(page, "Erase")
    keyboard.press("Enter")
    page.page.get_by_role("button", name="Erase Ada").wait_for(state="detached")
    assert "Ada" not in {one.speaker for one in Store(store).speakers()}


def test_focus_is_seen(visit: Visit, service: str) -> None:
    page = visit(service)
    outlines = []
    for _ in range(8):
        page.page.keyboard.press("Tab")
        outlines.append(page.page.evaluate("() => getComputedStyle(document.activeElement).outlineWidth"))
    assert set(outlines) == {"3px"}


def test_answers_are_read_out(visit: Visit, service: str, corpus: Path) -> None:
    page = visit(service)
    panel, first, second = page.verify()
    page.give(first, corpus / "voice-000" / "000.wav")
    page.give(second, corpus / "voice-000" / "001.wav")
    page.answer(panel)
    page.page.locator("#announcement", has_text="Same person. The score").wait_for(state="attached")
    assert page.page.locator("#announcement").get_attribute("aria-live") == "polite"


def test_who_wants_no_motion_gets_none(visit: Visit, service: str) -> None:
    page = visit(service, reduced_motion="reduce")
    moving = page.page.evaluate(
        """() => [...document.querySelectorAll('*')].map((one) => getComputedStyle(one))
          .filter((style) => style.animationName !== 'none' || !/^(0s(, )?)+$/.test(style.transitionDuration)
            && style.transitionProperty !== 'none').length"""
    )
    assert moving == 0


def test_headings_go_down_by_one(visit: Visit, service: str) -> None:
    page = visit(service)
    for tab in TABS:
        page.tab(tab)
        levels = page.page.evaluate(
            "() => [...document.querySelectorAll('main :is(h1,h2,h3,h4)')].filter((one) => one.checkVisibility())"
            ".map((one) => Number(one.tagName[1]))"
        )
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels)), (tab, levels)


#: Elements without a name, ids that are there twice, references that lead nowhere: one line for each.
_CHECKS = """() => {
  const wrong = [];
  const name = (one) => (one.getAttribute('aria-label')
    || (one.getAttribute('aria-labelledby') ?? '').split(' ')
      .map((id) => document.getElementById(id)?.textContent ?? '').join('')
    || [...(one.labels ?? [])].map((label) => label.textContent).join('') || one.textContent
    || one.getAttribute('alt') || '').trim();
  const silent = (one) => one.closest('[aria-hidden=true]') || !one.checkVisibility();
  for (const one of document.querySelectorAll('button, input, a, img, [role=img], [role=tab], [role=group], section')) {
    if (!silent(one) && !name(one)) wrong.push(`no name: ${one.outerHTML.slice(0, 120)}`);
  }
  const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);
  for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) wrong.push(`twice: ${id}`);
  for (const one of document.querySelectorAll('[aria-labelledby], [aria-describedby], [aria-controls], label[for]')) {
    for (const kind of ['aria-labelledby', 'aria-describedby', 'aria-controls', 'for']) {
      for (const id of (one.getAttribute(kind) ?? '').split(' ').filter(Boolean)) {
        if (!document.getElementById(id)) wrong.push(`${kind} leads nowhere: ${id}`);
      }
    }
  }
  for (const one of document.querySelectorAll('h4, h5, h6')) wrong.push(`too deep a heading: ${one.textContent}`);
  for (const one of document.querySelectorAll('[style]')) {
    if (/[^-]color|background/.test(one.getAttribute('style'))) wrong.push('a colour of its own');
  }
  return wrong;
}"""


def _ground(page: VecsvPage) -> str:
    """The colour behind everything."""
    shown: str = page.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    return "#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", shown)[:3])


def _focused(page: VecsvPage) -> str:
    """Name of what has the focus."""
    name: Any = page.page.evaluate(
        """() => { const one = document.activeElement;
          return one.getAttribute('aria-label') ?? one.labels?.[0]?.textContent ?? one.textContent; }"""
    )
    return str(name).strip()


def _go_to(page: VecsvPage, name: str, *, back: bool = False) -> None:
    """Go on from element to element until one of this name has the focus."""
    passed = []
    for _ in range(60):
        page.page.keyboard.press("Shift+Tab" if back else "Tab")
        passed.append(_focused(page))
        if passed[-1] == name:
            return
    raise AssertionError(f"{name} is not to be reached; passed {passed}")


def _untranslated(page: VecsvPage) -> set[str]:
    """Words that are names: of speakers, models, thresholds and identifiers."""
    texts = page.page.locator(".facts dd, .who, .name, #language, [lang=en]").all_text_contents()
    return {word for text in texts for word in re.findall(r"[A-Za-z]{4,}", text)}
