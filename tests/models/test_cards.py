from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from vecsv.errors import ModelError
from vecsv.fetching.sources import HubSource, WheelSource
from vecsv.models.cards import configs_dir, find_card, known_models
from vecsv.models.presets import find_preset

CARD: dict[str, Any] = {
    "kind": "model",
    "name": "tiny",
    "family": "ge2e",
    "description": "a model for tests",
    "licence": "CC0-1.0",
    "dim": 4,
    "source": {
        "package": "tiny",
        "version": "1.0",
        "wheel_sha256": "0" * 64,
        "wheel_mb": 1,
        "member": "tiny/weights.pt",
        "member_sha256": "1" * 64,
    },
}


HUB_SOURCE: dict[str, Any] = {
    "repo": "owner/repo",
    "revision": "0123456789abcdef0123456789abcdef01234567",
    "files": {"onnx/model.onnx": "2" * 63 + "a"},
    "mb": 12,
}


def write(folder: Path, values: Any, name: str = "tiny.yaml") -> Path:
    (folder / name).write_text(yaml.safe_dump(values), encoding="utf-8")
    return folder


def test_the_default_model_is_known_and_pinned() -> None:
    card = find_card("ge2e")
    assert (card.family, card.licence) == ("ge2e", "Apache-2.0")
    assert isinstance(card.source, WheelSource)
    assert card.dim == 256
    assert (card.source.package, card.source.version) == ("resemblyzer", "0.1.4")
    assert card.source.wheel_sha256 == "8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f"


def test_every_model_file_is_read_and_stands_under_its_own_name() -> None:
    assert [card.name for card in known_models()] == sorted(
        path.stem for path in configs_dir().glob("*.yaml") if "kind: model" in path.read_text()
    )


def test_cards_are_sorted_and_other_kinds_of_configuration_left_alone(tmp_path: Path) -> None:
    write(tmp_path, CARD, "z.yaml")
    write(tmp_path, {**CARD, "name": "other"}, "a.yaml")
    write(tmp_path, {"kind": "recipe", "name": "training"}, "b.yaml")
    write(tmp_path, ["a list"], "c.yaml")
    assert [card.name for card in known_models(tmp_path)] == ["other", "tiny"]


def test_a_reference_calibration_may_be_there_or_not(tmp_path: Path) -> None:
    assert known_models(write(tmp_path, CARD))[0].reference_calibration is None
    write(tmp_path, {**CARD, "reference_calibration": {"data": "a corpus"}})
    assert known_models(tmp_path)[0].reference_calibration == {"data": "a corpus"}


def test_a_reference_calibration_is_what_a_bundle_gives_back(tmp_path: Path) -> None:
    write(tmp_path, {**CARD, "reference_calibration": {1: (0.25, None)}})
    assert known_models(tmp_path)[0].reference_calibration == {"1": [0.25, None]}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": "../tiny"}, "cannot be a model's name"),
        ({"name": 3}, "name is 3, which is no text"),
        ({"colour": "red"}, "unknown or missing: colour"),
        ({"dim": 0}, "dim is 0"),
        ({"dim": "4"}, "dim is '4'"),
        ({"preset": 3}, "preset is 3, which is no text"),
        ({"reference_calibration": [0.7]}, "reference_calibration is no mapping"),
        ({"reference_calibration": {"made": date(2026, 1, 1)}}, "reference_calibration is no JSON"),
        ({"reference_calibration": {"threshold": float("inf")}}, "reference_calibration is no JSON"),
        ({"source": None}, "has no source"),
        ({"source": {"package": "tiny"}}, "unknown or missing: member"),
        ({"source": {**CARD["source"], "version": 1.0}}, "version is 1.0, which is no text (quote it)"),
        ({"source": {**CARD["source"], "wheel_sha256": "abc"}}, "'abc' is no SHA-256"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_naming_the_file(
    changes: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    write(tmp_path, {**CARD, **changes})
    with pytest.raises(ModelError) as refusal:
        known_models(tmp_path)
    assert str(tmp_path / "tiny.yaml") in str(refusal.value)
    assert complaint in str(refusal.value)


def test_a_card_may_pin_files_of_the_hub(tmp_path: Path) -> None:
    (card,) = known_models(write(tmp_path, {**CARD, "source": HUB_SOURCE, "preset": "wespeaker"}))
    assert isinstance(card.source, HubSource)
    assert card.source.to_json() == HUB_SOURCE
    assert HubSource.from_json(card.source.to_json()) == card.source
    assert card.preset == "wespeaker"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"revision": "main"}, "revision 'main' is no commit"),
        ({"revision": 123}, "revision is 123, which is no text (quote it)"),
        ({"repo": "repo"}, "'repo' is no repository of the hub (write OWNER/REPO)"),
        ({"repo": "../.."}, "is no repository of the hub"),
        ({"files": {}}, "no file of owner/repo is named"),
        ({"files": ["model.onnx"]}, "files is no mapping"),
        ({"files": {"model.onnx": None}}, "None is no SHA-256"),
        ({"files": {"model.onnx": "2" * 64 + "\n"}}, "is no SHA-256"),
        ({"files": {"../model.onnx": "2" * 64}}, "'../model.onnx' cannot be a file of a repository"),
        ({"files": {"/etc/passwd": "2" * 64}}, "cannot be a file of a repository"),
        ({"files": {"a\\..\\b": "2" * 64}}, "cannot be a file of a repository"),
        ({"files": {7: "2" * 64}}, "7 cannot be a file of a repository"),
        ({"mb": 0}, "mb is 0"),
        ({"mb": True}, "mb is True"),
        ({"colour": "red"}, "unknown or missing: colour"),
    ],
)
def test_a_pin_that_pins_nothing_is_refused_naming_the_file(
    changes: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    write(tmp_path, {**CARD, "source": {**HUB_SOURCE, **changes}})
    with pytest.raises(ModelError) as refusal:
        known_models(tmp_path)
    assert str(tmp_path / "tiny.yaml") in str(refusal.value)
    assert complaint in str(refusal.value)


def test_every_card_of_the_hub_pins_a_commit_and_names_a_preset_that_is_there() -> None:
    cards = [card for card in known_models() if isinstance(card.source, HubSource)]
    assert {card.name for card in cards} >= {"wavlm-base-plus-sv", "ecapa-speechbrain", "wespeaker-resnet34-lm"}
    for card in cards:
        assert (card.preset is not None) == (card.family == "onnx")
        if card.preset is not None:
            assert find_preset(card.preset).name == card.preset


@pytest.mark.parametrize("content", [b"a: [", b"\xff", b"!!python/object/apply:os.system ['true']"])
def test_a_file_that_is_no_plain_yaml_is_refused_naming_the_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_bytes(content)
    with pytest.raises(ModelError, match=r"tiny\.yaml: cannot be read as YAML"):
        known_models(tmp_path)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"no model 'ge3e' \(known models: .*ge2e"):
        find_card("ge3e")
