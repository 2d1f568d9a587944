from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from vecsv.frontend.spec import LogMelSpec
from vecsv.models.bundle import Bundle
from vecsv.models.windows import POOLING
from vecsv.training.configuration import TrainingConfig, config_from
from vecsv.training.facts import DataFacts, DevelopmentFacts, TrainingFacts
from vecsv.training.model_card import model_card
from vecsv.training.specs import AugmentationSpec, NoiseSpec, SpeedSpec

DATA = DataFacts("train.tsv", "a" * 64, recordings=200, speakers=50, hours=12.34)
DEVELOPMENT = DevelopmentFacts("dev.tsv", "b" * 64, recordings=30, speakers=10, targets=90, non_targets=345)
HISTORY = tuple(
    {"epoch": epoch, "loss": 4.0 / (epoch + 1), "accuracy": 0.25 * epoch, "dev_eer": eer, "dev_min_dcf": None}
    for epoch, eer in enumerate((0.21, 0.052, 0.0835))
)
FACTS = TrainingFacts(
    name="ours",
    config=TrainingConfig(description="ECAPA-TDNN_small"),
    data=DATA,
    development=DEVELOPMENT,
    history=HISTORY,
    best_epoch=1,
)


def bundle(facts: TrainingFacts, **changes: Any) -> Bundle:
    described = Bundle(
        name=facts.name,
        family="ecapa-tdnn",
        network={},
        description=facts.description,
        dim=192,
        sample_rate=16000,
        frontend=LogMelSpec(),
        windowing=None,
        pooling=POOLING,
        fingerprint="f" * 64,
        licence=facts.licence,
        source=facts.source(parameters=1234567),
        reference_calibration=None,
        sha256={},
    )
    return replace(described, **changes)


def card(**changes: Any) -> str:
    facts = replace(FACTS, **changes)
    return model_card(bundle(facts), facts.history)


def section(text: str, heading: str) -> str:
    return text.split(f"## {heading}\n")[1].split("\n## ")[0]


def test_it_says_what_the_model_is_and_how_to_use_it() -> None:
    text = card()
    assert text.startswith("# ours\n\nECAPA-TDNN\\_small; trained on 50 speakers, 12.3 h.\n")
    assert "1,234,567 parameters" in text
    assert "192 numbers" in text
    assert "    vecsv embed --manifest train.tsv --model ours --store ours\n" in section(text, "How to use it")


def test_every_command_in_it_is_one_of_vecsv() -> None:
    from typer.main import get_command

    from vecsv.cli.app import app

    commands = [line.split() for line in section(card(), "How to use it").splitlines() if line.startswith("    vecsv")]
    assert len(commands) == 7
    for words in commands:
        found: Any = get_command(app)
        while hasattr(found, "commands"):
            words = words[1:]
            found = found.commands[words[0]]
        options = {option for parameter in found.params for option in parameter.opts}
        given = {word for word in words[: words.index("#") if "#" in words else None] if word.startswith("--")}
        assert given <= options


def test_the_epochs_are_a_table_with_the_best_one_marked() -> None:
    lines = section(card(), "How good it is").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert rows[0] == "| epoch | loss | accuracy in training | EER | |"
    assert rows[2:] == [
        "| 0 | 4 | 0.00% | 21.00% |  |",
        "| 1 | 2 | 25.00% | 5.20% | this model |",
        "| 2 | 1.333 | 50.00% | 8.35% |  |",
    ]
    assert "all 90 pairs of one speaker and 345 of two among 30 recordings of 10 speakers" in "\n".join(lines)
    assert "chosen on the same pairs" in "\n".join(lines)


def test_what_was_not_measured_is_said_not_to_be() -> None:
    text = section(card(development=None, history=()), "How good it is")
    assert "Verification was not measured" in text
    assert "|" not in text
    assert "It brings no thresholds along" in text


def test_thresholds_name_their_source() -> None:
    text = model_card(bundle(FACTS, reference_calibration={"source": "pairs of dev_set.tsv"}), HISTORY)
    assert "thresholds along, measured on pairs of dev\\_set.tsv" in text
    assert "brings no thresholds" not in text


