"""The whole way with real speech in the microphone: enrol, verify, search, erase."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.voices import make_once
from tests.serve.browser.conftest import Visit
from tests.serve.browser.running import Microphone, serving
from vecsv.api import Store
from vecsv.calibration.search_run import SearchSettings

#: Not in the store before she enrols; and somebody who is.
NEWCOMER, OTHER = "367", "1688"

pytestmark = pytest.mark.speech


@pytest.fixture(scope="session")
def speech_store(speech: Path, ge2e_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated store of 22 people, among them nine of LibriSpeech; read-only."""

    def make(folder: Path) -> None:
        rows = (speech / "dev.tsv").read_text(encoding="utf-8").splitlines()
        kept = [row for row in rows if f"/{NEWCOMER}/" not in row]
        manifest = folder.parent / "speech.tsv"
        manifest.write_text("".join(f"{speech / path}\t{name.replace('/', ' ')}\n" for path, name in map(_row, kept)))
        store = Store(folder)
        store.embed(manifest)
        store.build_index()
        store.calibrate()
        store.calibrate_search(SearchSettings(fpir=0.05))

    return make_once(tmp_path_factory.mktemp("speech"), "store", make)


def test_a_person_enrols_is_verified_found_and_erased(
    visit: Visit, speech: Path, speech_store: Path, microphone: Microphone
) -> None:
    own, others = (sorted((speech / "librispeech-test-other" / one).rglob("*.flac")) for one in (NEWCOMER, OTHER))
    with serving("--store", speech_store) as address:
        page = visit(address + "/")
        panel = page.tab("enrol")
        panel.get_by_label("Name").fill("Ada Lovelace")
        for take in range(3):
            page.record(panel, min(microphone.hear(own[take]), 5.0))
        page.picture("speech-enrol-clips")
        assert page.answer(panel) == "Ada Lovelace is enrolled"
        page.picture("speech-enrolled")
        panel.get_by_role("button", name="Verify Ada Lovelace").click()

        panel, first, second = page.verify()
        page.record(first, min(microphone.hear(own[4]), 6.0))
        assert page.answer(panel) == "Same person"
        page.picture("speech-verify-same")
        second.get_by_role("radio", name="Recording").check()
        page.record(second, min(microphone.hear(others[0]), 6.0))
        assert page.answer(panel) == "Different people"
        page.picture("speech-verify-different")

        panel = page.tab("search")
        page.record(panel, min(microphone.hear(own[5]), 6.0))
        assert page.answer(panel) == "This sounds like Ada Lovelace"
        page.picture("speech-search")

        assert "Ada Lovelace" in page.names()
        page.picture("speech-people", whole=False)
        page.page.get_by_role("button", name="Erase Ada Lovelace").click()
        page.page.get_by_role("dialog").get_by_role("button", name="Erase", exact=True).click()
        page.page.get_by_role("button", name="Erase Ada Lovelace").wait_for(state="detached")
        panel = page.tab("search")
        assert "Ada Lovelace" not in page.answer(panel)
        assert "Ada Lovelace" not in panel.locator(".hits .who").all_inner_texts()


def _row(line: str) -> tuple[str, str]:
    path, speaker = line.split("\t")[:2]
    return path, speaker
