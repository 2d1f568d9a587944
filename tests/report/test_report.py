"""Reports on small stores, read back as a browser would."""

import base64
import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.embedders import SpectralEmbedder
from tests.fixtures.stores import write_speakers
from tests.report.test_figures import size_of
from vecsv.calibration.run import calibrate, copy_calibration
from vecsv.calibration.search_run import SearchSettings, calibrate_search
from vecsv.embedding.run import embed_manifest
from vecsv.errors import CalibrationError, MissingDependencyError, StoreError, UsageError
from vecsv.report.report import FIGURES, PAGE, write_report
from vecsv.store.reader import Snapshot

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Reader(HTMLParser):
    """Collects what a page holds, and fails where its elements are not nested as they should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.points: dict[str, list[str]] = {}
        self.text: list[str] = []
        self._point: str | None = None
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value) for name, value in values.items()]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self._point = values.get("data-point")
        if tag == "data" and self._point is not None:
            self.points.setdefault(self._point, []).append(values["value"])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def of(self, tag: str, attribute: str) -> list[str]:
        return [value for one, name, value in self.attributes if (one, name) == (tag, attribute)]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    embed_manifest(write_speakers(folder, 16, 6, seed=5), folder / "calls & <more>", SpectralEmbedder())
    calibrate(folder / "calls & <more>")
    return folder / "calls & <more>"


@pytest.fixture(scope="module")
def searchable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searchable")
    embed_manifest(write_speakers(folder, 16, 6, seed=6), folder / "store", SpectralEmbedder())
    calibrate(folder / "store")
    calibrate_search(folder / "store", SearchSettings(fpir=0.2))
    return folder / "store"


def thresholds_of(store: Path) -> dict[str, Any]:
    place = Snapshot.open(store).generation.calibrations["default"]
    document: dict[str, Any] = json.loads((store / place / "thresholds.json").read_text(encoding="utf-8"))
    return document


def test_the_page_is_whole_and_its_figures_lie_beside_it(store: Path, tmp_path: Path) -> None:
    written = write_report(store, tmp_path / "out")
    page = Reader(written.page.read_text(encoding="utf-8"))
    assert written.page == tmp_path / "out" / PAGE
    sources = page.of("img", "src")
    assert len(sources) == len(written.figures) == len(page.of("img", "alt"))
    assert all(page.of("img", "alt"))
    for source, path in zip(sources, written.figures, strict=True):
        kind, _, data = source.partition(";base64,")
        assert kind == "data:image/png"
        assert base64.b64decode(data, validate=True) == path.read_bytes()
        assert size_of(path.read_bytes())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [PAGE, *(path.name for path in written.figures)]
    )


def test_nothing_is_fetched(store: Path, tmp_path: Path) -> None:
    text = write_report(store, tmp_path).page.read_text(encoding="utf-8")
    page = Reader(text)
    assert "http:" not in text
    assert "https:" not in text
    assert not {tag for tag, _, _ in page.attributes} & {"script", "link", "iframe", "a"}
    assert "url(" not in text
    assert all(source.startswith("data:") for source in page.of("img", "src"))


def test_the_points_have_the_digits_of_the_calibration(store: Path, tmp_path: Path) -> None:
    page = Reader(write_report(store, tmp_path).page.read_text(encoding="utf-8"))
    expected = thresholds_of(store)["points"]
    assert set(page.points) == {point["name"] for point in expected}
    for point in expected:
        rates = point if point["held_out"] is None else point["held_out"]
        figures = [point["threshold"], *(rates[name] for name in ("fmr", "fnmr", "false_accepts", "misses"))]
        assert [float(value) for value in page.points[point["name"]]] == [
            value for value in figures if value is not None
        ]


def test_it_says_what_the_calibration_rests_on(store: Path, tmp_path: Path) -> None:
    page = Reader(write_report(store, tmp_path).page.read_text(encoding="utf-8"))
    document = thresholds_of(store)
    for value in (document["fingerprint"], document["made_at"], f"{document['basis']['targets']:,} of"):
        assert any(value in text for text in page.text), value
    assert any("names no sessions" in text for text in page.text)


def test_names_of_people_and_folders_stay_out(store: Path, tmp_path: Path) -> None:
    text = write_report(store, tmp_path).page.read_text(encoding="utf-8")
    assert "speaker-0" not in text
    assert str(store.parent) not in text


def test_a_name_with_markup_in_it_is_escaped(store: Path, tmp_path: Path) -> None:
    text = write_report(store, tmp_path).page.read_text(encoding="utf-8")
    assert "<h1>Calibration of calls &amp; &lt;more&gt;</h1>" in text


def test_searches_are_reported_where_they_are_calibrated(store: Path, searchable: Path, tmp_path: Path) -> None:
    assert "gallery.png" not in {path.name for path in write_report(store, tmp_path / "plain").figures}
    written = write_report(searchable, tmp_path / "out")
    assert {path.name for path in written.figures} == set(FIGURES)
    text = written.page.read_text(encoding="utf-8")
    snapshot = Snapshot.open(searchable)
    place = searchable / snapshot.generation.calibrations["search"] / "search.json"
    for row in json.loads(place.read_text(encoding="utf-8"))["table"]:
        assert f'<data value="{row["gallery_size"]}">' in text
        assert f'<data value="{row["fpir"]["rate"]!r}">' in text
    assert Reader(text).of("table", "id") == ["points", "galleries"]


def test_a_figure_of_an_earlier_report_does_not_stay(store: Path, searchable: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    write_report(searchable, tmp_path)
    write_report(store, tmp_path)
    assert not (tmp_path / "gallery.png").exists()
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_without_a_calibration_it_says_what_to_do(tmp_path: Path) -> None:
    embed_manifest(write_speakers(tmp_path, 3, 2), tmp_path / "store", SpectralEmbedder())
    with pytest.raises(CalibrationError, match="vecsv calibrate"):
        write_report(tmp_path / "store", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_thresholds_taken_over_have_no_pairs_to_draw(store: Path, tmp_path: Path) -> None:
    embed_manifest(write_speakers(tmp_path, 3, 1), tmp_path / "gallery", SpectralEmbedder())
    copy_calibration(store, tmp_path / "gallery")
    with pytest.raises(CalibrationError, match="without their pairs"):
        write_report(tmp_path / "gallery", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_store_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        write_report(tmp_path / "absent", tmp_path / "out")


def test_a_file_in_the_way_is_left_alone(store: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="not a folder"):
        write_report(store, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_without_matplotlib_the_extra_is_named(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"vecsv\[report\]"):
        write_report(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()
