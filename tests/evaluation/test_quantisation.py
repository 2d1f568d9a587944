from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.models.onnx_graphs import Exported
from vecsv.engines.protocol import EngineSettings
from vecsv.errors import CalibrationError, ModelError
from vecsv.evaluation.quantisation import QuantizeRequest, measure_cost, quantize_model
from vecsv.health.signals import RATE, speech_like
from vecsv.models import onnx_model
from vecsv.models.conversion import as_bundle, write_conversion
from vecsv.models.encoder import Encoder
from vecsv.models.onnx_model import from_file
from vecsv.models.presets import find_preset

SPEAKERS, UTTERANCES = 4, 3


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's bundle, recordings, and a manifest of them, one of which is silent."""
    folder = tmp_path_factory.mktemp("workshop")
    made = from_file(Exported(convolution=True).write(folder / "a.onnx"), preset=find_preset("wespeaker"))
    bundle = as_bundle(made, name="tiny", description="a test", licence="CC0-1.0", source={})
    write_conversion(folder / "tiny", made, bundle)
    lines = []
    for speaker in range(SPEAKERS):
        signal = speech_like(1.5 * UTTERANCES, seed=speaker)
        for number, part in enumerate(np.split(signal, UTTERANCES)):
            soundfile.write(folder / f"{speaker}-{number}.wav", part, RATE, subtype="PCM_16")
            lines.append(f"{speaker}-{number}.wav\t{speaker}\n")
    soundfile.write(folder / "silence.wav", np.zeros(RATE), RATE, subtype="PCM_16")
    (folder / "all.tsv").write_text("".join([*lines, "silence.wav\t0\n"]))
    return folder


@pytest.fixture
def model(workshop: Path) -> Encoder:
    return onnx_model.load(workshop / "tiny", EngineSettings(engine="onnxruntime"))


def test_a_model_beside_itself_costs_nothing(workshop: Path, model: Encoder) -> None:
    seen: list[tuple[int, int]] = []
    timed = [model.prepare(speech_like(1.5, seed=0))]
    cost = measure_cost(
        model,
        model,
        workshop / "all.tsv",
        trials=None,
        sizes=(8, 4),
        timed=timed,
        progress=lambda done, of: seen.append((done, of)),
    )
    assert [one.name for one in cost.differences] == ["eer", "min-dcf p=0.01"]
    assert all(one.difference == 0.0 and one.first == one.second for one in cost.differences)
    assert cost.cosine_min == pytest.approx(1.0, abs=1e-6)
    # The silent one has no embedding.
    assert (cost.compared, cost.recordings, cost.speakers) == (12, 12, 4)
    assert (cost.targets, cost.non_targets) == (4 * 3, 6 * 9)
    assert cost.size_ratio == 2.0
    rows = SPEAKERS * UTTERANCES + 1
    assert seen[-1] == (2 * rows, 2 * rows)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_failure_on_the_way_leaves_no_model(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECSV_CACHE", str(tmp_path / "cache"))
    lone = workshop / "lone.tsv"
    lone.write_text("0-0.wav\t0\n1-0.wav\t1\n")
    with pytest.raises(CalibrationError):
        quantize_model(QuantizeRequest(str(workshop / "tiny"), lone))
    assert not list(tmp_path.glob("cache/models/*"))


def test_an_int8_model_is_not_quantised_again(workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VECSV_CACHE", str(tmp_path / "cache"))
    request = QuantizeRequest(str(workshop / "tiny"), workshop / "all.tsv", recordings=3)
    made = quantize_model(request)
    # The first, one from the middle, and the last, which is silent.
    assert made.bundle.source["recordings_for_ranges"] == 2
    assert made.bundle.source["parent_fingerprint"] == made.parent.fingerprint
    with pytest.raises(ModelError, match="int8 already"):
        quantize_model(QuantizeRequest(made.bundle.name, workshop / "all.tsv"))
