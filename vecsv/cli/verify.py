"""`vecsv verify`: is this the same person?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vecsv.cli.options import (
    ChannelOption,
    DeviceOption,
    EngineOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    StoresOption,
)
from vecsv.cli.stores import open_stores
from vecsv.errors import UsageError

if TYPE_CHECKING:
    from vecsv.query.several import Verdict
    from vecsv.query.verify import Side, Verification

SAME, DIFFERENT, UNDECIDED = 0, 1, 3
DECISIONS = {True: "same speaker", False: "different speakers", None: "undecided"}
WORDS = {True: "same", False: "different", None: None}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(
    first: Annotated[Path, typer.Argument(help="A recording.", show_default=False, readable=False)],
    second: Annotated[
        Path | None, typer.Argument(help="The other recording.", show_default=False, readable=False)
    ] = None,
    speaker: Annotated[
        str | None, typer.Option("--speaker", help="Compare with this speaker of the store.", show_default=False)
    ] = None,
    threshold_name: Annotated[
        str | None,
        typer.Option("--threshold-name", help="Decide by this calibrated threshold, such as eer.", show_default=False),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Decide by this threshold of your own.", show_default=False)
    ] = None,
    store: StoresOption = None,
    model: ModelOption = None,
    channel: ChannelOption = None,
    engine: EngineOption = "auto",
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "fp32",
    json: JsonOption = False,
) -> None:
    """Say whether two recordings, or a recording and a known speaker, are the same person.

    Exit code: 0 same, 1 different, 2 error, 3 no calibrated threshold (the score is printed). With several stores: 0
    when all say same, 1 when all say different or they disagree, 3 when any has no calibrated threshold.

    Examples: `vecsv verify a.wav b.wav`, `vecsv verify a.wav --speaker alice --threshold-name fmr-0.001`,
    `vecsv verify a.wav b.wav --store wavlm=calls-wavlm --store ecapa=calls-ecapa`
    """
    from vecsv.cli import show
    from vecsv.stores import Stores

    asked = open_stores(store, model=model, engine=engine, device=device, precision=precision)
    if isinstance(asked, Stores):
        if threshold is not None:
            raise UsageError("--threshold is a score of one model", hint="with several stores: --threshold-name")
        verdict = asked.verify(first, second, speaker=speaker, threshold_name=threshold_name, channel=channel)
        if json:
            show.as_json(_joined_document(verdict))
        else:
            _print_joined(verdict)
        raise typer.Exit(UNDECIDED if verdict.undecided else SAME if verdict.same else DIFFERENT)
    answer = asked.verify(
        first, second, speaker=speaker, threshold=threshold, threshold_name=threshold_name, channel=channel
    )
    if json:
        show.as_json(_document(answer))
    else:
        _print(answer)
    show.warnings(() if json else answer.warnings)
    raise typer.Exit(UNDECIDED if answer.same is None else SAME if answer.same else DIFFERENT)


def _print(answer: Verification) -> None:
    from vecsv.cli import show

    show.facts(_facts(answer))


def _print_joined(verdict: Verdict) -> None:
    """One column for each store."""
    from vecsv.cli import show

    columns = {name: dict(_facts(answer)) for name, answer in verdict.answers.items()}
    labels = dict.fromkeys(label for column in columns.values() for label in column)
    rows: list[list[object]] = [[label, *(column.get(label) for column in columns.values())] for label in labels]
    rows.append(["model", *(answer.model for answer in verdict.answers.values())])
    show.table(["", *columns], rows)
    show.line()
    known = "one of them has no calibrated threshold" if verdict.undecided else "the stores disagree"
    show.line(f"all agree: {DECISIONS[verdict.same]}" if verdict.agree else f"undecided: {known}")
    show.warnings(f"{name}: {warning}" for name, answer in verdict.answers.items() for warning in answer.warnings)


def _facts(answer: Verification) -> list[tuple[str, str]]:
    threshold = answer.threshold
    if threshold is None:
        rule = "none calibrated"
    else:
        where = "on held-out speakers" if threshold.held_out else "there"
        rates = "" if threshold.fmr is None else f", FMR {threshold.fmr:.3%}, FNMR {threshold.fnmr:.2%} {where}"
        rule = f"{threshold.value:.4f} ({threshold.name}, from {threshold.source}{rates})"
    cosine = f" (normalised; cosine {answer.cosine:.4f})" if answer.normalised else ""
    facts = [("decision", DECISIONS[answer.same]), ("score", f"{answer.score:.4f}{cosine}"), ("threshold", rule)]
    if answer.llr is not None:
        facts.append(("evidence", f"log-likelihood ratio {answer.llr:+.2f}: {_likelihood(answer.llr)}"))
    return facts


def _likelihood(llr: float) -> str:
    """What a ratio means to somebody who had no idea before; never surer than 99.9%, which is as far as words go."""
    probability = 1 / (1 + math.exp(-llr)) if llr > -700 else 0.0
    shown = "over 99.9%" if probability > 0.999 else "under 0.1%" if probability < 0.001 else f"{probability:.1%}"
    return f"{shown} the same speaker, if both were as likely before"


def _joined_document(verdict: Verdict) -> dict[str, Any]:
    return {
        "stores": {name: _document(answer) for name, answer in verdict.answers.items()},
        "agree": verdict.agree,
        "decision": WORDS[verdict.same],
    }


def _document(answer: Verification) -> dict[str, Any]:
    threshold = answer.threshold
    return {
        "score": answer.score,
        "cosine": answer.cosine,
        "normalised": answer.normalised,
        "llr": answer.llr,
        "same": answer.same,
        "decision": WORDS[answer.same],
        "threshold": None if threshold is None else finite(threshold.value),
        "threshold_name": None if threshold is None else threshold.name,
        "threshold_origin": None if threshold is None else threshold.origin,
        "threshold_source": None if threshold is None else threshold.source,
        "threshold_fmr": None if threshold is None else threshold.fmr,
        "threshold_fnmr": None if threshold is None else threshold.fnmr,
        "model": answer.model,
        "fingerprint": answer.fingerprint,
        "engine": answer.engine,
        "first": _side(answer.first),
        "second": _side(answer.second),
        "warnings": list(answer.warnings),
    }


def _side(side: Side) -> dict[str, Any]:
    from dataclasses import asdict

    kind = "speaker" if side.quality is None else "recording"
    quality = None if side.quality is None else asdict(side.quality)
    return {"kind": kind, "name": side.name, "utterances": len(side.vectors), "quality": quality}


def finite(value: float) -> float | None:
    """JSON has no infinity: a threshold that rejects everything is null."""
    return value if abs(value) != float("inf") else None
