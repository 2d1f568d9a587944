"""`vecsv calibrate`: thresholds from the store's own pairs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vecsv.cli.calibrate_search import calibrate_search, refuse_mixed_options
from vecsv.cli.options import JsonOption, StoreOption

if TYPE_CHECKING:
    from vecsv.calibration.llr import LlrMapping
    from vecsv.calibration.normalise import Normalisation
    from vecsv.calibration.operating_points import OperatingPoint
    from vecsv.calibration.record import Basis, Calibration


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("calibrate")(calibrate)


def calibrate(
    context: typer.Context,
    store: StoreOption = None,
    ratio: Annotated[int, typer.Option("--ratio", min=1, help="Non-target pairs for each target pair.")] = 99,
    per_speaker: Annotated[
        int, typer.Option("--per-speaker", min=1, help="Target pairs one speaker gives at most.")
    ] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the sampling.")] = 0,
    cross_session: Annotated[
        bool, typer.Option("--cross-session", help="Leave out pairs of one session, which flatter.")
    ] = False,
    in_force: Annotated[
        str, typer.Option("--in-force", help="Threshold that decides when none is named.", metavar="NAME")
    ] = "fmr-0.01",
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Take the thresholds over from another store of the same model."),
    ] = None,
    cohort: Annotated[
        Path | None,
        typer.Option(
            "--cohort", help="A store of other people: normalise scores against them, if that wins.", show_default=False
        ),
    ] = None,
    search: Annotated[
        bool, typer.Option("--search", help="Place the threshold of searches instead, on searches for strangers.")
    ] = False,
    fpir: Annotated[
        float, typer.Option("--fpir", help="With --search: share of strangers that may be taken for somebody.")
    ] = 0.01,
    gallery_size: Annotated[
        int | None,
        typer.Option("--gallery-size", min=1, help="With --search: speakers in the gallery; the store's by default."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Sample pairs of the store's recordings and place the thresholds.

    Pairs of one speaker against pairs of two, 1:99 by default, never a recording with itself. Half of the speakers
    are held out: the thresholds are placed on the others' pairs, and the error rates are those on theirs.

    With --search: the threshold by which `vecsv search` says whether a hit passes.

    Examples: `vecsv calibrate --store calls`, `vecsv calibrate --search --fpir 0.01`
    """
    from vecsv.api import Store
    from vecsv.calibration.run import CalibrateSettings
    from vecsv.cli import show

    refuse_mixed_options(context, search=search)
    if search:
        calibrate_search(store, fpir=fpir, gallery_size=gallery_size, seed=seed, json=json)
        return
    target = Store(store)
    if source is not None:
        calibration = target.copy_calibration(source)
    else:
        settings = CalibrateSettings(
            ratio=ratio,
            per_speaker=per_speaker,
            seed=seed,
            cross_session=cross_session,
            in_force=in_force,
            cohort=cohort,
        )
        with show.progress("scoring pairs") as meter:
            calibration = target.calibrate(settings, progress=meter)
    if json:
        show.as_json(calibration.to_json())
    else:
        _print(calibration)


def _same_session(basis: Basis) -> str:
    if basis.utterances_without_session == basis.utterances:
        return "unknown: the manifest names no sessions"
    unknown = basis.utterances_without_session
    return f"{basis.same_session_targets:,} target pairs" + (f" ({unknown:,} utterances name none)" if unknown else "")


def _carried(point: OperatingPoint) -> str:
    from vecsv.calibration.operating_points import FEW_ERRORS

    if not point.supported:
        return "NO"
    rates = point.reported
    few = min(rates.false_accepts, rates.misses) < FEW_ERRORS
    return "roughly" if point.note is not None or few else "yes"


def _halves(calibration: Calibration) -> str:
    halves = calibration.held_out
    if halves is None:
        return "no"
    return f"thresholds placed on {halves.fit_speakers:,}, errors counted on {halves.held_out_speakers:,} others"


