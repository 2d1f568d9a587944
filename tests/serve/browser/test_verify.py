"""Comparing two voices on the page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.serve.browser.conftest import Visit
from tests.serve.browser.running import Microphone, serving
from vecsv.api import Store
from vecsv.audio.decode import Clip
from vecsv.embedding.recordings import embed_all


def test_the_same_person_by_microphone_and_by_file(
    visit: Visit, service: str, corpus: Path, microphone: Microphone
) -> None:
    page = visit(service)
    panel, first, second = page.verify()
    length = microphone.hear(corpus / "voice-000" / "000.wav")
    page.record(first, length)
    page.give(second, corpus / "voice-000" / "001.wav")
    assert page.answer(panel) == "Same person"
    threshold = _threshold(panel.inner_text())
    assert page.score(panel) >= threshold
    page.picture("verify-same")


def test_different_people_by_microphone(visit: Visit, service: str, corpus: Path, microphone: Microphone) -> None:
    page = visit(service)
    panel, first, second = page.verify()
    for card, voice in ((first, "voice-000"), (second, "voice-003")):
        page.record(card, min(3.0, microphone.hear(corpus / voice / "000.wav")))
    assert page.answer(panel) == "Different people"
    assert page.score(panel) < _threshold(panel.inner_text())
    page.picture("verify-different")


def test_the_score_is_the_one_the_library_gives(visit: Visit, service: str, store: Path, corpus: Path) -> None:
    files = corpus / "voice-002" / "000.wav", corpus / "voice-002" / "001.wav"
    page = visit(service)
    panel, first, second = page.verify()
    page.give(first, files[0])
    page.give(second, files[1])
    page.answer(panel)
    expected = Store(store).verify(*files)
    assert page.score(panel) == pytest.approx(expected.score, abs=0.00501)
    assert ("Same person" if expected.same else "Different people") in panel.inner_text()


def test_the_chart_tells_what_it_shows_to_those_who_do_not_see_it(
    visit: Visit, service: str, store: Path, corpus: Path
) -> None:
    page = visit(service)
    panel, first, second = page.verify()
    page.give(first, corpus / "voice-002" / "000.wav")
    page.give(second, corpus / "voice-004" / "001.wav")
    page.answer(panel)
    chart = panel.get_by_role("img", name=re.compile("Scores of the calibration"))
    chart.wait_for()
    words = chart.locator("title").text_content() or ""
    assert f"This score is {page.score(panel):.2f}." in words
    threshold = Store(store).threshold()
    assert threshold is not None
    assert f"The threshold is {threshold.value:.2f}." in words


def test_the_shares_are_those_of_the_calibrations_trials(visit: Visit, service: str, corpus: Path) -> None:
    page = visit(service)
    panel, first, second = page.verify()
    page.give(first, corpus / "voice-002" / "000.wav")
    page.give(second, corpus / "voice-004" / "001.wav")
    page.answer(panel)
    histogram = page.page.evaluate("async () => (await (await fetch('v1/calibration')).json()).default.histogram")
    edges, strangers = np.array(histogram["edges"]), np.array(histogram["non_targets"])
    score = page.score(panel)
    said = re.search(r"Of ([\d,]+) pairs of different people in the calibration, ([\d.]+)%", panel.inner_text())
    assert said is not None
    assert int(said[1].replace(",", "")) == strangers.sum()
    # Whole bins on either side of the score bound what the page may say.
    least = strangers[edges[:-1] >= score + 0.005].sum() / strangers.sum()
    most = strangers[edges[1:] > score - 0.005].sum() / strangers.sum()
    assert least - 0.006 <= float(said[2]) / 100 <= most + 0.006


def test_a_person_is_compared_with(visit: Visit, service: str, corpus: Path) -> None:
    page = visit(service)
    panel, first, second = page.verify()
    page.give(first, corpus / "voice-005" / "000.wav")
    second.get_by_role("radio", name="Person").check()
    second.get_by_label("Name of the person").fill("voice-005")
    assert page.answer(panel) == "Same person"
    page.watch.refusals.add(404)
    second.get_by_label("Name of the person").fill("nobody at all")
    assert "Nobody of that name is enrolled." in page.problem(panel)


def test_two_stores_that_disagree_are_said_to(visit: Visit, store: Path, corpus: Path, tmp_path: Path) -> None:
    # Without a calibration of its own a store has the model's, which was made on people, and is laxer.
    lenient = tmp_path / "lenient"
    Store(lenient).embed(corpus / "known.tsv")
    between = _pair_between(corpus, lenient, store)
    with serving("--store", f"lenient={lenient}", "--store", f"strict={store}") as address:
        page = visit(address + "/")
        panel, first, second = page.verify()
        page.give(first, between[0])
        page.give(second, between[1])
        assert page.answer(panel) == "The models disagree"
        assert "lenient says the same person, strict says different people." in panel.inner_text()
        assert panel.locator("[data-store=strict] .chart").count() == 1
        assert "no calibration scores" in panel.locator("[data-store=lenient]").inner_text()
        page.picture("verify-two-stores")


def test_what_is_no_sound_is_refused_in_words(visit: Visit, service: str, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("Dear diary, today I said nothing. " * 20, encoding="utf-8")
    page = visit(service)
    page.watch.refusals.add(422)
    panel, first, second = page.verify()
    page.give(first, tmp_path / "notes.wav")
    page.give(second, corpus / "voice-000" / "000.wav")
    assert "This is not a sound file that can be read." in page.problem(panel)


def test_a_clip_can_be_dropped_on_the_page_and_heard(visit: Visit, service: str, corpus: Path) -> None:
    page = visit(service)
    _, first, _ = page.verify()
    data = list((corpus / "voice-000" / "000.wav").read_bytes())
    handle = page.page.evaluate_handle(
        """(data) => {
          const carried = new DataTransfer();
          carried.items.add(new File([new Uint8Array(data)], 'dropped.wav', { type: 'audio/wav' }));
          return carried;
        }""",
        data,
    )
    first.locator(".taker").dispatch_event("drop", {"dataTransfer": handle})
    first.get_by_role("button", name="Play dropped.wav").click()
    first.get_by_role("button", name="Pause dropped.wav").wait_for()


def test_a_service_that_is_gone_is_said_to_be(visit: Visit, store: Path, corpus: Path) -> None:
    with serving("--store", store) as address:
        page = visit(address + "/")
        panel, first, second = page.verify()
        page.give(first, corpus / "voice-000" / "000.wav")
        page.give(second, corpus / "voice-000" / "001.wav")
    assert "The service did not answer." in page.problem(panel)
    page.watch.complaints[:] = [one for one in page.watch.complaints if "ERR_CONNECTION_REFUSED" not in one]


def _threshold(text: str) -> float:
    found = re.search(r"threshold (\d\.\d+)", text)
    assert found is not None, text
    return float(found[1])


def _pair_between(corpus: Path, lenient: Path, strict: Path) -> tuple[Path, Path]:
    """Two recordings whose score lies between the two stores' thresholds."""
    low, high = (threshold.value for one in (lenient, strict) if (threshold := Store(one).threshold()))
    files = sorted(corpus.glob("voice-*/*.wav"))
    rows = np.stack([one.vector for one in embed_all(Store(lenient).embedder(), [Clip(file) for file in files])])
    # Not a matrix product: BLAS would start threads for it.
    scores = np.einsum("ik,jk->ij", rows, rows)
    first, second = np.argwhere((scores > low + 0.001) & (scores < high - 0.001))[0]
    return files[first], files[second]
