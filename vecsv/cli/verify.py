"""`vecsv verify`: is this the same person?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vecsv.cli.options import ChannelOption, JsonOption, ModelOption, StoreOption

if TYPE_CHECKING:
    from vecsv.query.verify import Side, Verification

SAME, DIFFERENT, UNDECIDED = 0, 1, 3


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
    store: StoreOption = None,
    model: ModelOption = None,
    channel: ChannelOption = None,
    json: JsonOption = False,
) -> None:
    """Say whether two recordings, or a recording and a known speaker, are the same person.

    Exit code: 0 same, 1 different, 2 error, 3 no calibrated threshold (the score is printed).

    Examples: `vecsv verify a.wav b.wav`, `vecsv verify a.wav --speaker alice --threshold-name fmr-0.001`
    """
    from vecsv.api import Store
    from vecsv.cli import show

    target = Store(store, model=model, on_message=show.message)
    answer = target.verify(
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

    decision = {True: "same speaker", False: "different speakers", None: "undecided"}[answer.same]
    threshold = answer.threshold
    if threshold is None:
        rule = "none calibrated"
    else:
        where = "on held-out speakers" if threshold.held_out else "there"
        rates = "" if threshold.fmr is None else f", FMR {threshold.fmr:.3%}, FNMR {threshold.fnmr:.2%} {where}"
        rule = f"{threshold.value:.4f} ({threshold.name}, from {threshold.source}{rates})"
    cosine = f" (normalised; cosine {answer.cosine:.4f})" if answer.normalised else ""
    facts = [("decision", decision), ("score", f"{answer.score:.4f}{cosine}"), ("threshold", rule)]
    if answer.llr is not None:
        facts.append(("evidence", f"log-likelihood ratio {answer.llr:+.2f}: {_likelihood(answer.llr)}"))
    show.facts(facts)


def _likelihood(llr: float) -> str:
    """What a ratio means to somebody who had no idea before; never surer than 99.9%, which is as far as words go."""
    probability = 1 / (1 + math.exp(-llr)) if llr > -700 else 0.0
    shown = "over 99.9%" if probability > 0.999 else "under 0.1%" if probability < 0.001 else f"{probability:.1%}"
    return f"{shown} the same speaker, if both were as likely before"


def _document(answer: Verification) -> dict[str, Any]:
    threshold = answer.threshold
    return {
        "score": answer.score,
        "cosine": answer.cosine,
        "normalised": answer.normalised,
        "llr": answer.llr,
        "same": answer.same,
        "decision": {True: "same", False: "different", None: None}[answer.same],
        "threshold": None if threshold is None else finite(threshold.value),
        "threshold_name": None if threshold is None else threshold.name,
        "threshold_origin": None if threshold is None else threshold.origin,
        "threshold_source": None if threshold is None else threshold.source,
        "threshold_fmr": None if threshold is None else threshold.fmr,
        "threshold_fnmr": None if threshold is None else threshold.fnmr,
        "model": answer.model,
        "fingerprint": answer.fingerprint,
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
