"""Models whose networks PyTorch writes as ONNX, added from what their toolkits publish."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from tests.checkpoints import zipped  # noqa: E402
from tests.models import ecapa_checkpoints  # noqa: E402
from tests.models.test_add import cache, left  # noqa: E402
from vecsv.durable import sha256_of  # noqa: E402
from vecsv.errors import ModelError  # noqa: E402
from vecsv.models import registry  # noqa: E402
from vecsv.models.add import add  # noqa: E402
from vecsv.models.bundle import verify_bundle  # noqa: E402
from vecsv.models.ecapa_conversion import speechbrain_names, wespeaker_names  # noqa: E402

__all__ = ["cache"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_speechbrain_folder_is_added_without_opening_its_yaml(tmp_path: Path) -> None:
    source = tmp_path / "spkrec"
    source.mkdir()
    tensors = ecapa_checkpoints.checkpoint("speechbrain", "small")
    (source / "embedding_model.ckpt").write_bytes(zipped.checkpoint(tensors))
    (source / "hyperparams.yaml").write_text(f"x: !apply:os.system ['touch {tmp_path / 'ran'}']\n")
    (source / "classifier.ckpt").write_bytes(b"not needed")
    said: list[str] = []
    folder = add(source, name="speechbrain", licence="Apache-2.0", on_message=said.append)
    assert not (tmp_path / "ran").exists()
    assert "embedding_model.ckpt; not needed, never opened: classifier.ckpt, hyperparams.yaml" in said[0]
    bundle = verify_bundle(folder)
    assert bundle.family == "ecapa-tdnn"
    assert bundle.source["path"] == "embedding_model.ckpt"
    _require_same_weights(folder, "speechbrain")
    assert registry.load("speechbrain").dim == bundle.dim == 48


def test_a_wespeaker_checkpoint_is_found_in_a_training_file(tmp_path: Path) -> None:
    tensors = ecapa_checkpoints.checkpoint("wespeaker", "small")
    described, storages = zipped.state(tensors)
    content = {"epoch": 3, "model": described, "ema": described}
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(zipped.archive(zipped.members(content, storages)))
    with pytest.raises(ModelError, match="say which with its key"):
        add(path, name="wespeaker")
    folder = add(path, name="wespeaker", key="ema")
    _require_same_weights(folder, "wespeaker")


def test_a_hugging_face_folder_is_added(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from tests.fixtures import wavlm

    config = {**wavlm.CONFIGS["base"], "auto_map": {"AutoModel": "evil.Model"}}
    source = wavlm.write_folder(tmp_path / "wavlm", config, wavlm.weights(wavlm.CONFIGS["base"]))
    (source / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    said: list[str] = []
    folder = add(source, name="wavlm", on_message=said.append)
    bundle = verify_bundle(folder)
    assert (bundle.family, bundle.dim) == ("wavlm-xvector", 16)
    assert bundle.source == {"path": "model.safetensors", "sha256": sha256_of(source / "model.safetensors")}
    assert "never opened: evil.py" in said[0]
    assert not (tmp_path / "ran").exists()


def test_a_hugging_face_index_that_points_outside_is_refused(tmp_path: Path, cache: Path) -> None:
    pytest.importorskip("transformers")
    from tests.fixtures import wavlm

    config = wavlm.CONFIGS["base"]
    source = wavlm.write_folder(tmp_path / "wavlm", config, {}, with_weights=False)
    index = '{"weight_map": {"wavlm.x": "../../secret.safetensors"}}'
    (source / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelError, match=r"'\.\./\.\./secret\.safetensors', which is no name of a file"):
        add(source, name="wavlm")
    assert left(cache) == []


def _require_same_weights(folder: Path, toolkit: str) -> None:
    """Compare a bundle's tensors with the toolkit's, by name; dense layers have lost their axis of length 1."""
    from safetensors.numpy import load_file

    names = {"speechbrain": speechbrain_names, "wespeaker": wespeaker_names}[toolkit]
    given = ecapa_checkpoints.checkpoint(toolkit, "small")
    found = load_file(folder / "model.safetensors")
    mapped = names(ecapa_checkpoints.spec_of(toolkit, "small"))
    assert found.keys() == mapped.keys()
    for ours, theirs in mapped.items():
        np.testing.assert_array_equal(found[ours].ravel(), given[theirs].ravel())
