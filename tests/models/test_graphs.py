from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tests.models.onnx_graphs import NEMO, Exported
from vecsv.errors import ModelError
from vecsv.models.graphs import parse_graph

Change = Callable[[Any], None]


def parsed(model: Any) -> Any:
    return parse_graph(model.SerializeToString(), where="graph.onnx")


def refusal(model: Any) -> str:
    with pytest.raises(ModelError) as caught:
        parsed(model)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("graph.onnx: ")
    return message


def changed(change: Change, exported: Exported | None = None) -> Any:
    model = (exported or Exported()).model()
    change(model)
    return model


def node(model: Any, kind: str) -> Any:
    return next(one for one in model.graph.node if one.op_type == kind)


def test_inputs_outputs_and_metadata_are_told() -> None:
    graph = parsed(Exported(layout="features-time", lengths="length", logits=True).model(NEMO))
    assert [(port.name, port.kind, port.shape) for port in graph.inputs] == [
        ("feats", "float", (None, 80, None)),
        ("length", "int64", (None,)),
    ]
    assert [port.name for port in graph.outputs] == ["logits", "embs"]
    assert graph.metadata["framework"] == "nemo"


def test_every_number_of_a_graph_is_among_its_tensors() -> None:
    exported = Exported()
    graph = parsed(exported.model())
    assert {name: values.tolist() for name, values in graph.tensors.items()} == {
        f"initialiser/{name}": values.tolist() for name, values in exported.weights().items()
    }


def test_numbers_in_constant_nodes_are_among_the_tensors_too() -> None:
    def as_constant(model: Any) -> None:
        bias = next(one for one in model.graph.initializer if one.name == "out.bias")
        model.graph.node.insert(0, helper.make_node("Constant", [], ["out.bias"], value=bias))
        model.graph.initializer.remove(bias)

    graph = parsed(changed(as_constant))
    np.testing.assert_array_equal(graph.tensors["attribute/0"], Exported().weights()["out.bias"])


def test_an_initialiser_listed_among_the_inputs_is_no_input() -> None:
    def listed(model: Any) -> None:
        model.graph.input.append(helper.make_tensor_value_info("out.bias", TensorProto.FLOAT, [16]))

    assert [port.name for port in parsed(changed(listed)).inputs] == ["feats"]


def _rename(model: Any) -> None:
    for one in model.graph.node:
        one.name = f"renamed {one.op_type}"
        for names in (one.input, one.output):
            for position, name in enumerate(names):
                if name == "hidden":
                    names[position] = "concealed"


def _texts(model: Any) -> None:
    model.producer_name, model.producer_version, model.doc_string = "somebody", "9", "words"
    model.graph.doc_string = model.graph.name = "other words"
    model.graph.node[0].doc_string = "and more"
    helper.set_model_props(model, {"comment": "a note"})


def _shuffled_initialisers(model: Any) -> None:
    tensors = list(model.graph.initializer)[::-1]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)


def _other_weights(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 2, tensor.name))


def _unused_domain(model: Any) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


@pytest.mark.parametrize("change", [_rename, _texts, _shuffled_initialisers, _other_weights, _unused_domain])
def test_what_computes_the_same_has_the_same_structure(change: Change) -> None:
    assert parsed(changed(change)).structure == parsed(Exported().model()).structure


def test_saving_again_changes_neither_structure_nor_tensors(tmp_path: Path) -> None:
    first = parsed(Exported(convolution=True, lengths="n").model())
    onnx.save(onnx.load_model_from_string(first.data), tmp_path / "again.onnx")
    again = parse_graph((tmp_path / "again.onnx").read_bytes(), where="again")
    assert again.structure == first.structure
    assert again.tensors.keys() == first.tensors.keys()
    assert all(np.array_equal(again.tensors[name], first.tensors[name]) for name in first.tensors)


def _operator(model: Any) -> None:
    node(model, "Relu").op_type = "Tanh"


def _attribute(model: Any) -> None:
    node(model, "Gemm").attribute.append(helper.make_attribute("alpha", 2.0))


def _wiring(model: Any) -> None:
    join = node(model, "Concat")
    join.input[0], join.input[1] = join.input[1], join.input[0]


def _opset(model: Any) -> None:
    model.opset_import[0].version = 16


