"""Files made to do harm: each is written by a function and refused by vecsv with the words beside it.

A function is given a folder of its own and the path of a marker that the file's code would create; it returns what is
handed to `vecsv models add`.
"""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.checkpoints import legacy, zipped
from tests.models import ecapa_checkpoints
from tests.models.onnx_graphs import Exported


@dataclass(frozen=True)
class Case:
    """A hostile file: who writes it, words of the refusal, and options that go with it."""

    write: Callable[[Path, Path], Path]
    words: str
    options: tuple[str, ...] = ()


DISTRUST = "do not trust this file"
FOUR = np.arange(4, dtype=np.float32)
HUGE = 10**12


def _file(name: str, content: bytes) -> Callable[[Path, Path], Path]:
    def write(folder: Path, marker: Path) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return write


def _both(payload: Callable[[Path], legacy.Raw], words: str) -> dict[str, Case]:
    """A pickle's payload among the tensors, in either of PyTorch's formats."""

    def write_zip(folder: Path, marker: Path) -> Path:
        content = {"state_dict": {"weight": payload(marker)}}
        return _file("weights.pt", zipped.archive(zipped.members(content)))(folder, marker)

    def write_legacy(folder: Path, marker: Path) -> Path:
        content = {"state_dict": {"weight": payload(marker)}}
        whole = legacy.header() + legacy.pickled(content) + legacy.body({})
        return _file("weights.ckpt", whole)(folder, marker)

    name = payload.__name__.strip("_").replace("_", " ")
    return {f"{name}, zip": Case(write_zip, words), f"{name}, legacy": Case(write_legacy, words)}


def _os_system(marker: Path) -> legacy.Raw:
    return legacy.call(legacy.name("os", "system"), f"touch {marker}")


def _getattr_chain(marker: Path) -> legacy.Raw:
    module = legacy.call(legacy.name("importlib", "import_module"), "os")
    return legacy.call(legacy.call(legacy.name("builtins", "getattr"), module, "system"), f"touch {marker}")


def _new_object_and_state(marker: Path) -> legacy.Raw:
    made = legacy.name("subprocess", "Popen").operations + legacy.value((["touch", str(marker)],)) + b"\x81"
    return legacy.Raw(made + legacy.value({"args": 1}) + b"b")


def _new_object(marker: Path) -> legacy.Raw:
    # No name before it that is refused: the operation itself has to be.
    return legacy.Raw(legacy.name("collections", "OrderedDict").operations + b")\x81")


def _state_on_a_builder(marker: Path) -> legacy.Raw:
    builder = legacy.name("torch._utils", "_rebuild_tensor_v2").operations
    return legacy.Raw(builder + legacy.value({"__call__": str(marker)}) + b"b")


