import subprocess
import sys
from pathlib import Path

import pytest

import vecsv
from vecsv.query.ask import Query


@pytest.fixture
def first_two(voices: Path) -> list[Path]:
    return sorted(next(path for path in sorted(voices.iterdir()) if path.is_dir()).glob("*.wav"))[:2]


def test_the_verbs_of_the_command_line_work_from_python(
    voices: Path, ge2e_folder: Path, first_two: list[Path], tmp_path: Path
) -> None:
    summary = vecsv.embed(voices / "train.tsv", tmp_path / "store")
    store = vecsv.Store(tmp_path / "store")
    assert store.exists
    assert store.build_index().rows == summary.embedded
    calibration = store.calibrate(vecsv.CalibrateSettings(seed=1))
    answer = store.verify(*first_two)
    assert answer.same is True
    assert answer.threshold is not None
    assert answer.threshold.value == calibration.point().threshold
    speaker = first_two[0].parent.name
    assert store.search(first_two[0], top_k=2).hits[0].speaker == speaker
    assert store.verify(first_two[0], speaker=speaker).same is True
    assert store.enroll("zoe", first_two).added == 2
    assert "zoe" in {one.speaker for one in store.speakers()}
    assert store.erase("zoe").enrolments == 2
    assert store.failures() == []


def test_a_batch_of_queries_is_one_call_of_the_index(
    voices: Path, ge2e_folder: Path, first_two: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vecsv.index.flat import FlatIndex

    vecsv.embed(voices / "train.tsv", tmp_path / "store")
    store = vecsv.Store(tmp_path / "store")
    store.build_index()
    sizes: list[int] = []
    original = FlatIndex.search

    def counted(self: FlatIndex, vectors: object, k: int, allowed: object = None) -> object:
        sizes.append(len(vectors))  # type: ignore[arg-type]
        return original(self, vectors, k, allowed)  # type: ignore[arg-type]

    monkeypatch.setattr(FlatIndex, "search", counted)
    clips = [vecsv.Clip(path) for path in sorted(voices.rglob("*.wav"))[:40]]
    assert len(store.search_batch([Query(clip, str(clip.path)) for clip in clips])) == 40
    assert sizes == [40]


def test_errors_are_of_one_family(tmp_path: Path) -> None:
    with pytest.raises(vecsv.VecsvError):
        vecsv.Store(tmp_path / "absent").build_index()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        vecsv.nothing  # noqa: B018


def test_importing_vecsv_imports_nothing_else() -> None:
    script = "import sys, vecsv; print('numpy' in sys.modules, vecsv.__version__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", vecsv.__version__]
