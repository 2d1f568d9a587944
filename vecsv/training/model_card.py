"""The model card of a trained model: what it is, what it learnt from, how good it is, and what nobody knows of it.

M. Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. It says what the bundle knows and nothing more: where
nothing was measured or recorded, that is what it says.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from vecsv.models.add import UNKNOWN_LICENCE
from vecsv.models.bundle import Bundle

_FAMILIES: Final = {"ecapa-tdnn": "ECAPA-TDNN", "wavlm-xvector": "WavLM x-vector"}
_LOSSES: Final = {"aam": "additive angular margin softmax", "am": "additive margin softmax"}
_COLUMNS: Final = {
    "epoch": "epoch",
    "loss": "loss",
    "accuracy": "accuracy in training",
    "held_out_accuracy": "accuracy on held-out speech",
    "dev_eer": "EER",
    "dev_min_dcf": "minDCF",
}
_PARTS: Final = frozenset({"accuracy", "held_out_accuracy", "dev_eer"})
#: Published models heard thousands of speakers (VoxCeleb 1 and 2: 7,323).
_FEW_SPEAKERS: Final = 1000


def model_card(bundle: Bundle, history: Sequence[Mapping[str, Any]]) -> str:
    """Write a model card as Markdown.

    Parameters
    ----------
    bundle : Bundle
        A model that vecsv trained; its `source` is that of `vecsv.training.facts.TrainingFacts.source`.
    history : sequence of mapping
        What each epoch came to; see `vecsv.training.facts.TrainingFacts`.
    """
    sections = (
        _head(bundle),
        _use(bundle.name),
        _data(bundle),
        _training(bundle),
        _quality(bundle, history),
        _limits(bundle),
        _licence(bundle),
        _repeating(bundle),
    )
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _head(bundle: Bundle) -> Iterator[str]:
    source = bundle.source
    yield f"# {bundle.name}"
    yield ""
    yield f"{_plain(bundle.description)}."
    yield ""
    family = _FAMILIES.get(bundle.family, bundle.family)
    yield (
        f"A speaker model ({family}, {source['parameters']:,} parameters), trained with vecsv "
        f"{source['versions'].get('vecsv', '')} on {source['trained_at'][:10]}. It turns a recording into "
        f"{bundle.dim} numbers; recordings of one voice get numbers that point the same way. It takes "
        f"{bundle.sample_rate:,} Hz; vecsv resamples whatever it is given."
    )


def _use(name: str) -> Iterator[str]:
    yield "## How to use it"
    yield ""
    yield "    pip install 'vecsv[cpu]'"
    yield f"    vecsv models add FOLDER --name {name}    # this folder, on another machine"
    yield f"    vecsv models check {name}"
    yield f"    vecsv embed --manifest train.tsv --model {name} --store {name}"
    yield f"    vecsv calibrate --store {name}           # thresholds of your own recordings"
    yield f"    vecsv verify a.wav b.wav --store {name}"
    yield f"    vecsv index build --store {name}"
    yield f"    vecsv search a.wav --store {name}"


def _data(bundle: Bundle) -> Iterator[str]:
    data = bundle.source["data"]
    yield "## What it learnt from"
    yield ""
    if bundle.source["started_from"] is not None:
        yield "- before that, whatever the model it was started from had learnt from, which is not on record here"
    yield f"- {data['recordings']:,} recordings of {data['speakers']:,} speakers, {data['hours']:,.2f} hours"
    yield f"- manifest {_code(data['manifest'])}, SHA-256 `{data['sha256']}` (of the list, not of the recordings)"
    if data["narrow"]:
        yield (
            f"- {_share(data['narrow'], data['recordings'])} of them have a lower sampling rate than "
            f"{bundle.sample_rate:,} Hz and were resampled: their upper band is empty"
        )
    else:
        yield f"- none of them has a lower sampling rate than {bundle.sample_rate:,} Hz"
    if data["bad"]:
        yield f"- {data['bad']:,} rows of the manifest could not be read and were left out"
    if data["short"]:
        yield f"- {data['short']:,} were shorter than {_config(bundle, 'data')['min_s']:g} s and were left out"
    if data["held_out"]:
        yield f"- {data['held_out']:,} more, of the same speakers, were held out to measure accuracy on"
    for kind, what in (("noises", "recordings of noise"), ("rooms", "room impulse responses")):
        if data[kind]:
            yield f"- {data[kind]:,} {what} to change crops with; which ones is not on record"


def _training(bundle: Bundle) -> Iterator[str]:
    source, loss, run = bundle.source, _config(bundle, "loss"), _config(bundle, "run")
    yield "## How it was trained"
    yield ""
    started = source["started_from"]
    if started is None:
        yield "- from weights drawn at random"
    else:
        licence = started.get("licence")
        under = f", licence {_plain(licence)}" if licence else ""
        name = next((started[key] for key in ("name", "model", "repo", "folder") if key in started), "another model")
        yield f"- from the weights of {_code(name)}{under}"
    yield (
        f"- {_LOSSES.get(loss['kind'], loss['kind'])}, margin {loss['margin']:g}, scale {loss['scale']:g}, on crops of "
        f"{_config(bundle, 'data')['crop_s']:g} s, {run['batch']} in a batch"
    )
    yield f"- {source['epochs']} epochs; this is the state after epoch {source['best'].get('epoch', 'unknown')}"
    effects = {name: spec for name, spec in _config(bundle, "augmentation").items() if spec is not None}
    yield "- augmentation:" if effects else "- no augmentation"
    for name, spec in effects.items():
        yield f"  - {name}: {', '.join(f'{key} {_value(value)}' for key, value in spec.items())}"


def _quality(bundle: Bundle, history: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    source, development = bundle.source, bundle.source["development"]
    yield "## How good it is"
    yield ""
    if development is None:
        yield "Verification was not measured: there were no recordings of other speakers to measure it on."
    else:
        crop = _config(bundle, "development")["crop_s"]
        yield (
            f"Verification, over all {development['targets']:,} pairs of one speaker and "
            f"{development['non_targets']:,} of two among {development['recordings']:,} recordings of "
            f"{development['speakers']:,} speakers it was not taught ({_code(development['manifest'])}), "
            f"{'whole' if crop is None else f'the first {crop:g} s of each'}. The best epoch was chosen on the same "
            "pairs, so its figures are a little too good."
        )
    if columns := [name for name in _COLUMNS if any(row.get(name) is not None for row in history)]:
        yield ""
        yield f"| {' | '.join(_COLUMNS[name] for name in columns)} | |"
        yield f"|{'---:|' * len(columns)}---|"
        for row in history:
            mark = "this model" if row.get("epoch") == source["best"].get("epoch") else ""
            yield f"| {' | '.join(_cell(name, row.get(name)) for name in columns)} | {mark} |"
        yield ""
        yield "Epochs are counted from 0. EER: equal error rate; minDCF: at a target prior of 0.01, 1 accepts nobody."
    yield ""
    reference = bundle.reference_calibration
    if reference is None:
        yield "It brings no thresholds along: `vecsv calibrate` makes them of your own recordings."
    else:
        yield (
            f"It brings thresholds along, measured on {_plain(reference['source'])}. They decide until "
            "`vecsv calibrate` has made some of your own recordings, which are to be preferred."
        )


def _limits(bundle: Bundle) -> Iterator[str]:
    data, development = bundle.source["data"], bundle.source["development"]
    yield "## Limits"
    yield ""
    yield (
        "- The languages, accents, ages and sexes of the speakers, and the rooms and microphones, are not on record: "
        "nobody has measured whom it serves worse."
    )
    yield "- On recordings unlike those it was measured on it may make many more errors: calibrate on your own."
    if data["speakers"] < _FEW_SPEAKERS and bundle.source["started_from"] is None:
        yield f"- {data['speakers']:,} speakers are few; models for general use learn from thousands."
    if 2 * data["narrow"] > data["recordings"]:
        yield "- Most of its recordings were narrow-band: what it makes of the upper band it learnt from the others."
    elif data["narrow"] == 0 and _config(bundle, "augmentation")["telephone"] is None:
        yield "- It heard no narrow-band recordings, such as telephone calls."
    if all(spec is None for spec in _config(bundle, "augmentation").values()):
        yield "- It was trained without augmentation: expect noise, rooms and codecs to disturb it."
    if development is not None and development["speakers"] < 30:
        yield f"- {development['speakers']} speakers are too few to tell its error rates closely."
    yield "- A score is evidence, not proof; one person's recordings can score low, and two people's high."


def _licence(bundle: Bundle) -> Iterator[str]:
    yield "## Licence"
    yield ""
    started = bundle.source["started_from"]
    also = "" if started is None else ", and those of the model it was started from,"
    if bundle.licence == UNKNOWN_LICENCE:
        yield (
            "Unknown: nobody has said under which terms these weights may be used. The terms of the recordings they "
            f"were learnt from{also} may bind you."
        )
    else:
        yield (
            f"{_plain(bundle.licence)}, as whoever trained it says. The terms of the recordings it learnt from{also} "
            "may bind you too; they are not on record."
        )


def _repeating(bundle: Bundle) -> Iterator[str]:
    import yaml

    source = bundle.source
    yield "## To train it again"
    yield ""
    yield f"- fingerprint `{bundle.fingerprint}`"
    revision = f"`{source['git_revision']}`" if source["git_revision"] else "none, it was no checkout"
    yield f"- git revision of the folder it was trained in: {revision}"
    yield f"- {', '.join(f'{name} {version}' for name, version in source['versions'].items())}"
    yield "- configuration:"
    yield ""
    text = yaml.safe_dump(source["config"], sort_keys=False, allow_unicode=True, width=120)
    # A fence ends at one that is as long; a description may hold any.
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    yield f"{fence}yaml"
    yield text.rstrip()
    yield fence


def _config(bundle: Bundle, section: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = bundle.source["config"][section]
    return found


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in _PARTS:
        return f"{value:.2%}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _share(part: int, whole: int) -> str:
    """Say how many, and which part that is.

    Examples
    --------
    >>> _share(12, 96)
    '12 (12.5%)'
    """
    return f"{part:,} ({part / max(whole, 1):.1%})"


def _plain(text: str) -> str:
    """Text as one line that makes no Markdown of its own."""
    line = " ".join(str(text).split())
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in line)


def _code(text: str) -> str:
    line = "".join(letter if letter.isprintable() and letter != "`" else "?" for letter in str(text))
    return f"`{line}`"
