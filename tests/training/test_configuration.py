from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from vecsv.errors import TrainingError
from vecsv.frontend.spec import MfccSpec
from vecsv.models.cards import configs_dir
from vecsv.training.configuration import TrainingConfig, config_from, read_config, write_config

SHIPPED = sorted(
    path.stem for path in configs_dir().glob("*.yaml") if yaml.safe_load(path.read_text())["kind"] == "training"
)


def written(tmp_path: Path, **values: object) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"kind": "training", **values}), encoding="utf-8")
    return path


def test_the_recipes_of_the_documentation_come_with_vecsv() -> None:
    assert {
        "finetune-large-margin",
        "train-ecapa-1024",
        "train-ecapa-mandarin",
        "train-ecapa-small",
        "train-wavlm",
    } <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_recipe_is_loadable_as_it_is_and_round_trips(name: str, tmp_path: Path) -> None:
    config = read_config(Path(name))
    write_config(tmp_path / "copy.yaml", config)
    assert read_config(tmp_path / "copy.yaml") == config
    assert config_from(config.to_json(), where="copy") == config


def test_the_large_margin_recipe_goes_on_from_the_small_one() -> None:
    first, second = read_config(Path("train-ecapa-small")), read_config(Path("finetune-large-margin"))
    assert (first.front_end, first.network) == (second.front_end, second.network)
    assert second.loss.margin > first.loss.margin
    assert second.data.crop_s > first.data.crop_s


def test_what_is_left_out_has_its_default(tmp_path: Path) -> None:
    assert read_config(written(tmp_path)) == TrainingConfig()


def test_an_empty_section_is_one_that_is_left_out(tmp_path: Path) -> None:
    assert read_config(Path("train-ecapa-small"), ["augmentation=null"]).augmentation == TrainingConfig().augmentation


def test_overrides_reach_into_sections_that_are_not_there(tmp_path: Path) -> None:
    overrides = ["augmentation.speed.factors=[0.8]", "optimiser.learning_rate=1e-3", "front_end={kind: mfcc}"]
    config = read_config(written(tmp_path), overrides)
    assert config.augmentation.factors == (1.0, 0.8)
    assert config.optimiser.learning_rate == 0.001
    assert config.front_end == MfccSpec()


def test_a_whole_number_may_stand_for_a_number_but_not_the_other_way(tmp_path: Path) -> None:
    assert read_config(written(tmp_path), ["data.crop_s=2"]).data.crop_s == 2.0
    with pytest.raises(TrainingError, match=r"run\.batch: is 1\.5, which is no whole number"):
        read_config(written(tmp_path), ["run.batch=1.5"])


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("data.crop_s=long", r"data\.crop_s: is 'long', which is no number"),
        ("data.crop_s=0", "data: crop_s is 0.0, but has to be from"),
        ("data.crop_s=true", "which is no number"),
        ("data.crop_s=.nan", "crop_s is nan"),
        ("data.sampling=random", "sampling is 'random', this version knows natural, balanced"),
        ("data.crops=1", r"data: unknown: crops \(it may hold crop_s"),
        ("everything=1", "unknown: everything"),
        ("family=resnet", "family is 'resnet'"),
        ("run=fast", "run: is 'fast', which is no section"),
        ("run.accumulate=3", "a batch of 64 cannot be cut into 3 equal parts"),
        ("loss.warm_up=[1]", r"loss\.warm_up: has 1 values, but needs 2"),
        ("loss.warm_up=[3, 1]", "warm_up goes from 3.0 to 1.0, which is backwards"),
        ("augmentation.speed.factors=[1.0]", "have to differ from 1"),
        ("augmentation.codec.codecs=[aac]", "codecs is 'aac'"),
        ("augmentation.noise.probability=2", r"augmentation\.noise: probability is 2\.0"),
        ("front_end.kind=cepstrum", "kind is 'cepstrum'"),
        ("front_end=loud", "front_end: is no section"),
        ("crop", "'crop' is no setting"),
        ("=1", "'=1' is no setting"),
        ("kind.more=1", "kind is no section"),
        ("data.crop_s={", "'{' is no YAML value"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_place(tmp_path: Path, override: str, complaint: str) -> None:
    with pytest.raises(TrainingError) as caught:
        read_config(written(tmp_path), [override])

    assert re.search(complaint, str(caught.value)), str(caught.value)


@pytest.mark.parametrize("text", ["kind: model", "- 1", "{", "kind: [", ""])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TrainingError, match=r"other\.yaml"):
        read_config(path)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(TrainingError, match=r"nowhere/train\.yaml: cannot be read"):
        read_config(Path("nowhere/train.yaml"))
