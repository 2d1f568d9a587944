"""Small models as they lie on the hub: random weights in the layouts of their toolkits, and cards that pin them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fetching.hub_server import COMMIT, REPO, digest

# Presets stay where they are when the folder of cards is another one: so they are imported before.
from vecsv.models import cards, presets

__all__ = ["graph", "presets", "speechbrain", "use_cards", "wavlm", "write_card"]


def graph(seed: int = 0) -> bytes:
    """An ONNX graph with the metadata of sherpa-onnx's WeSpeaker exports; 16 dimensions."""
    from tests.models.onnx_graphs import SHERPA_WESPEAKER, Exported

    return Exported(seed=seed).model(SHERPA_WESPEAKER).SerializeToString()


def speechbrain() -> bytes:
    """A SpeechBrain ECAPA-TDNN as ``torch.save`` writes it; 48 dimensions."""
    import torch

    from tests.models.ecapa_checkpoints import checkpoint

    stream = io.BytesIO()
    torch.save({name: torch.from_numpy(tensor) for name, tensor in checkpoint("speechbrain", "small").items()}, stream)
    return stream.getvalue()


def wavlm(scratch: Path) -> dict[str, bytes]:
    """A Hugging Face WavLM x-vector folder; 16 dimensions."""
    from tests.fixtures import wavlm as fixture

    config = fixture.CONFIGS["base"]
    folder = fixture.write_folder(scratch / "wavlm", config, fixture.weights(config))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_card(folder: Path, name: str, files: dict[str, bytes], **changes: Any) -> None:
    """Write a card that pins these files."""
    folder.mkdir(exist_ok=True)
    source = {"repo": REPO, "revision": COMMIT, "files": {file: digest(files[file]) for file in files}, "mb": 1}
    card = {"kind": "model", "name": name, "description": "for tests", "licence": "CC0-1.0", "source": source}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({**card, **changes}), encoding="utf-8")


def use_cards(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make these the models that vecsv knows."""
    monkeypatch.setattr(cards, "configs_dir", lambda: folder)