@pytest.mark.parametrize(
    ("narrow", "words", "limit"),
    [
        (0, "none of them has a lower sampling rate than 16,000 Hz", "It heard no narrow-band recordings"),
        (30, "30 (15.0%) of them have a lower sampling rate than 16,000 Hz", None),
        (150, "150 (75.0%) of them", "Most of its recordings were narrow-band"),
    ],
)
def test_narrow_band_recordings_are_counted(narrow: int, words: str, limit: str | None) -> None:
    text = card(data=replace(DATA, narrow=narrow))
    assert words in section(text, "What it learnt from")
    found = [said for said in ("It heard no narrow-band", "were narrow-band") if said in section(text, "Limits")]
    assert len(found) == (limit is not None)
    assert limit is None or limit in section(text, "Limits")


def test_rows_that_were_left_out_and_sounds_that_were_mixed_in_are_counted() -> None:
    text = section(card(data=replace(DATA, bad=3, short=7, held_out=20, noises=5, rooms=4)), "What it learnt from")
    for words in (
        "3 rows of the manifest could not be read",
        "7 were shorter than 0.5 s",
        "20 more, of the same speakers, were held out",
        "5 recordings of noise",
        "4 room impulse responses",
    ):
        assert words in text
    assert "held out" not in section(card(), "What it learnt from")


def test_augmentation_is_listed_and_its_absence_a_limit() -> None:
    assert "- no augmentation\n" in section(card(), "How it was trained")
    assert "trained without augmentation" in section(card(), "Limits")
    effects = AugmentationSpec(speed=SpeedSpec(), noise=NoiseSpec(snr_db=(0.0, 15.0)))
    text = card(config=replace(FACTS.config, augmentation=effects))
    assert "  - noise: probability 0.5, snr_db [0, 15]\n" in section(text, "How it was trained")
    assert "room" not in section(text, "How it was trained")
    assert "trained without augmentation" not in section(text, "Limits")


def test_few_speakers_are_a_limit_and_many_are_none() -> None:
    assert "50 speakers are few" in section(card(), "Limits")
    assert "10 speakers are too few to tell its error rates closely" in section(card(), "Limits")
    many = card(data=replace(DATA, speakers=7323), development=replace(DEVELOPMENT, speakers=40))
    assert "speakers are" not in section(many, "Limits")


def test_what_a_model_that_was_started_from_had_heard_is_said_to_be_unknown() -> None:
    text = card(started_from={"name": "wavlm"})
    assert "whatever the model it was started from had learnt from" in section(text, "What it learnt from")
    assert "50 speakers are few" not in section(text, "Limits")
    assert "started from" not in section(card(), "What it learnt from")


def test_languages_are_never_claimed() -> None:
    assert "The languages, accents, ages and sexes of the speakers, and the rooms" in section(card(), "Limits")


def test_a_licence_is_given_or_said_to_be_unknown() -> None:
    assert section(card(), "Licence").strip().startswith("Unknown: nobody has said")
    text = section(card(licence="CC-BY-4.0", started_from={"name": "wavlm", "licence": "CC-BY-SA-3.0"}), "Licence")
    assert text.strip().startswith("CC-BY-4.0, as whoever trained it says")
    assert "those of the model it was started from" in text


def test_what_it_was_started_from_is_named() -> None:
    assert "weights drawn at random" in card()
    text = card(started_from={"name": "microsoft/wavlm", "licence": "MIT"})
    assert "- from the weights of `microsoft/wavlm`, licence MIT\n" in text
    assert "- from the weights of `owner/repo`\n" in card(started_from={"repo": "owner/repo", "revision": "0" * 40})


def test_its_configuration_can_be_read_back() -> None:
    facts = replace(FACTS, config=replace(FACTS.config, description="mine ``` and äöü\n# no heading"))
    text = model_card(bundle(facts), HISTORY)
    written = text.split("\n````yaml\n")[1].split("\n````\n")[0]
    found = config_from(yaml.safe_load(written), where="README.md")
    assert found == facts.config
    assert "\n```yaml\n" in card()


def test_names_make_no_markdown() -> None:
    text = card(data=replace(DATA, manifest="a`b|c\n# d.tsv"), config=replace(FACTS.config, description="*x* <b>|"))
    assert "`a?b|c?# d.tsv`" in text
    assert "\\*x\\* \\<b\\>\\|" in text
    assert "\n# d" not in text
