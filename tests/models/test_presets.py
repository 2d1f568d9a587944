from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from vecsv.errors import ModelError
from vecsv.frontend import known
from vecsv.frontend.spec import WaveformSpec
from vecsv.models.cards import configs_dir
from vecsv.models.presets import find_preset, known_presets, preset_for, read_preset

PRESETS = {
    "wespeaker": known.WESPEAKER,
    "sherpa-wespeaker": known.WESPEAKER,
    "3d-speaker": known.THREE_D_SPEAKER,
    "sherpa-3d-speaker": known.THREE_D_SPEAKER,
    "nemo-titanet": known.TITANET,
    "redimnet": WaveformSpec(),
    "redimnet-features": known.REDIMNET,
    "redimnet2": WaveformSpec(),
}


def document(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "preset",
        "name": "mine",
        "description": "my own models",
        "files": "mine-*.onnx",
        "frontend": {"kind": "kaldi-fbank", "window": "povey", "scale": 1.0},
        **changes,
    }


def written(folder: Path, content: Any) -> Path:
    path = folder / "mine.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_the_presets_are_those_of_the_toolkits_with_the_front_ends_they_train_with() -> None:
    assert {preset.name: preset.frontend for preset in known_presets()} == PRESETS


def test_every_preset_says_what_it_is_for_and_where_its_facts_are_from() -> None:
    for preset in known_presets():
        assert preset.description
        assert preset.files
        assert preset.sources
        assert (configs_dir() / f"preset-{preset.name}.yaml").is_file()


def test_a_preset_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    assert find_preset("nemo-titanet").interface.frame_multiple == 16
    path = written(tmp_path, document())
    assert find_preset(str(path)) == find_preset(path) == read_preset(path)
    assert read_preset(path).frontend == known.THREE_D_SPEAKER


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match=r"no preset 'kaldi'.*wespeaker"):
        find_preset("kaldi")


def test_fields_that_are_left_out_take_the_front_ends_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, document(interface={"output": "embs"}, min_frames=20))
    preset = read_preset(path)
    assert (preset.interface.output, preset.interface.layout, preset.min_frames) == ("embs", None, 20)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one.update(kind="model"), "kind is not preset"),
        (lambda one: one.pop("files"), "files: is missing"),
        (lambda one: one.update(colour="red"), "colour: is no field"),
        (lambda one: one.update(name="../mine"), "name: '../mine'"),
        (lambda one: one.update(description=3), "description: 3 is no text"),
        (lambda one: one.update(frontend="wespeaker"), "frontend: is no mapping"),
        (lambda one: one["frontend"].update(window="blackman"), "frontend: window is 'blackman'"),
        (lambda one: one["frontend"].update(hops=3), "frontend: unknown or missing: hops"),
        (lambda one: one["frontend"].update(sample_rate=8000, f_max=4000.0), "frontend.sample_rate: is 8000"),
        (lambda one: one.update(frontend={"kind": "mel-spectrogram"}), "frontend: kind mel-spectrogram is for GE2E"),
        (lambda one: one.update(interface={"layout": "wave"}), "interface.layout: wave does not go with"),
        (lambda one: one.update(interface={"layout": "rows"}), "interface.layout: 'rows' is none of"),
        (lambda one: one.update(interface={"inputs": "x"}), "interface.inputs: is no field"),
        (lambda one: one.update(interface={"input": 7}), "interface.input: 7 is no text"),
        (lambda one: one.update(interface={"frame_multiple": 0}), "interface.frame_multiple: 0 is no whole number"),
        (lambda one: one.update(min_frames=True), "min_frames: True is no whole number"),
        (lambda one: one.update(metadata={"framework": 1}), "metadata.framework: 1 is no text"),
        (lambda one: one.update(sources="a book"), "sources: is no list"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    content = document()
    change(content)
    with pytest.raises(ModelError) as caught:
        read_preset(written(tmp_path, content))
    assert str(caught.value).startswith(f"{tmp_path / 'mine.yaml'}: {said}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["- a\n- list\n", "a: [\n", "", "!!python/object/apply:os.system ['true']\n"])
def test_what_is_no_preset_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ModelError) as caught:
        read_preset(written(tmp_path, content))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        find_preset(tmp_path / "none.yaml")


def test_metadata_name_a_preset_only_when_all_of_them_agree() -> None:
    agreeing = {"framework": "3d-speaker", "normalize_samples": "1", "feature_normalize_type": "global-mean"}
    found = preset_for({**agreeing, "language": "Chinese"})
    assert found is not None
    assert found.name == "sherpa-3d-speaker"
    assert preset_for({"framework": "somebody's"}) is None
    assert preset_for({}) is None
    with pytest.raises(ModelError, match="normalize_samples is '0' and not '1'"):
        preset_for({**agreeing, "normalize_samples": "0"})
