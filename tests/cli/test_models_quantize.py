from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from tests.cli.conftest import Run
from tests.models.onnx_graphs import Exported
from vecsv.audio.decode import Clip
from vecsv.embedding.recordings import embed_all
from vecsv.health.signals import RATE, speech_like
from vecsv.models import registry
from vecsv.models.bundle import ONNX_FILE, verify_bundle
from vecsv.models.conversion import as_bundle, write_conversion
from vecsv.models.onnx_model import from_file
from vecsv.models.presets import find_preset

SPEAKERS, UTTERANCES = 5, 4


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A few short recordings of a few speakers."""
    lines = []
    for speaker in range(SPEAKERS):
        signal = speech_like(2.0 * UTTERANCES, seed=speaker)
        for number in range(UTTERANCES):
            path = tmp_path / f"{speaker}-{number}.wav"
            soundfile.write(path, signal[2 * RATE * number : 2 * RATE * (number + 1)], RATE, subtype="PCM_16")
            lines.append(f"{path.name}\t{speaker}\n")
    (tmp_path / "all.tsv").write_text("".join(lines))
    return tmp_path / "all.tsv"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network's bundle."""
    folder = tmp_path_factory.mktemp("parent")
    made = from_file(Exported(convolution=True).write(folder / "a.onnx"), preset=find_preset("wespeaker"))
    described = as_bundle(made, name="tiny", description="a test", licence="CC0-1.0", source={"file": "a.onnx"})
    return write_conversion(folder / "tiny", made, described)


@pytest.fixture
def parent(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """It, in a cache of its own."""
    monkeypatch.setenv("VECSV_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(bundle, registry.cached_folder("tiny")))


def vectors(name: str, manifest: Path) -> dict[str, NDArray[np.float64]]:
    """Each recording embedded by itself."""
    model = registry.load(name)
    found = {}
    for line in manifest.read_text().splitlines():
        path = manifest.parent / line.split("\t")[0]
        (result,) = embed_all(model, [Clip(path)])
        found[path.name] = result.vector.astype(np.float64)
    return found


def equal_error_rate(targets: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Where misses and false accepts cross, by trying every threshold; linear between the two nearest."""
    thresholds = np.unique(np.concatenate([targets, others, [np.inf]]))
    misses = np.array([(targets < threshold).mean() for threshold in thresholds])
    accepts = np.array([(others >= threshold).mean() for threshold in thresholds])
    at = int(np.argmax(misses >= accepts))
    if at == 0 or misses[at] == accepts[at]:
        return float(misses[at])
    before, after = misses[at - 1] - accepts[at - 1], misses[at] - accepts[at]
    share = before / (before - after)
    return float(misses[at - 1] + share * (misses[at] - misses[at - 1]))


def minimum_cost(targets: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Lowest normalised detection cost at target prior 0.01, by trying every threshold."""
    thresholds = np.unique(np.concatenate([targets, others, [np.inf]]))
    costs = [0.01 * (targets < one).mean() + 0.99 * (others >= one).mean() for one in thresholds]
    return float(min(costs) / 0.01)


def test_the_reported_cost_is_what_a_recomputation_finds(run: Run, parent: Path, manifest: Path) -> None:
    done = run("models", "quantize", "tiny", "--manifest", manifest, "--json")
    assert done.code == 0, done.err
    report = done.json
    cost = report["cost"]
    bundle = verify_bundle(Path(report["folder"]))
    before, after = vectors("tiny", manifest), vectors("tiny-int8", manifest)
    names = sorted(before)
    pairs = [(one, other) for position, one in enumerate(names) for other in names[position + 1 :]]
    same = np.array([one.split("-")[0] == other.split("-")[0] for one, other in pairs])
    assert (cost["targets"], cost["non_targets"]) == (int(same.sum()), int((~same).sum()))
    figures = {one["name"]: one for one in cost["differences"]}
    for side, found in (("first", before), ("second", after)):
        scores = np.array([found[one] @ found[other] for one, other in pairs])
        assert figures["eer"][side] == pytest.approx(equal_error_rate(scores[same], scores[~same]), abs=1e-6)
        expected = minimum_cost(scores[same], scores[~same])
        assert figures["min-dcf p=0.01"][side] == pytest.approx(expected, abs=1e-6)
    for one in figures.values():
        assert one["difference"] == pytest.approx(one["second"] - one["first"])
        assert one["low"] <= one["difference"] <= one["high"]
    cosines = np.array([before[name] @ after[name] for name in names])
    assert cost["compared"] == len(names)
    assert cost["cosine_min"] == pytest.approx(cosines.min(), abs=1e-6)
    assert cost["cosine_mean"] == pytest.approx(cosines.mean(), abs=1e-6)
    sizes = (parent / ONNX_FILE).stat().st_size, (Path(report["folder"]) / ONNX_FILE).stat().st_size
    assert cost["size_ratio"] == pytest.approx(sizes[0] / sizes[1])
    assert cost["speed_ratio"] > 0
    assert bundle.source["cost"] == cost
    assert bundle.fingerprint == report["fingerprint"] != report["parent_fingerprint"]


def test_a_trial_list_decides_what_is_measured(run: Run, parent: Path, manifest: Path) -> None:
    trials = manifest.parent / "trials.txt"
    lines = [f"1 {speaker}-0.wav {speaker}-1.wav" for speaker in range(SPEAKERS)]
    lines += [f"0 {one}-2.wav {other}-3.wav" for one in range(SPEAKERS) for other in range(SPEAKERS) if one != other]
    trials.write_text("\n".join(lines) + "\n")
    done = run("models", "quantize", "tiny", "--manifest", manifest, "--trials", trials, "--out", "mine", "--json")
    assert done.code == 0, done.err
    assert done.json["name"] == "mine"
    cost = done.json["cost"]
    assert (cost["source"], cost["targets"], cost["non_targets"]) == (str(trials), 5, 20)


def test_the_table_names_both_models_and_every_figure(run: Run, parent: Path, manifest: Path) -> None:
    done = run("models", "quantize", "tiny", "--manifest", manifest)
    assert done.code == 0, done.err
    for word in (
        "tiny-int8",
        "static",
        "eer",
        "min-dcf p=0.01",
        "cosine",
        "times smaller",
        "real time",
        "90% interval",
    ):
        assert word in done.out


def test_a_name_is_not_taken_twice(run: Run, parent: Path, manifest: Path) -> None:
    assert run("models", "quantize", "tiny", "--manifest", manifest).code == 0
    again = run("models", "quantize", "tiny", "--manifest", manifest)
    assert again.code == 2
    assert "there is a model tiny-int8 already" in again.err
    assert run("models", "quantize", "tiny", "--manifest", manifest, "--replace").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tiny", "--method", "best"], "there is no method 'best'"),
        (["tiny", "--out", "../up"], "cannot be a model's name"),
        (["tiny", "--out", "ge2e"], "vecsv fetches"),
        (["none"], "there is no model 'none'"),
    ],
)
def test_mistakes_are_told_in_one_line(run: Run, parent: Path, manifest: Path, words: list[str], said: str) -> None:
    done = run("models", "quantize", *words, "--manifest", manifest)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not list(registry.cached_folder("tiny").parent.glob(".*"))


def test_recordings_that_cannot_be_embedded_are_told(run: Run, parent: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE), RATE)
    (tmp_path / "silent.tsv").write_text("silence.wav\tann\n")
    done = run("models", "quantize", "tiny", "--manifest", tmp_path / "silent.tsv")
    assert done.code == 2
    assert "nothing to quantise it with" in done.err