class Touching:
    """What an attacker's own class looks like to `pickle`."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def _reduce_ex(marker: Path) -> legacy.Raw:
    return legacy.Raw(pickle.dumps(Touching(marker), protocol=2)[2:-1])


def _plain_pickle(folder: Path, marker: Path) -> Path:
    path = folder / "weights.pt"
    path.write_bytes(pickle.dumps(Touching(marker)))
    return path


def _tensor(offset: int, shape: list[int], strides: list[int], elements: int = 4) -> Callable[[Path, Path], Path]:
    content = {"weight": legacy.tensor(zipped.storage("0", elements), offset, shape, strides)}
    return _file("weights.pt", zipped.archive(zipped.members(content, {"0": FOUR})))


def _bomb(folder: Path, marker: Path) -> Path:
    path = folder / "weights.pt"
    described, storages = zipped.state({"weight": FOUR})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in zipped.members(described, storages).items():
            archive.writestr(f"weights/{name}", content, compress_type=zipfile.ZIP_STORED)
        with archive.open("weights/data/1", "w") as member:
            for _ in range(256):
                member.write(bytes(2**20))
    assert path.stat().st_size < 2**21
    return path


def _overlapping(folder: Path, marker: Path) -> Path:
    """Thousands of members that are all the same bytes."""
    base = zipped.archive({"data.pkl": legacy.pickled({}), "data/0": bytes(2**20)})
    end = base.index(b"PK\x01\x02")
    second = base.index(b"PK\x01\x02", end + 1)
    entry = base[second : base.index(b"PK\x05\x06")]
    entries = [entry.replace(b"data/0", f"dat{number:03}".encode()) for number in range(900)]
    directory = base[end:second] + entry + b"".join(entries)
    count = (2 + len(entries)).to_bytes(2, "little")
    close = b"PK\x05\x06" + bytes(4) + count + count + len(directory).to_bytes(4, "little") + end.to_bytes(4, "little")
    path = folder / "weights.pt"
    path.write_bytes(base[:end] + directory + close + bytes(2))
    return path


def _wrong_shape(folder: Path, marker: Path) -> Path:
    tensors = ecapa_checkpoints.checkpoint("speechbrain", "small")
    tensors["fc.conv.bias"] = tensors["fc.conv.bias"][:-1]
    return _file("embedding_model.ckpt", zipped.checkpoint(tensors))(folder, marker)


def _missing(folder: Path, marker: Path) -> Path:
    tensors = ecapa_checkpoints.checkpoint("speechbrain", "small")
    del tensors["asp_bn.norm.running_var"]
    return _file("embedding_model.ckpt", zipped.checkpoint(tensors))(folder, marker)


def _not_finite(folder: Path, marker: Path) -> Path:
    tensors = ecapa_checkpoints.checkpoint("wespeaker", "small")
    tensors["linear.bias"][3] = np.nan
    return _file("avg_model.pt", zipped.checkpoint(tensors))(folder, marker)


def _sparse(folder: Path, marker: Path) -> Path:
    content = {"weight": legacy.tensor(legacy.storage("s", HUGE), 0, [HUGE], [1])}
    start = legacy.header() + legacy.pickled(content) + legacy.pickled(["s"]) + HUGE.to_bytes(8, "little")
    path = folder / "weights.pt"
    with path.open("wb") as file:
        file.write(start)
        file.truncate(15 * 2**30)
    return path


def _too_large(folder: Path, marker: Path) -> Path:
    path = _sparse(folder, marker)
    os.truncate(path, 40 * 2**30)
    return path


def _loop_of_links(folder: Path, marker: Path) -> Path:
    (folder / "a.pt").symlink_to("b.pt")
    (folder / "b.pt").symlink_to("a.pt")
    return folder / "a.pt"


def _folder_in_itself(folder: Path, marker: Path) -> Path:
    inner = folder / "model"
    inner.mkdir()
    (inner / "embedding_model.ckpt").symlink_to(inner)
    return inner


def _pipe(folder: Path, marker: Path) -> Path:
    inner = folder / "model"
    inner.mkdir()
    os.mkfifo(inner / "embedding_model.ckpt")
    return inner


def _bare_pipe(folder: Path, marker: Path) -> Path:
    os.mkfifo(folder / "weights.pt")
    return folder / "weights.pt"


def _endless(folder: Path, marker: Path) -> Path:
    (folder / "weights.pt").symlink_to("/dev/zero")
    return folder / "weights.pt"


def _hyperparams(folder: Path, marker: Path) -> Path:
    (folder / "hyperparams.yaml").write_text(f"x: !apply:os.system\n  - touch {marker}\n", encoding="utf-8")
    return folder


def _yaml_with_code(folder: Path, marker: Path) -> Path:
    (folder / "config.yaml").write_text(f"model: !!python/object/apply:os.system ['touch {marker}']\n", "utf-8")
    (folder / "avg_model.pt").write_bytes(zipped.checkpoint(ecapa_checkpoints.checkpoint("wespeaker", "small")))
    return folder


def _yaml_nested(folder: Path, marker: Path) -> Path:
    (folder / "config.yaml").write_text("model: " + "[" * 100_000, "utf-8")
    (folder / "avg_model.pt").write_bytes(b"")
    return folder


def _another_network(folder: Path, marker: Path) -> Path:
    (folder / "config.yaml").write_text("model: ResNet34\n", "utf-8")
    (folder / "avg_model.pt").write_bytes(b"")
    return folder


def _safetensors(header: object, numbers: bytes = b"") -> Callable[[Path, Path], Path]:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return _file("model.safetensors", len(text).to_bytes(8, "little") + text + numbers)


def _entry(start: int, end: int, shape: list[int]) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


def _external_data(folder: Path, marker: Path) -> Path:
    model = Exported().model()
    outside = model.graph.initializer[0]
    outside.data_location = TensorProto.EXTERNAL
    outside.ClearField("raw_data")
    outside.external_data.add(key="location", value="../../../../etc/passwd")
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def _enormous_constant(folder: Path, marker: Path) -> Path:
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [1], [HUGE])
    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"]),
        helper.make_node("Add", ["feats", "sum"], ["embs"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("feats", TensorProto.FLOAT, ["batch", "frames", 80])],
        [helper.make_tensor_value_info("embs", TensorProto.FLOAT, ["batch", 80])],
        [sizes],
    )
    path = folder / "model.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    return path


def _bundle(text: str) -> Callable[[Path, Path], Path]:
    def write(folder: Path, marker: Path) -> Path:
        (folder / "bundle.json").write_text(text, encoding="utf-8")
        (folder / "model.safetensors").write_bytes(b"")
        return folder

    return write


def _cut_zip(folder: Path, marker: Path) -> Path:
    whole = zipped.checkpoint(ecapa_checkpoints.checkpoint("speechbrain", "small"))
    return _file("embedding_model.ckpt", whole[: len(whole) // 2])(folder, marker)


def _cut_legacy(folder: Path, marker: Path) -> Path:
    whole = legacy.checkpoint(ecapa_checkpoints.checkpoint("speechbrain", "small"))
    return _file("embedding_model.ckpt", whole[: len(whole) // 2])(folder, marker)


def _with_member(name: str) -> Callable[[Path, Path], Path]:
    described, storages = zipped.state({"weight": FOUR})
    return _file("weights.pt", zipped.archive({**zipped.members(described, storages), name: b"x"}))


ONNX = ("--preset", "wespeaker")

CASES: dict[str, Case] = {
    **_both(_os_system, DISTRUST),
    **_both(_getattr_chain, DISTRUST),
    **_both(_reduce_ex, DISTRUST),
    **_both(_new_object_and_state, DISTRUST),
    **_both(_new_object, "pickle operation NEWOBJ"),
    **_both(_state_on_a_builder, "hangs attributes on what has none"),
    "plain pickle": Case(_plain_pickle, "pickle protocol"),
    "10^12 elements": Case(_tensor(0, [HUGE], [1]), "reaches beyond its storage"),
    "10^12 times one element": Case(_tensor(0, [HUGE], [0]), "numbers of its storage twice"),
    "10^12 elements said of a storage": Case(_tensor(0, [HUGE], [1], HUGE), "instead of 4000000000000"),
    "an offset outside": Case(_tensor(HUGE, [4], [1]), "reaches beyond its storage"),
    "10^12 elements in a sparse file": Case(_sparse, "cut short"),
    "a file of 40 GiB": Case(_too_large, "more than any speaker model"),
    "a file of 40 GiB, taken for GE2E": Case(_too_large, "more than any speaker model", ("--family", "ge2e")),
    "code, taken for GE2E": Case(_plain_pickle, "pickle protocol", ("--family", "ge2e")),
    "zip bomb": Case(_bomb, "compressed, which torch.save never does"),
    "overlapping members": Case(_overlapping, "bigger than the file"),
    "a member that climbs": Case(_with_member("../../../escaped"), "never gives"),
    "a member from the root": Case(_with_member("/escaped"), "never gives"),
    "wrong shape": Case(_wrong_shape, "fc.conv.bias"),
    "missing tensor": Case(_missing, "asp_bn.norm.running_var"),
    "not finite": Case(_not_finite, "linear.bias"),
    "no tensors": Case(_file("weights.pt", zipped.checkpoint({})), "no ECAPA-TDNN"),
    "cut zip": Case(_cut_zip, "cut short"),
    "cut legacy": Case(_cut_legacy, "cut short"),
    "random bytes": Case(_file("weights.pt", np.random.default_rng(0).bytes(5000)), "starts as no known format"),
    "empty": Case(_file("weights.pt", b""), "is empty"),
    "deep nesting": Case(
        _file("weights.pt", legacy.header() + b"\x80\x02" + b")" + b"\x85" * 900_000 + b"Q."), "described wrongly"
    ),
    "endless operations": Case(
        _file("weights.pt", legacy.header() + b"\x80\x02" + b"]" * 5_000_000), "describes more than any network has"
    ),
    "a memo of 2^32": Case(_file("weights.pt", legacy.header() + b"\x80\x02Nr\xff\xff\xff\xff" + b"."), "cut short"),
    "links in a loop": Case(_loop_of_links, "no such file"),
    "a folder in itself": Case(_folder_in_itself, "is no file"),
    "a pipe in a folder": Case(_pipe, "is no file"),
    "a pipe": Case(_bare_pipe, "neither a file nor a folder"),
    "a file without end": Case(_endless, "neither a file nor a folder"),
    "hyperparams.yaml with code": Case(_hyperparams, "has no embedding_model.ckpt"),
    "config.yaml with code": Case(_yaml_with_code, "cannot be read as plain YAML"),
    "config.yaml nested without end": Case(_yaml_nested, "cannot be read as plain YAML"),
    "another network": Case(_another_network, "WeSpeaker ResNet34"),
    "safetensors of 10^12 elements": Case(_safetensors({"w": _entry(0, 4 * HUGE, [HUGE])}), "not a PyTorch checkpoint"),
    "safetensors with overlaps": Case(
        _safetensors({"v": _entry(0, 16, [4]), "w": _entry(0, 16, [4])}, bytes(16)), "not a PyTorch checkpoint"
    ),
    "safetensors named as paths": Case(_safetensors({"../../escaped": _entry(0, 16, [4])}, bytes(16)), "no ECAPA-TDNN"),
    "safetensors nested without end": Case(_safetensors(b'{"w":' + b"[" * 500_000), "not a PyTorch checkpoint"),
    "an .onnx that is none": Case(_file("model.onnx", b"hello" * 100), "is no ONNX file", ONNX),
    "an empty .onnx": Case(_file("model.onnx", b""), "ONNX", ONNX),
    "a cut .onnx": Case(
        _file("model.onnx", Exported().model().SerializeToString()[:-200]), "is no ONNX file, or a damaged one", ONNX
    ),
    "external data outside": Case(_external_data, "in another file, which is never opened", ONNX),
    "an enormous constant": Case(_enormous_constant, "1,000,000,000,000 elements", ONNX),
    "a bundle nested without end": Case(_bundle("[" * 100_000), "is not JSON"),
    "a bundle that is none": Case(_bundle("{}"), "format version"),
}
