"""Enrolling on the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from tests.serve.browser.conftest import Visit
from tests.serve.browser.running import Microphone
from vecsv.api import Store

#: Keeps the bytes of the recording that is sent next.
_CATCH = """() => {
  const send = window.fetch;
  window.caught = new Promise((resolve) => {
    window.fetch = async (address, options) => {
      if (options.body) resolve([...new Uint8Array(await options.body.get('clip').arrayBuffer())]);
      return send(address, options);
    };
  });
}"""


def test_three_clips_from_the_microphone_enrol_a_person(
    visit: Visit, service: str, store: Path, corpus: Path, microphone: Microphone
) -> None:
    page = visit(service)
    panel = page.tab("enrol")
    panel.get_by_label("Name").fill("Ada Lovelace")
    for take in range(3):
        length = microphone.hear(corpus / "voice-010" / f"{take:03d}.wav")
        page.record(panel, min(length, 4.0))
        assert panel.locator(".clips > li").count() == take + 1
    page.picture("enrol-clips")
    assert page.answer(panel) == "Ada Lovelace is enrolled"
    page.picture("enrol-done")
    assert "3 clips added" in panel.inner_text()
    found = {one.speaker: one for one in Store(store).speakers()}
    assert found["Ada Lovelace"].enrolments == 3
    assert found["Ada Lovelace"].speech_s > 5.0


def test_the_recording_is_pcm_of_what_was_said(
    visit: Visit, service: str, corpus: Path, microphone: Microphone, tmp_path: Path
) -> None:
    page = visit(service)
    panel = page.tab("search")
    spoken = corpus / "voice-000" / "000.wav"
    microphone.hear(spoken)
    page.record(panel, 3.0)
    page.page.evaluate(_CATCH)
    panel.locator("button[type=submit]").click()
    data = page.page.evaluate("() => window.caught")
    (tmp_path / "clip.wav").write_bytes(bytes(data))
    info = soundfile.info(tmp_path / "clip.wav")
    assert (info.format, info.subtype, info.channels) == ("WAV", "PCM_16", 1)
    assert info.samplerate >= 16000
    recorded, rate = soundfile.read(tmp_path / "clip.wav", dtype="float32")
    assert _likeness(recorded, rate, *soundfile.read(spoken, dtype="float32")) > 0.9


def test_files_enrol_a_person_who_is_known_then(visit: Visit, service: str, corpus: Path) -> None:
    page = visit(service)
    panel = page.tab("enrol")
    panel.get_by_label("Name").fill("张伟")
    page.give(panel, *(corpus / "voice-011" / f"{take:03d}.wav" for take in range(3)))
    assert page.answer(panel) == "张伟 is enrolled"
    assert "张伟" in page.names()
    panel = page.tab("enrol")
    panel.get_by_role("button", name="Add clips").click()
    panel.get_by_text("张伟 is enrolled already").wait_for()


def test_a_silent_clip_is_refused_and_nothing_is_enrolled(
    visit: Visit, service: str, store: Path, corpus: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(32000, np.float32), 16000, "PCM_16")
    page = visit(service)
    page.watch.refusals.add(422)
    panel = page.tab("enrol")
    panel.get_by_label("Name").fill("Grace")
    page.give(panel, corpus / "voice-010" / "000.wav", tmp_path / "silence.wav")
    assert "Nothing was enrolled" in page.problem(panel)
    clips = panel.locator(".clips > li")
    assert not clips.nth(0).locator(".wrong").is_visible()
    assert clips.nth(1).locator(".wrong").inner_text() == "Nothing but silence. Check which microphone is in use."
    page.picture("enrol-refused")
    assert "Grace" not in {one.speaker for one in Store(store).speakers()}
    clips.nth(1).get_by_role("button", name="Remove silence.wav").click()
    assert page.answer(panel) == "Grace is enrolled"


def test_a_strangers_clip_among_others_is_named(visit: Visit, service: str, corpus: Path) -> None:
    page = visit(service)
    page.watch.refusals.add(422)
    panel = page.tab("enrol")
    panel.get_by_label("Name").fill("Grace")
    own = [corpus / "voice-010" / f"{take:03d}.wav" for take in range(3)]
    page.give(panel, *own, corpus / "voice-001" / "000.wav")
    page.problem(panel)
    wrong = panel.locator(".clips > li").nth(3).locator(".wrong")
    assert wrong.inner_text() == "Sounds unlike this person’s other recordings."


def test_a_name_is_asked_for(visit: Visit, service: str, corpus: Path) -> None:
    page = visit(service)
    panel = page.tab("enrol")
    page.give(panel, corpus / "voice-010" / "000.wav")
    assert page.problem(panel) == "First give the person a name."
    assert panel.get_by_label("Name").evaluate("field => field === document.activeElement")


def _likeness(one: np.ndarray, rate: int, other: np.ndarray, other_rate: int) -> float:
    """Highest normalised correlation of the beginning of one sound anywhere in another."""
    import soxr

    one, other = (
        soxr.resample(sound, source, 8000) for sound, source in ((one[: int(2.5 * rate)], rate), (other, other_rate))
    )
    piece = other[4000:16000]
    energy = np.sqrt(np.convolve(one**2, np.ones(len(piece)), "valid") + 1e-9)
    return float(np.max(np.correlate(one, piece, "valid") / energy) / np.linalg.norm(piece))
