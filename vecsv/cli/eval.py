"""`vecsv eval`: the figures of a trial list, or of pairs of a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecsv.cli.options import DeviceOption, EngineOption, JsonOption, ModelOption, PrecisionOption
from vecsv.errors import UsageError

if TYPE_CHECKING:
    from vecsv.calibration.bootstrap import Interval
    from vecsv.evaluation.breakdown import Breakdown, Part
    from vecsv.evaluation.record import Basis, Evaluation

_FAILURES_SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("eval")(evaluate)


def evaluate(
    trials: Annotated[
        Path | None,
        typer.Option("--trials", help="A list: `1 a.wav b.wav`, or `enrol test target`.", show_default=False),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            help="With --trials: embeddings to use again. Alone: evaluate pairs of this store. Without --trials the "
            "default is $VECSV_STORE, else ./index.",
            show_default=False,
        ),
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Says who speaks in the trials' recordings, and its columns.")
    ] = None,
    enrol: Annotated[
        Path | None,
        typer.Option("--enrol", help="A manifest, path and model: the enrolment column then names models."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option("--root", help="Folder the trials' paths are relative to. Default: the list's own.")
    ] = None,
    model: ModelOption = None,
    by: Annotated[
        list[str] | None,
        typer.Option("--by", metavar="COLUMN", help="Break the figures down by a manifest column; may be repeated."),
    ] = None,
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="Every pair of the store, not a sample.")] = False,
    ratio: Annotated[
        int | None, typer.Option("--ratio", min=1, help="Non-target pairs for each target pair. Default: 99.")
    ] = None,
    per_speaker: Annotated[
        int | None, typer.Option("--per-speaker", min=1, help="Target pairs one speaker gives at most. Default: 200.")
    ] = None,
    cross_session: Annotated[
        bool, typer.Option("--cross-session", help="Leave out pairs of one session, which flatter.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the sampling and of the intervals.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for figures and scores, for `vecsv compare`.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", help="TSV for the scores: label, enrolment, test, score.")
    ] = None,
    engine: EngineOption = "auto",
    device: DeviceOption = "cpu",
    precision: PrecisionOption = "fp32",
    json: JsonOption = False,
) -> None:
    """Work out EER, minDCF and the rest for a trial list, or for pairs of a store.

    Exit code: 0, or 1 when recordings gave no embedding; their trials are left out.

    Examples: `vecsv eval --store calls --by device`, `vecsv eval --trials trials.tsv --out runs/ge2e`
    """
    from vecsv import api
    from vecsv.cli import show
    from vecsv.evaluation.runs import write_run, write_scores
    from vecsv.evaluation.sampling import SampleSettings

    if trials is not None:
        _refuse("--trials", all_pairs=all_pairs, ratio=ratio, per_speaker=per_speaker, cross_session=cross_session)
        with show.progress("embedding") as meter:
            found = api.evaluate(
                trials,
                manifest=manifest,
                enrol=enrol,
                root=root,
                store=store,
                model=model,
                by=by or (),
                seed=seed,
                engine=engine,
                device=device,
                precision=precision,
                progress=meter,
                on_message=show.message,
            )
    else:
        _refuse("pairs of a store", manifest=manifest, enrol=enrol, root=root, model=model)
        chosen = {"engine": engine != "auto", "device": device != "cpu", "precision": precision != "fp32"}
        _refuse("pairs of a store, whose embeddings are there", **chosen)
        settings = SampleSettings(ratio or 99, per_speaker or 200, seed, cross_session, all_pairs)
        with show.progress("scoring pairs") as meter:
            wanted = out is not None or scores is not None
            found = api.Store(store).evaluate(settings, by=by or (), keep_trials=wanted, progress=meter)
    if out is not None:
        write_run(out, found)
    if scores is not None:
        write_scores(scores, found)
    if json:
        show.as_json(found.to_json())
    else:
        _print(found)
        show.warnings(found.warnings)
    if found.failed:
        _say_what_failed(found)
        raise typer.Exit(1)


def _refuse(what: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None and value is not False:
            raise UsageError(f"--{name.replace('_', '-')} does not go with {what}", hint="see vecsv eval --help")


def _say_what_failed(found: Evaluation) -> None:
    from vecsv.cli import show

    for side in found.failed[:_FAILURES_SHOWN]:
        show.message(f"no embedding of {side.name}, {side.trials:,} trials left out: {side.reason}")
    more = len(found.failed) - _FAILURES_SHOWN
    if more > 0:
        show.message(f"and {more:,} more recordings; --json lists them")


def _print(found: Evaluation) -> None:
    from vecsv.cli import show

    basis = found.basis
    show.facts(
        [
            ("from", basis.source),
            ("model", f"{found.model} (fingerprint {found.fingerprint[:12]})"),
            ("recordings", f"{basis.recordings:,}, {basis.from_store:,} of them embedded before"),
            ("speakers", basis.speakers),
            ("targets", _of(found.metrics.targets, basis, "targets_available")),
            ("non-targets", _of(found.metrics.non_targets, basis, "non_targets_available")),
            *([] if basis.sample is None else [("of one session", _of_one_session(basis.sample, basis.recordings))]),
            ("left out", _left_out(found)),
        ]
    )
    show.line()
    show.table(
        ["figure", "value", "90% interval", "at", "FMR", "FNMR"],
        _rows(found),
        right=[1, 3, 4, 5],
    )
    for breakdown in found.breakdowns:
        show.line()
        _print_breakdown(breakdown)


def _of(count: int, basis: Basis, available: str) -> str:
    return f"{count:,}" if basis.sample is None else f"{count:,} of {basis.sample[available]:,}"


def _of_one_session(sample: Mapping[str, int], recordings: int) -> str:
    unknown = sample["utterances_without_session"]
    if unknown == recordings:
        return "unknown: the manifest names no sessions"
    count = f"{sample['same_session_targets']:,} targets"
    return count + (f" ({unknown:,} recordings name none)" if unknown else "")


def _left_out(found: Evaluation) -> str:
    basis = found.basis
    if basis.sample is not None:
        return ", ".join(f"{count:,} {why}" for why, count in basis.sample["left_out"].items() if count) or "nothing"
    if not basis.trials_left_out:
        return "nothing"
    return f"{basis.trials_left_out:,} trials, for {len(found.failed):,} recordings without an embedding"


Row = tuple[str | None, ...]


def _rows(found: Evaluation) -> Iterator[Row]:
    metrics, intervals = found.metrics, found.intervals
    eer, cost = (None, None) if intervals is None else (intervals.eer, intervals.min_dcf)
    yield "EER", f"{metrics.eer:.2%}", _interval(eer, ".2%"), _at(metrics.eer_threshold), None, None
    yield "EER on the ROC hull", f"{metrics.eer_hull:.2%}", None, None, None, None
    for point in metrics.min_dcf:
        name = f"minDCF {point.name}" + (" (p=0.01, misses cost 10)" if point.name == "sre08" else "")
        interval = _interval(cost if point.name == "p=0.01" else None, ".4f")
        yield name, f"{point.normalised:.4f}", interval, _at(point.threshold), *_rates(point.fmr, point.fnmr)
    for rate in metrics.fnmr_at_fmr:
        figures = _rates(rate.fmr, rate.fnmr)
        value = f"{rate.fnmr:.2%}" if rate.supported else "too few"
        yield f"FNMR at FMR {rate.asked:g}", value, None, _at(rate.threshold), *figures
    yield "AUC", f"{metrics.auc:.6f}", None, None, None, None
    yield "minCllr", f"{metrics.min_cllr:.4f}", None, None, None, None
    best = (("F1", metrics.best_f1), ("precision", metrics.best_precision), ("recall", metrics.best_recall))
    for name, retrieval in best:
        reached = {"F1": retrieval.f1, "precision": retrieval.precision, "recall": retrieval.recall}[name]
        yield f"best {name} at prior {retrieval.prior:g}", f"{reached:.4f}", None, _at(retrieval.threshold), None, None


def _print_breakdown(breakdown: Breakdown) -> None:
    from vecsv.cli import show

    show.line(
        f"by {breakdown.column}; FMR and FNMR at {_at(breakdown.threshold)}, the threshold of the whole for FMR 0.01"
    )
    show.table(
        [
            breakdown.column,
            "speakers",
            "targets",
            "non-targets",
            "EER",
            "90% interval",
            "minDCF p=0.01",
            "FMR",
            "FNMR",
            "note",
        ],
        [_part_row(part) for part in breakdown.parts],
        right=[1, 2, 3, 4, 6, 7, 8],
    )


_PART_HEADER = ("speakers", "targets", "non-targets", "EER", "90% interval", "minDCF p=0.01", "FMR", "FNMR", "note")


def _part_row(part: Part) -> tuple[object, ...]:
    metrics = part.metrics
    return (
        part.value if part.value is not None else f"({part.kind})",
        part.speakers,
        part.targets,
        part.non_targets,
        None if metrics is None else f"{metrics.eer:.2%}",
        _interval(None if part.intervals is None else part.intervals.eer, ".2%"),
        None if metrics is None else f"{metrics.cost('p=0.01').normalised:.4f}",
        *_rates(part.fmr, part.fnmr),
        part.note or "",
    )


def _interval(interval: Interval | None, form: str) -> str | None:
    return None if interval is None else f"{interval.low:{form}} to {interval.high:{form}}"


def _rates(fmr: float | None, fnmr: float | None) -> tuple[str | None, str | None]:
    return None if fmr is None else f"{fmr:.3%}", None if fnmr is None else f"{fnmr:.2%}"


def _at(threshold: float) -> str:
    return "rejects all" if threshold == float("inf") else f"{threshold:.4f}"
