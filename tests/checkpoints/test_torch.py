"""What PyTorch itself saved, read as PyTorch itself reads it."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vecsv.checkpoints.reading import read_checkpoint  # noqa: E402
from vecsv.errors import ModelError  # noqa: E402

DTYPES = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.bool,
    torch.complex64,
    torch.complex128,
]
FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def saved(content: object, *, zipped: bool) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def require_same(data: bytes, key: str | None = None) -> dict[str, Any]:
    """Read the data with both readers and compare every tensor."""
    expected = torch.load(io.BytesIO(data), weights_only=True)
    expected = expected if key is None else expected[key]
    found = read_checkpoint(data, where="weights.pt", key=key)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        theirs = tensor.detach()
        widened = theirs.float() if theirs.dtype == torch.bfloat16 else theirs
        ours = found[name]
        assert ours.flags.c_contiguous
        assert ours.dtype == widened.numpy().dtype
        assert ours.shape == tuple(theirs.shape)
        assert ours.tobytes() == widened.contiguous().numpy().tobytes()
    return found


def numbers(*shape: int, seed: int = 0) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Tied(torch.nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, 4, bias=False)
        self.second = torch.nn.Linear(3, 4)
        self.second.weight = self.first.weight
        self.norm = torch.nn.BatchNorm1d(4)


def _views() -> dict[str, Any]:
    storage = numbers(6, 4)
    return {
        "transposed": storage.t(),
        "rows": storage[1:3],
        "columns": numbers(5, 6, seed=1)[:, 1:4],
        "every second": numbers(9, seed=2)[::2],
        "permuted": numbers(2, 3, 4, seed=3).permute(2, 0, 1),
        "channels last": numbers(2, 3, 4, 5, seed=4).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "empty view": numbers(4)[4:],
    }


CONTENTS: dict[str, Callable[[], Any]] = {
    "views": _views,
    "parameters": lambda: dict(torch.nn.Linear(3, 2).named_parameters()),
    "a module": lambda: torch.nn.Sequential(torch.nn.Conv1d(2, 3, 3), torch.nn.BatchNorm1d(3)).state_dict(),
    "tied weights": lambda: Tied().state_dict(),
    "one storage cut in two": lambda: dict(zip("ab", numbers(10).split([4, 6]), strict=True)),
    "extremes": lambda: {"w": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45], dtype=torch.bfloat16)},
    "a parameter with attributes": lambda: {"w": _marked(torch.nn.Parameter(numbers(3)))},
    "a transposed half": lambda: {"w": numbers(3, 5).bfloat16().t()},
}


def _marked(parameter: Any) -> Any:
    parameter.sharded = True
    return parameter


# PyTorch writes these into the older format, but cannot read them there.
UNREADABLE = {torch.uint16, torch.uint32, torch.uint64}


@FORMATS
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_is_read_as_torch_reads_it(dtype: Any, zipped: bool) -> None:
    numbers_of_it = (numbers(4, 3) * 50).abs().to(dtype)
    data = saved({"w": numbers_of_it, "transposed": numbers_of_it.t()}, zipped=zipped)
    if zipped or dtype not in UNREADABLE:
        require_same(data)
    found = read_checkpoint(data, where="weights.pt")
    np.testing.assert_array_equal(found["transposed"], found["w"].T)
    assert found["w"].tolist() == numbers_of_it.tolist()


@FORMATS
@pytest.mark.parametrize("content", CONTENTS)
def test_what_torch_saved_is_read_as_torch_reads_it(content: str, zipped: bool) -> None:
    require_same(saved(CONTENTS[content](), zipped=zipped))


@FORMATS
def test_a_training_checkpoint_gives_its_state_dictionary(zipped: bool) -> None:
    model = torch.nn.Linear(3, 2)
    optimiser = torch.optim.Adam(model.parameters())
    model(numbers(4, 3)).sum().backward()
    optimiser.step()
    content = {
        "epoch": 3,
        "loss": 0.5,
        "shape": model.weight.shape,
        "dtype": torch.float32,
        "config": {"dims": [1, 2, (3, None, True)], "name": "ecapa"},
        "state_dict": model.state_dict(),
        "optimizer": optimiser.state_dict(),
    }
    data = saved(content, zipped=zipped)
    found = read_checkpoint(data, where="weights.pt")
    assert found.keys() == require_same(data, key="state_dict").keys() == {"weight", "bias"}


def test_tied_weights_are_one_array() -> None:
    found = read_checkpoint(saved(Tied().state_dict(), zipped=True), where="weights.pt")
    assert found["first.weight"] is found["second.weight"]


@FORMATS
@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"w": torch.zeros(1).expand(10**12)}, "takes numbers of its storage twice"),
        ({"w": torch.zeros(2, 1).expand(2, 10**6)}, "takes numbers of its storage twice"),
        ({"w": torch.arange(9).as_strided((3, 3), (2, 1))}, "takes numbers of its storage twice"),
        ({"w": torch.zeros(2, dtype=torch.complex64).conj()}, "more than its numbers"),
        ({"w": torch.zeros(2).to(torch.float8_e5m2)}, "float8_e5m2 numbers, which vecsv does not read"),
        ({"w": torch.eye(2).to_sparse()}, "no set of weights needs"),
        (torch.nn.Linear(2, 2), "no set of weights needs"),
        (torch.zeros(3), "holds no dictionary"),
    ],
    ids=["expanded", "half expanded", "overlapping", "conjugated", "8 bits", "sparse", "a whole module", "bare tensor"],
)
def test_what_is_no_plain_set_of_weights_is_refused(content: object, words: str, zipped: bool) -> None:
    with pytest.raises(ModelError) as refusal:
        read_checkpoint(saved(content, zipped=zipped), where="weights.pt")
    assert words in str(refusal.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_program_is_told_from_weights() -> None:
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), stream)
    with pytest.raises(ModelError, match=r"TorchScript program.*export it to ONNX"):
        read_checkpoint(stream.getvalue(), where="weights.pt")


def test_another_pickle_protocol_is_refused_with_the_reason() -> None:
    stream = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, stream, pickle_protocol=4)
    with pytest.raises(ModelError, match="pickle protocol is not 2"):
        read_checkpoint(stream.getvalue(), where="weights.pt")


@FORMATS
def test_reading_a_file_takes_no_more_memory_than_its_tensors(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(
        {f"layer.{n}": numbers(250, 1000, seed=n) for n in range(16)}, path, _use_new_zipfile_serialization=zipped
    )
    size = path.stat().st_size
    assert size > 15_000_000
    tracemalloc.start()
    found = read_checkpoint(path, where="weights.pt")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 16
    assert peak < 1.05 * size


def test_only_what_is_needed_of_a_training_checkpoint_is_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"model": {"w": numbers(1000)}, "optimizer": {"state": {0: numbers(1_000_000)}}}, path)
    tracemalloc.start()
    found = read_checkpoint(path, where="weights.pt")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(found["w"], numbers(1000).numpy())
    assert peak < 1_000_000
