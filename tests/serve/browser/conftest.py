"""A browser with a microphone made of a file, the service, and pages that must behave."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.voices import make_corpus, make_once
from tests.serve.browser.pages import VecsvPage
from tests.serve.browser.running import Microphone, Watch, origin_of, serving
from vecsv.api import Store

CHROMIUM = os.environ.get("VECSV_TEST_CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
)
#: In the store; the other voices are strangers to it.
KNOWN_VOICES = 10
TIMEOUT_MS = 60_000

Launch = Callable[..., AbstractContextManager[Any]]
Visit = Callable[..., VecsvPage]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic speakers ``voice-000`` to ``voice-011``, six recordings each, and ``known.tsv`` of the first ten."""

    def make(folder: Path) -> None:
        manifest = make_corpus(folder, speakers=12, utterances=6, seed=3)
        rows = manifest.read_text(encoding="utf-8").splitlines(keepends=True)
        known = [row for row in rows if int(row.split("-")[1][:3]) < KNOWN_VOICES]
        (folder / "known.tsv").write_text("".join(known), encoding="utf-8")

    return make_once(_shared(tmp_path_factory), "page-voices", make)


@pytest.fixture(scope="session")
def calibrated(corpus: Path, ge2e_folder: Path) -> Path:
    """A store of the known voices, indexed and calibrated; read-only."""

    def make(folder: Path) -> None:
        store = Store(folder)
        store.embed(corpus / "known.tsv")
        store.build_index()
        store.calibrate()

    return make_once(corpus.parent, "page-store", make)


@pytest.fixture
def store(calibrated: Path, tmp_path: Path) -> Path:
    """The same, to write to."""
    return Path(shutil.copytree(calibrated, tmp_path / "store"))


# Playwright runs an event loop for as long as it is there, beside which no other test could run one of its own: so it
# is gone with each test.
@pytest.fixture
def launch(microphone: Microphone) -> Iterator[Launch]:
    """`with launch() as browser` starts a browser; further arguments are Chromium's."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not here: pip install playwright")
    pytest.importorskip("fastapi", reason="the service's packages are not here: pip install 'vecsv[serve]'")
    if not Path(CHROMIUM).is_file():
        pytest.skip(f"there is no browser at {CHROMIUM}: apt install chromium, or set VECSV_TEST_CHROMIUM")
    with playwright.sync_playwright() as driver:

        @contextmanager
        def start(*arguments: str) -> Iterator[Any]:
            hearing = f"--use-file-for-fake-audio-capture={microphone.file}%noloop"
            permission = () if any("fake-ui" in one for one in arguments) else ("--use-fake-ui-for-media-stream",)
            browser = driver.chromium.launch(
                executable_path=CHROMIUM, args=[*ARGUMENTS, hearing, *permission, *arguments]
            )
            try:
                yield browser
            finally:
                browser.close()

        yield start


@pytest.fixture
def microphone(tmp_path: Path) -> Microphone:
    """What the browser hears."""
    return Microphone(tmp_path / "microphone.wav")


@pytest.fixture
def windows() -> list[Any]:
    """Browser windows that are open; whatever a page still asks when its service ends would be in vain."""
    return []


@pytest.fixture
def visit(launch: Launch, windows: list[Any]) -> Iterator[Visit]:
    """`visit(address)` opens the page in a browser and a window of its own; at the end it must have behaved."""
    watches = []
    with launch() as browser:

        def open_page(address: str, *, at: str = "", **window: Any) -> VecsvPage:
            watch = Watch(origin_of(address))
            watches.append(watch)
            opened = open_window(browser, watch, address + at, **window)
            windows.append(opened.page.context)
            return opened

        yield open_page
        windows.clear()
    for watch in watches:
        assert watch.complaints == []
        assert watch.elsewhere == []


def open_window(browser: Any, watch: Watch, url: str, **window: Any) -> VecsvPage:
    """Open the page in a window of its own, watched."""
    context = browser.new_context(**({"locale": "en-GB", "viewport": {"width": 900, "height": 1000}} | window))
    page = context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.on("console", lambda message: watch.heard(message.type, message.text))
    page.on("pageerror", lambda error: watch.complaints.append(f"defect: {error}"))
    page.on("request", lambda request: watch.asked(request.url))
    # The page asks for the people at once; a test that ends before they come would see a service that is gone.
    with page.expect_response("**/v1/speakers*"):
        page.goto(url)
    return VecsvPage(page, watch)


@pytest.fixture
def service(store: Path, windows: list[Any]) -> Iterator[str]:
    """Address of a service over `store` that asks nobody for a key."""
    with serving("--store", store) as address:
        yield address + "/"
        close(windows)


def close(windows: list[Any]) -> None:
    """Close all windows."""
    for window in windows:
        window.close()
    windows.clear()


def _shared(factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of a run share."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
