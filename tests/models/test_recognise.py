from __future__ import annotations

from pathlib import Path

import pytest

from vecsv.errors import ModelError
from vecsv.models.recognise import recognise


def folder(path: Path, *names: str) -> Path:
    path.mkdir(exist_ok=True)
    for name in names:
        (path / name).write_bytes(b"x")
    return path


FOLDERS = [
    (["bundle.json", "model.safetensors", "model.onnx", "notes.txt"], "bundle", "", ("notes.txt",)),
    (["bundle.json", "model.safetensors", "README.md"], "bundle", "", ()),
    (["hyperparams.yaml", "embedding_model.ckpt", "classifier.ckpt"], "ecapa-tdnn", "embedding_model.ckpt",
     ("classifier.ckpt", "hyperparams.yaml")),
    (["embedding_model.ckpt"], "ecapa-tdnn", "embedding_model.ckpt", ()),
    (["avg_model.pt"], "ecapa-tdnn", "avg_model.pt", ()),
    (["config.json", "preprocessor_config.json", "model.safetensors", "pytorch_model.bin", ".gitattributes"],
     "wavlm-xvector", "", ("pytorch_model.bin",)),
    (["config.json", "preprocessor_config.json", "pytorch_model.bin"], "wavlm-xvector", "", ()),
    (["config.json", "preprocessor_config.json", "model.safetensors.index.json", "model.safetensors-1"],
     "wavlm-xvector", "", ()),
    (["model.onnx", "README.md"], "onnx", "model.onnx", ("README.md",)),
]  # fmt: skip


@pytest.mark.parametrize(("names", "family", "file", "unneeded"), FOLDERS)
def test_a_folder_is_told_by_the_names_in_it(
    names: list[str], family: str, file: str, unneeded: tuple[str, ...], tmp_path: Path
) -> None:
    found = recognise(folder(tmp_path / "model", *names))
    assert found.family == family
    assert found.path == (tmp_path / "model" / file if file else tmp_path / "model")
    assert found.unneeded == unneeded
    assert all(name in found.summary for name in unneeded)


@pytest.mark.parametrize(
    ("name", "family", "expected"),
    [
        ("a.onnx", None, "onnx"),
        ("a", "onnx", "onnx"),
        ("a.ckpt", None, "ecapa-tdnn"),
        ("a.pt", None, "ecapa-tdnn"),
        ("a.safetensors", None, "ecapa-tdnn"),
        ("a.pt", "ge2e", "ge2e"),
        ("a", "ecapa-tdnn", "ecapa-tdnn"),
    ],
)
def test_a_file_is_told_by_its_name_or_by_the_user(
    name: str, family: str | None, expected: str, tmp_path: Path
) -> None:
    folder(tmp_path, name)
    assert recognise(tmp_path / name, family).family == expected


def test_wespeaker_s_configuration_names_the_network(tmp_path: Path) -> None:
    folder(tmp_path, "avg_model.pt", "train.log")
    (tmp_path / "config.yaml").write_text("model: ECAPA_TDNN_GLOB_c512\nmodel_args: {embed_dim: 192}\n")
    found = recognise(tmp_path)
    assert "ECAPA_TDNN_GLOB_c512" in found.what
    assert found.unneeded == ("train.log",)


def test_of_many_unneeded_files_some_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    folder(tmp_path, "model.onnx", *(f"file-{number:02}" for number in range(30)))
    assert recognise(tmp_path).summary.endswith("file-07 and 22 more")


def test_a_link_to_a_file_is_as_good_as_the_file(tmp_path: Path) -> None:
    folder(tmp_path / "blobs", "0123")
    folder(tmp_path / "snapshot")
    (tmp_path / "snapshot" / "embedding_model.ckpt").symlink_to("../blobs/0123")
    assert recognise(tmp_path / "snapshot").family == "ecapa-tdnn"


@pytest.mark.parametrize(
    ("names", "family", "words"),
    [
        ([], None, "is no model that vecsv reads (known are: "),
        (["a.onnx", "b.onnx"], None, "holds 2 ONNX files: a.onnx, b.onnx (give one of them)"),
        (["config.json"], None, "holds no weights: neither model.safetensors nor pytorch_model.bin"),
        (["hyperparams.yaml"], None, "has no embedding_model.ckpt"),
        (["avg_model.pt"], "onnx", "is no model that vecsv reads"),
        (["avg_model.pt", "config.yaml"], None, "does not say which network it is of"),
    ],
)
def test_a_folder_that_is_nothing_known_is_refused_with_what_is_known(
    names: list[str], family: str | None, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as refusal:
        recognise(folder(tmp_path / "model", *names), family)
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "family", "words"),
    [
        ("notes.txt", None, "is no model that vecsv reads (known are: "),
        ("bundle.json", None, "give the folder"),
        ("model.safetensors", "wavlm-xvector", "give the folder"),
    ],
)
def test_a_file_that_is_nothing_known_is_refused_with_what_is_known(
    name: str, family: str | None, words: str, tmp_path: Path
) -> None:
    folder(tmp_path, name)
    with pytest.raises(ModelError) as refusal:
        recognise(tmp_path / name, family)
    assert words in str(refusal.value)


def test_nothing_is_opened_to_tell_a_speechbrain_folder(tmp_path: Path) -> None:
    folder(tmp_path, "hyperparams.yaml", "embedding_model.ckpt")
    for name in ("hyperparams.yaml", "embedding_model.ckpt"):
        (tmp_path / name).write_bytes(b"\xff" * 10)
    assert recognise(tmp_path).family == "ecapa-tdnn"
