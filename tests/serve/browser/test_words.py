"""What the page says, in each of its languages; read out of its files, without a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import vecsv
import vecsv.serve

PAGE = Path(vecsv.serve.__file__).parent / "page"
WORDS = ("words_en.js", "words_zh.js")
_ENTRY = re.compile(r'^  "([^"]+)": "(.*)",$', re.MULTILINE)
#: Keys whose end is known only when the page runs: everything with such a beginning counts as used.
_MADE_UP = re.compile(r"`([a-zA-Z.]+)\$\{")


def dictionary(name: str) -> dict[str, str]:
    return dict(_ENTRY.findall((PAGE / name).read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def source() -> str:
    """All of the page but its words."""
    files = [path for path in sorted(PAGE.iterdir()) if path.suffix in {".js", ".html"} and path.name not in WORDS]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def test_every_line_of_a_dictionary_is_an_entry() -> None:
    for name in WORDS:
        text = (PAGE / name).read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.startswith(" ")]
        assert len(lines) == len(_ENTRY.findall(text)) == len(dictionary(name)), name


def test_both_languages_have_the_same_keys() -> None:
    english, chinese = (dictionary(name) for name in WORDS)
    assert len(english) > 150
    assert english.keys() == chinese.keys()


def test_a_translation_fills_in_what_the_english_does() -> None:
    english, chinese = (dictionary(name) for name in WORDS)
    holes = {key: set(re.findall(r"{(\w+)}", words)) for key, words in english.items()}
    for key, words in chinese.items():
        # "One" of something needs no number in English, and may have it in Chinese.
        assert set(re.findall(r"{(\w+)}", words)) - {"count"} == holes[key] - {"count"}, key


def test_chinese_is_chinese() -> None:
    own = {"page.languageLabel", "page.language", "facts.decibels", "facts.thresholdValue"}
    for key, words in dictionary("words_zh.js").items():
        assert key in own or re.search("[\u4e00-\u9fff]", words), key


def test_every_key_is_used(source: str) -> None:
    prefixes = tuple(set(_MADE_UP.findall(source)) - {""})
    plural = re.compile(r"\.(one|other)$")
    unused = [
        key
        for key in dictionary("words_en.js")
        if f'"{plural.sub("", key)}"' not in source and not key.startswith(prefixes)
    ]
    assert unused == []


def test_every_key_that_is_used_has_words(source: str) -> None:
    there = dictionary("words_en.js").keys()
    said = set(re.findall(r'\bt\(\s*"([^"]+)"', source))
    said |= set(re.findall(r'data-t(?:-label)?="([^"]+)"', source))
    said |= {key for chosen in re.findall(r'\bt\([^()]*\? "([^"]+)" : "([^"]+)"', source) for key in chosen}
    assert len(said) > 80
    assert said - there == set()
    counted = set(re.findall(r'counted\("([^"]+)"', source))
    assert counted
    assert {f"{key}.{form}" for key in counted for form in ("one", "other")} - there == set()


def test_whatever_the_service_finds_wrong_with_a_recording_has_words() -> None:
    package = Path(vecsv.__file__).parent
    codes = set()
    for folder in ("audio", "serve", "models"):
        for path in (package / folder).glob("*.py"):
            codes |= set(re.findall(r'AudioError\(\s*"([a-z-]+)"', path.read_text(encoding="utf-8")))
    from vecsv.serve.verdicts import Reason

    codes |= {str(reason) for reason in Reason}
    # These are about files on a disk, and cuts and channels of a manifest; a service has neither. Nobody is
    # there to be told that nobody waits any more.
    codes -= {"missing", "is-folder", "bad-cut", "bad-channel", "given-up"}
    assert {"silent", "steady", "too-large", "unlike-the-others"} <= codes
    assert {code for code in codes if f"reason.{code}" not in dictionary("words_en.js")} == set()
