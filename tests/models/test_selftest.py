from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from vecsv.arrays import Vectors, Waveform
from vecsv.audio.activity import Activity
from vecsv.engines.protocol import GraphInterface
from vecsv.errors import ModelError
from vecsv.frontend.spec import KaldiSpec
from vecsv.models.conversion import Conversion, as_bundle, write_conversion
from vecsv.models.onnx_model import RunRules
from vecsv.models.protocol import Prepared
from vecsv.models.selftest import find_out, self_test

BANDS = 80


def graph(*nodes: Any, dim: int = BANDS, **constants: object) -> bytes:
    """A network of nodes from ``mean`` (each band's mean over time) to ``embs``."""
    known = {"time": np.array([1], np.int64), **constants}
    mean = helper.make_node("ReduceMean", ["scaled", "time"], ["mean"], keepdims=0)
    # The front end takes each band's mean away; squares have one.
    squared = helper.make_node("Mul", ["feats", "feats"], ["scaled"])
    made = helper.make_graph(
        [squared, mean, *nodes],
        "network",
        [helper.make_tensor_value_info("feats", TensorProto.FLOAT, ["batch", "frames", BANDS])],
        [helper.make_tensor_value_info("embs", TensorProto.FLOAT, ["batch", dim])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in known.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    serialised: bytes = model.SerializeToString()
    return serialised


def node(kind: str, *inputs: str, to: str = "embs", **attributes: object) -> Any:
    return helper.make_node(kind, list(inputs), [to], **attributes)


def bundle(folder: Path, network: bytes, *, dim: int = BANDS) -> Path:
    rules = RunRules(GraphInterface(input="feats", output="embs"), "0" * 64, 1, True)
    conversion = Conversion(
        family="onnx",
        dim=dim,
        frontend=KaldiSpec(),
        tensors={"time": np.array([1])},
        network=rules.to_json(),
        graph=network,
    )
    described = as_bundle(conversion, name="mine", description="a test", licence="unknown", source={})
    return write_conversion(folder / "mine", conversion, described)


GOOD = graph(node("Identity", "mean"))
ZERO, ONES = np.float32(0.0), np.ones(BANDS, np.float32)


def test_a_good_bundle_passes(tmp_path: Path) -> None:
    self_test(bundle(tmp_path, GOOD), where="mine")


BAD: dict[str, tuple[bytes, str]] = {
    "constant": (
        graph(node("Mul", "mean", "zero", to="nothing"), node("Add", "nothing", "ones"), zero=ZERO, ones=ONES),
        "two different sounds the same embedding",
    ),
    "zeros": (graph(node("Mul", "mean", "zero"), zero=ZERO), "gives no direction"),
    "no numbers": (
        graph(node("Mul", "mean", "zero", to="nothing"), node("Div", "nothing", "nothing"), zero=ZERO),
        "gives no direction",
    ),
    "infinite": (graph(node("Div", "mean", "zero"), zero=ZERO), "gives no direction"),
    "another size": (
        graph(node("Slice", "mean", "first", "last", "axis"), first=[0], last=[79], axis=[1], dim=79),
        "expected (2, 80)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_a_bundle_that_gives_no_embeddings_is_refused_with_the_reason(fault: str, tmp_path: Path) -> None:
    network, words = BAD[fault]
    with pytest.raises(ModelError) as refusal:
        find_out(bundle(tmp_path, network))
    assert words in str(refusal.value)


class Coupled:
    """An embedder whose embeddings depend on what else is in the batch."""

    sample_rate = 16000

    def prepare(self, waveform: Waveform, activity: Activity) -> Prepared:
        return Prepared(np.abs(waveform[:BANDS]), 1.0)

    def embed(self, prepared: list[Prepared]) -> Vectors:
        rows = np.stack([one.features for one in prepared]) + len(prepared)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_a_model_that_looks_at_its_neighbours_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vecsv.models.selftest.load_bundle", lambda folder, family: Coupled())
    with pytest.raises(ModelError, match="another embedding when it is in a batch"):
        find_out(bundle(tmp_path, GOOD))


def test_the_reason_comes_from_the_other_process_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^given: gives two different sounds the same embedding$"):
        self_test(bundle(tmp_path, BAD["constant"][0]), where="given")


def _counted(count: int) -> tuple[Any, ...]:
    """Nodes to ``many``, a number that does not stand in the file."""
    return (
        node("Shape", "feats", to="shape"),
        node("Gather", "shape", "last", to="bands"),
        node("Mul", "bands", "count", to="many"),
    )


def _endless() -> bytes:
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
    )
    carried = helper.make_graph(
        [*body.node, helper.make_node("Identity", ["state"], ["next"])],
        "body",
        [*body.input, helper.make_tensor_value_info("state", TensorProto.FLOAT, None)],
        [*body.output, helper.make_tensor_value_info("next", TensorProto.FLOAT, None)],
    )
    loop = helper.make_node("Loop", ["many", "", "mean"], ["embs"], body=carried)
    return graph(*_counted(1), loop, last=np.int64(2), count=np.int64(2**50))


def test_a_network_without_end_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"^given: its network ran for 6 s without an end"):
        self_test(bundle(tmp_path, _endless()), where="given", time_limit_s=6.0)


def test_a_network_that_asks_for_terabytes_is_refused(tmp_path: Path) -> None:
    hungry = graph(
        *_counted(1),
        node("Unsqueeze", "many", "zero", to="size"),
        node("ConstantOfShape", "size", to="zeros"),
        node("ReduceSum", "zeros", to="sum"),
        node("Add", "mean", "sum"),
        last=np.int64(2),
        count=np.int64(10**11),
        zero=np.array([0], np.int64),
    )
    with pytest.raises(ModelError, match=r"^given: .*(cannot run it|cannot be run).*"):
        self_test(bundle(tmp_path, hungry), where="given")


def test_a_bundle_of_an_unknown_family_is_refused(tmp_path: Path) -> None:
    folder = bundle(tmp_path, GOOD)
    description = (folder / "bundle.json").read_text(encoding="utf-8").replace('"family": "onnx"', '"family": "other"')
    (folder / "bundle.json").write_text(description, encoding="utf-8")
    with pytest.raises(ModelError, match="family other"):
        self_test(folder, where="given")
