from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from tests.serve.conftest import talk
from tests.serve.spoof_graphs import Shape, loudness_graph
from vecsv.errors import ModelError
from vecsv.serve.spoof import SpoofModel

EXPECTED = float(np.abs(talk("ann")).mean())


@pytest.mark.parametrize(
    "shape", [("samples",), ("batch", "samples"), (1, "samples"), ("batch", 1, "samples"), (None, None)]
)
def test_the_graph_itself_says_what_shape_it_takes(tmp_path: Path, shape: Shape) -> None:
    model = SpoofModel(loudness_graph(tmp_path / "m.onnx", shape))
    assert model.score(talk("ann")) == pytest.approx(EXPECTED, rel=1e-5)


def test_a_graph_of_a_fixed_length_is_given_that_length(tmp_path: Path) -> None:
    model = SpoofModel(loudness_graph(tmp_path / "m.onnx", (1, 8000)))
    long, short = talk("ann"), talk("ann")[:3000]
    assert model.score(long) == pytest.approx(float(np.abs(long[:8000]).mean()), rel=1e-5)
    repeated = np.concatenate([short, short, short[:2000]])
    assert model.score(short) == pytest.approx(float(np.abs(repeated).mean()), rel=1e-5)


def test_a_score_may_keep_its_axes(tmp_path: Path) -> None:
    model = SpoofModel(loudness_graph(tmp_path / "m.onnx", keep_axis=True))
    assert model.score(talk("ann")) == pytest.approx(EXPECTED, rel=1e-5)


def test_metadata_may_say_that_higher_is_spoofed(tmp_path: Path) -> None:
    model = SpoofModel(loudness_graph(tmp_path / "m.onnx", metadata={"higher": "spoofed"}))
    assert model.score(talk("ann")) == pytest.approx(-EXPECTED, rel=1e-5)


def test_metadata_that_means_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="genuine or spoofed"):
        SpoofModel(loudness_graph(tmp_path / "m.onnx", metadata={"higher": "louder"}))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"outputs": 2}, "1 inputs and 2 outputs"),
        ({"kind": TensorProto.DOUBLE}, "not one waveform of float32"),
        ({"shape": ("batch", 80, "frames")}, "not one waveform of float32"),
        ({"shape": ("a", "b", "c", "d")}, "not one waveform of float32"),
        ({"shape": (2, "samples")}, "not one waveform of float32"),
    ],
)
def test_a_graph_that_is_no_countermeasure_is_refused_when_it_is_opened(
    tmp_path: Path, options: dict[str, object], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        SpoofModel(loudness_graph(tmp_path / "m.onnx", **options))


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(ModelError, match="no ONNX graph"):
        SpoofModel(path)
