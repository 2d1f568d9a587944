from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from tests.models.onnx_graphs import Exported
from vecsv.engines.protocol import GraphInterface
from vecsv.errors import ModelError
from vecsv.models.probing import Findings, Question, find_out, probe

INTERFACE = GraphInterface("feats", "embs").to_json()


def question(path: Path, model: Any) -> Question:
    path.write_bytes(model.SerializeToString())
    return Question(str(path), INTERFACE, bands=80)


def test_another_process_finds_what_this_one_does(tmp_path: Path) -> None:
    asked = question(tmp_path / "a.onnx", Exported(convolution=True).model())
    assert probe(asked, where="a") == find_out(asked) == Findings(dim=16, min_frames=5, batched=True)


def test_what_is_declared_is_tried_and_not_searched(tmp_path: Path) -> None:
    asked = question(tmp_path / "a.onnx", Exported(convolution=True).model())
    assert find_out(replace(asked, min_frames=50)).min_frames == 50
    with pytest.raises(ModelError, match="does not take 3 frames"):
        find_out(replace(asked, min_frames=3))


def test_batches_can_be_out_of_the_question(tmp_path: Path) -> None:
    asked = question(tmp_path / "a.onnx", Exported().model())
    assert find_out(replace(asked, one_at_a_time=True)).batched is False


def test_a_graph_that_mixes_its_batch_is_found_out(tmp_path: Path) -> None:
    """Each embedding has the batch's mean taken away."""
    model = Exported().model()
    gemm = next(one for one in model.graph.node if one.op_type == "Gemm")
    gemm.output[0] = "own"
    model.graph.node.append(helper.make_node("ReduceMean", ["own"], ["shared"], axes=[0], keepdims=1))
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.1, np.float32), "share"))
    model.graph.node.append(helper.make_node("Mul", ["shared", "share"], ["part"]))
    model.graph.node.append(helper.make_node("Sub", ["own", "part"], ["embs"]))
    assert find_out(question(tmp_path / "a.onnx", model)).batched is False


def test_too_little_memory_is_a_refusal(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    asked = question(tmp_path / "a.onnx", Exported().model())
    with pytest.raises(ModelError, match=r"cannot be (run|loaded)"):
        probe(replace(asked, memory=1 << 26), where="a.onnx")


def test_a_file_that_is_gone_is_a_refusal(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        find_out(Question(str(tmp_path / "none.onnx"), INTERFACE, bands=80))