def _evidence(mapping: LlrMapping) -> str:
    inputs = "score"
    if mapping.with_quality is not None:
        words = {"log_speech_s": "speech duration", "snr_db": "signal-to-noise ratio"}
        inputs = ", ".join(["score", *(words[name] for name in mapping.with_quality.weights if name in words)])
    where = "held-out speakers" if mapping.held_out else "the pairs it was fitted on"
    return f"from {inputs}: Cllr {mapping.cllr:.3f} bits, at best {mapping.min_cllr:.3f}, on {where}"


def _normalisation(found: Normalisation) -> str:
    what = f"against {found.cohort_speakers:,} speakers of {found.cohort}"
    if found.eer_cosine is None:
        return f"not used: {what}, but no held-out speakers to measure it on"
    figures = (
        f"EER {found.eer_cosine:.2%} to {found.eer_normalised:.2%}, "
        f"minDCF {found.min_dcf_cosine:.3f} to {found.min_dcf_normalised:.3f}"
    )
    return f"{'used' if found.kept else 'not used'}: {what}, on held-out speakers {figures}"


def _interval(interval: tuple[float, float] | None, digits: int) -> str | None:
    return None if interval is None else f"{interval[0]:.{digits}%} to {interval[1]:.{digits}%}"


def _of_sessions(point: OperatingPoint) -> str | None:
    """The misses of pairs of one session beside those of two: the former flatter."""
    one, two = point.same_session, point.cross_session
    if one is None or two is None:
        return None
    parts = [
        f"{rates.fnmr:.2%} of {rates.targets:,} pairs {where}"
        for rates, where in ((one, "of one session"), (two, "of two sessions"))
        if rates.fnmr is not None
    ]
    return "; ".join(parts) or None


def _print(calibration: Calibration) -> None:
    from vecsv.cli import show

    basis, halves = calibration.basis, calibration.held_out
    facts: list[tuple[str, object]] = [
        ("from", calibration.source),
        ("speakers", basis.speakers),
        ("held-out half", _halves(calibration)),
        ("target pairs", f"{basis.targets:,} of {basis.targets_available:,}"),
        ("non-target pairs", f"{basis.non_targets:,} of {basis.non_targets_available:,}"),
        ("non-targets a target", f"{basis.ratio_reached:.4g} ({basis.ratio_asked} asked for)"),
        ("of one session", _same_session(basis)),
        ("left out", ", ".join(f"{count:,} {why}" for why, count in basis.left_out.items() if count) or "nothing"),
        ("seed", basis.seed),
    ]
    if calibration.llr is not None:
        facts.append(("likelihood ratio", _evidence(calibration.llr)))
    if calibration.normalisation is not None:
        facts.append(("normalisation", _normalisation(calibration.normalisation)))
    show.facts(facts)
    show.line()
    interval = [] if halves is None else [f"{halves.level:.0%} interval"]
    header = ["threshold", "at", "FMR", *interval, "FNMR", *interval, "false accepts", "misses", "carried by the data"]
    show.table(header, [_row(point, calibration) for point in calibration.points], right=range(1, len(header) - 1))
    show.line("* decides when no threshold is named")
    sessions = _of_sessions(calibration.point())
    if sessions is not None:
        show.line(f"misses at {calibration.in_force}: {sessions}")
    # The others' notes stand in --json: a person wants to know of the one that decides, and of those that cannot.
    show.warnings(
        [
            *([calibration.held_out_note] if calibration.held_out_note else []),
            *(
                f"{point.name}: {point.note}"
                for point in calibration.points
                if point.note and (not point.supported or point.name == calibration.in_force)
            ),
        ]
    )


def _row(point: OperatingPoint, calibration: Calibration) -> list[object]:
    rates, divided = point.reported, calibration.held_out is not None
    return [
        f"{point.name}{' *' if point.name == calibration.in_force else ''}",
        f"{point.threshold:.4f}",
        f"{rates.fmr:.3%}",
        *([_interval(rates.fmr_interval, 3)] if divided else []),
        f"{rates.fnmr:.2%}",
        *([_interval(rates.fnmr_interval, 2)] if divided else []),
        rates.false_accepts,
        rates.misses,
        _carried(point),
    ]