def _fixed_batch(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


@pytest.mark.parametrize("change", [_operator, _attribute, _wiring, _opset, _fixed_batch])
def test_what_computes_otherwise_has_another_structure(change: Change) -> None:
    assert parsed(changed(change)).structure != parsed(Exported().model()).structure


def _inner_graphs(value: float) -> Any:
    """A graph that takes one of two branches; the branches hold numbers of their own."""
    branches = []
    for number in (1.0, value):
        constant = numpy_helper.from_array(np.array([[number]], np.float32), "inner")
        out = helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [1, 1])
        add = helper.make_node("Add", ["x", "inner"], ["chosen"])
        branches.append(helper.make_graph([add], "branch", [], [out], [constant]))
    flag = numpy_helper.from_array(np.array(True), "flag")
    choose = helper.make_node("If", ["flag"], ["y"], then_branch=branches[0], else_branch=branches[1])
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "samples"])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "dim"])
    graph = helper.make_graph([choose], "network", [entry], [result], [flag])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_graphs_within_graphs_are_read_with_their_numbers() -> None:
    graph, other = parsed(_inner_graphs(2.0)), parsed(_inner_graphs(3.0))
    assert sorted(float(values.ravel()[0]) for values in graph.tensors.values()) == [1.0, 1.0, 2.0]
    assert graph.structure == other.structure
    assert any(not np.array_equal(graph.tensors[name], other.tensors[name]) for name in graph.tensors)


def _external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.append(onnx.StringStringEntryProto(key="location", value="../../../../etc/passwd"))


def _external_in_an_attribute(model: Any) -> None:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.append(onnx.StringStringEntryProto(key="location", value="weights.bin"))
    model.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=tensor))


def _custom_operator(model: Any) -> None:
    node(model, "Relu").domain = "somebody.elses"
    model.opset_import.append(helper.make_opsetid("somebody.elses", 1))


def _function(model: Any) -> None:
    body = helper.make_node("Relu", ["a"], ["b"])
    model.functions.append(helper.make_function("local", "own", ["a"], ["b"], [body], [helper.make_opsetid("", 17)]))


def _enormous_initialiser(model: Any) -> None:
    tensor = model.graph.initializer[0]
    del tensor.dims[:]
    tensor.dims.extend([10**6, 10**6])


def _more_than_the_file_holds(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.dims[0] += 1


def _enormous_constant(model: Any) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array([10**6, 10**6], np.int64), "size"))
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["size"], ["vast"]))


def _endless_loop(model: Any) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(10**12, np.int64), "turns"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "go_on"))
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    still = helper.make_tensor_value_info("still", TensorProto.BOOL, [])
    body = helper.make_graph([helper.make_node("Identity", ["flag"], ["still"])], "body", [turn, flag], [still])
    model.graph.node.insert(0, helper.make_node("Loop", ["turns", "go_on"], [], body=body))


def _cycle(model: Any) -> None:
    node(model, "Relu").input[0] = "pooled"


def _twice(model: Any) -> None:
    node(model, "Relu").output[0] = "added"


def _not_a_number(model: Any) -> None:
    tensor = model.graph.initializer[0]
    values = numpy_helper.to_array(tensor).copy()
    values.flat[3] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _texts_as_tensor(model: Any) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(["word"], dtype=object), "words"))


def _nothing(model: Any) -> None:
    del model.graph.node[:]


def _unknown_operator(model: Any) -> None:
    node(model, "Relu").op_type = "Rectify"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_external, "in another file, which is never opened"),
        (_external_in_an_attribute, "in another file, which is never opened"),
        (_custom_operator, "the operator Relu of somebody.elses"),
        (_function, "operators of its own"),
        (_enormous_initialiser, "impossible shape"),
        (_more_than_the_file_holds, "hidden.weight"),
        (_enormous_constant, "a tensor of 1,000,000,000,000 elements"),
        (_endless_loop, "a loop of 1,000,000,000,000 turns"),
        (_cycle, "not valid ONNX"),
        (_twice, "not valid ONNX"),
        (_not_a_number, "hidden.weight holds values that are no numbers"),
        (_texts_as_tensor, "words"),
        (_nothing, "without a network"),
        (_unknown_operator, "not valid ONNX"),
    ],
)
def test_hostile_graphs_are_refused(change: Change, said: str) -> None:
    assert said in refusal(changed(change))


def test_nesting_without_end_is_refused() -> None:
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["chosen"])], "deepest", [], [])
    for _ in range(12):
        inner = helper.make_node("If", ["flag"], ["chosen"], then_branch=branch, else_branch=branch)
        branch = helper.make_graph([inner], "branch", [], [])
        if branch.ByteSize() > 1 << 20:
            break
    model = helper.make_model(branch, opset_imports=[helper.make_opsetid("", 17)])
    assert "deep" in refusal(model)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_are_refused_or_read_but_never_crash(data: st.DataObject) -> None:
    content = bytearray(Exported(dim=4, bands=8).model(NEMO).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    try:
        graph = parse_graph(bytes(content[:cut]), where="graph.onnx")
    except ModelError as error:
        assert "\n" not in str(error)
    else:
        assert graph.tensors
