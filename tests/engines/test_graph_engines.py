"""ONNX Runtime and OpenVINO against NumPy, on graphs small enough to write down."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.engines.graphs import BANDS, DIM, recordings, reference, source
from vecsv.engines.batching import BatchLimits
from vecsv.engines.choose import open_network
from vecsv.engines.onnx_runtime import OnnxRuntimeNetwork
from vecsv.engines.protocol import EngineSettings, GraphInterface, Network, NetworkSource
from vecsv.errors import ModelError

LAYOUTS = ("wave", "time-features", "features-time", "image-features-time")


@pytest.fixture(params=["onnxruntime", "openvino"])
def engine(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param)
    return str(request.param)


def opened(engine: str, given: NetworkSource, *, threads: int = 1, precision: str = "fp32") -> Network:
    return open_network(given, EngineSettings(engine, threads=threads, precision=precision))


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_what_numpy_gives(engine: str, layout: str, lengths: bool, tmp_path: Path) -> None:
    inputs = recordings(7, 12, 3, 12, 1, wave=layout == "wave")
    rows = opened(engine, source(tmp_path, layout, lengths=lengths)).run(inputs)
    assert rows.dtype == np.float32 and rows.shape == (5, DIM + 1)
    np.testing.assert_allclose(rows, [reference(one) for one in inputs], atol=1e-5)


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_frames_are_filled_up_to_a_multiple_and_the_lengths_say_how_many_count(
    engine: str, layout: str, tmp_path: Path
) -> None:
    inputs = recordings(7, 16, 17)
    rows = opened(engine, source(tmp_path, layout, lengths=True, frame_multiple=8)).run(inputs)
    expected = [reference(one, frames=shown) for one, shown in zip(inputs, (8, 16, 24), strict=True)]
    np.testing.assert_allclose(rows, expected, atol=1e-5)


def test_inputs_of_one_length_share_a_call_and_come_back_in_their_own_order(engine: str, tmp_path: Path) -> None:
    inputs = recordings(4, 9, 4, 9, 9, 4, 2)
    rows = opened(engine, source(tmp_path, cpu_batch=3)).run(inputs)
    np.testing.assert_allclose(rows, [reference(one) for one in inputs], atol=1e-5)


def test_a_graph_for_one_recording_at_a_time_gets_one_at_a_time(engine: str, tmp_path: Path) -> None:
    inputs = recordings(4, 4, 4)
    rows = opened(engine, source(tmp_path, batch=1, cpu_batch=3)).run(inputs)
    np.testing.assert_allclose(rows, [reference(one) for one in inputs], atol=1e-5)


def test_further_axes_of_length_one_are_dropped(engine: str, tmp_path: Path) -> None:
    inputs = recordings(5, 8)
    rows = opened(engine, source(tmp_path, trailing_axes=2)).run(inputs)
    np.testing.assert_allclose(rows, [reference(one) for one in inputs], atol=1e-5)


def test_views_and_read_only_arrays_are_taken(engine: str, tmp_path: Path) -> None:
    (whole,) = recordings(40)
    whole.flags.writeable = False
    inputs = [whole[3:20], whole[::2], whole[:, ::-1]]
    rows = opened(engine, source(tmp_path)).run(inputs)
    np.testing.assert_allclose(rows, [reference(one) for one in inputs], atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_eight_threads_at_once_each_get_their_own(engine: str, threads: int, tmp_path: Path) -> None:
    network = opened(engine, source(tmp_path, "features-time", cpu_batch=2), threads=threads)
    inputs = recordings(*range(1, 65))
    with ThreadPoolExecutor(8) as pool:
        pieces = [inputs[start : start + 4] for start in range(0, 64, 4)] * 5
        for piece, rows in zip(pieces, pool.map(network.run, pieces), strict=True):
            np.testing.assert_allclose(rows, [reference(one) for one in piece], atol=1e-5)


def test_a_result_stays_what_it_is_when_the_network_runs_again(engine: str, tmp_path: Path) -> None:
    network = opened(engine, source(tmp_path))
    first, second = recordings(6, 9)
    rows = network.run([first])
    network.run([second])
    np.testing.assert_allclose(rows, [reference(first)], atol=1e-5)


def test_openvino_in_bf16_is_near_but_not_the_same(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    inputs = recordings(30, 50)
    exact = np.array([reference(one)[:DIM] for one in inputs])
    rows = opened("openvino", source(tmp_path), precision="bf16").run(inputs)[:, :DIM]
    cosines = (rows * exact).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosines.min() > 0.999
    assert "bf16" in opened("openvino", source(tmp_path), precision="bf16").engine


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_padded_batches_give_what_each_recording_gives_alone(batch: int, tmp_path: Path) -> None:
    inputs = recordings(7, 12, 3, 12, 1, 40)
    limits = BatchLimits(items=batch, size=1000, waste=0.9)
    given = source(tmp_path, "features-time", lengths=True)
    rows = OnnxRuntimeNetwork(given, limits=limits).run(inputs)
    np.testing.assert_allclose(rows[:, :DIM], [reference(one)[:DIM] for one in inputs], atol=1e-5)
    # The graph's last number says that there was padding to get wrong.
    assert (rows[:, DIM] > [len(one) for one in inputs]).any() == (batch > 1)


def test_the_engine_names_version_device_and_precision(engine: str, tmp_path: Path) -> None:
    name, device, precision = opened(engine, source(tmp_path)).engine.split(", ")
    assert (name.split()[0], device, precision) == (engine, "cpu", "fp32")
    assert name.split()[1][0].isdecimal()


def test_a_damaged_graph_is_refused(engine: str, tmp_path: Path) -> None:
    given = source(tmp_path)
    assert given.graph is not None
    given.graph.write_bytes(given.graph.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"cannot be loaded by \w+.*pull the model again"):
        opened(engine, given)


@pytest.mark.parametrize(
    ("interface", "says"),
    [
        (GraphInterface("features", "y"), "takes x, but should take features"),
        (GraphInterface("x", "z"), "gives y, but should give z"),
        (GraphInterface("x", "y", lengths="n"), "takes x, but should take n, x"),
    ],
)
def test_a_graph_with_other_names_is_refused(engine: str, interface: GraphInterface, says: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=says):
        opened(engine, NetworkSource("small", source(tmp_path).graph, interface))


def test_a_graph_that_wants_lengths_is_refused_where_nothing_is_said_of_them(engine: str, tmp_path: Path) -> None:
    given = NetworkSource("small", source(tmp_path, lengths=True).graph, GraphInterface("x", "y"))
    with pytest.raises(ModelError, match="takes x, n, but should take x"):
        opened(engine, given)


def test_an_input_that_the_graph_cannot_take_is_an_error_that_names_its_shape(engine: str, tmp_path: Path) -> None:
    network = opened(engine, source(tmp_path))
    with pytest.raises(ModelError, match=rf"small: .*\(1, 4, {BANDS + 1}\)"):
        network.run([np.zeros((4, BANDS + 1), np.float32)])
