"""The page of a report: one HTML file that needs nothing beside it."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from vecsv.calibration.evaluate import Metrics
from vecsv.calibration.operating_points import OperatingPoint
from vecsv.calibration.rates import Interval
from vecsv.calibration.record import Calibration
from vecsv.calibration.search_record import SearchCalibration
from vecsv.report.evidence import Evidence

_STYLE = """
:root { color-scheme: light dark;
  --ink: #1c1c1c; --faint: #5f6368; --line: #d9dce0; --paper: #ffffff; --mark: #eef4fb; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --faint: #a0a6ad; --line: #3a3f45; --paper: #16191d; --mark: #1f2a38; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
p { margin: .4rem 0 1rem; }
.faint, figcaption { color: var(--faint); font-size: .92rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { padding: .35rem .8rem .35rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; white-space: nowrap; }
tr.chosen td { background: var(--mark); font-weight: 600; }
.interval { display: block; color: var(--faint); font-size: .82rem; font-weight: 400; }
figure { margin: 1rem 0 0; }
figure img { display: block; width: 100%; height: auto; background: #ffffff; border-radius: 8px; padding: .5rem;
  border: 1px solid var(--line); }
ul { padding-left: 1.2rem; }
code { font-size: .9em; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes
    ----------
    file : str
        Name of the PNG that lies beside the page.
    title, alt, caption : str
        Heading; what it shows, for those who do not see it; how to read it.
    png : bytes
    """

    file: str
    title: str
    alt: str
    caption: str
    png: bytes


def page(evidence: Evidence, metrics: Metrics, pictures: Sequence[Picture]) -> str:
    """The whole page as HTML; figures are embedded, nothing is fetched.

    The numbers of the operating points stand in ``<data value="...">`` elements with all their digits.
    """
    calibration = evidence.calibration
    title = f"Calibration of {evidence.store}"
    parts = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="faint">{escape(f"{calibration.model}, {calibration.source}, {calibration.made_at}")}</p>',
        f"<p>{escape(_summary(calibration))}</p>",
        _warnings(evidence, metrics),
        "<h2>Thresholds</h2>",
        _points(calibration),
        f'<p class="faint">{escape(_halves(calibration))}</p>',
        "<h2>Quality of the scores</h2>",
        _metrics(metrics, calibration),
        *(_figure(picture) for picture in pictures),
        "<h2>What it rests on</h2>",
        _facts(_basis(calibration)),
    ]
    if evidence.search is not None:
        parts += ["<h2>Search threshold</h2>", _facts(_search(evidence.search)), _galleries(evidence.search)]
    return "\n".join([*parts, "</body></html>", ""])


def _summary(calibration: Calibration) -> str:
    point = calibration.point()
    rates = point.reported
    return (
        f"In force: {point.name}. Two recordings are taken for one speaker when their score is at or above "
        f"{point.threshold:.4f}; then {_percent(rates.fmr)} of pairs of two speakers are accepted and "
        f"{_percent(rates.fnmr)} of pairs of one speaker are refused."
    )


def _halves(calibration: Calibration) -> str:
    halves = calibration.held_out
    if halves is None:
        reason = f" ({calibration.held_out_note})" if calibration.held_out_note else ""
        return f"Placed and measured on the same pairs, which flatters{reason}."
    return (
        f"Placed on {halves.fit_speakers:,} speakers ({halves.fit_targets:,} target and {halves.fit_non_targets:,} "
        f"non-target pairs), measured on {halves.held_out_speakers:,} others ({halves.held_out_targets:,} and "
        f"{halves.held_out_non_targets:,}). Intervals: {halves.level:.0%}, from {halves.replicates:,} bootstrap draws "
        "of speakers. All figures below are of the speakers held out."
    )


def _points(calibration: Calibration) -> str:
    heads = ["threshold", "at", "FMR", "FNMR", "false accepts", "misses", "carried by the data"]
    rows = [_point(point, chosen=point.name == calibration.in_force) for point in calibration.points]
    head = "".join(
        f"<th{' class=number' if 0 < place < 6 else ''}>{escape(name)}</th>" for place, name in enumerate(heads)
    )
    table = f'<table id="points"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def _point(point: OperatingPoint, *, chosen: bool) -> str:
    rates = point.reported
    carried = "no" if not point.supported else "yes" if point.note is None else "roughly"
    cells = [
        f"<td>{escape(point.name)}{' (in force)' if chosen else ''}"
        f'<span class="interval">{escape(point.criterion)}</span></td>',
        _number(None, "rejects every pair")
        if math.isinf(point.threshold)
        else _number(point.threshold, f"{point.threshold:.4f}"),
        _number(rates.fmr, _percent(rates.fmr), rates.fmr_interval),
        _number(rates.fnmr, _percent(rates.fnmr), rates.fnmr_interval),
        _number(rates.false_accepts, f"{rates.false_accepts:,}"),
        _number(rates.misses, f"{rates.misses:,}"),
        f"<td>{carried}</td>",
    ]
    return f'<tr data-point="{escape(point.name)}"{" class=chosen" if chosen else ""}>{"".join(cells)}</tr>'


def _number(value: float | None, text: str, interval: Interval | None = None) -> str:
    shown = escape(text) if value is None else f'<data value="{value!r}">{escape(text)}</data>'
    if interval is not None:
        shown += f'<span class="interval">{_percent(interval[0])} to {_percent(interval[1])}</span>'
    return f'<td class="number">{shown}</td>'


def _percent(rate: float | None) -> str:
    """A rate as people read it: three digits, down to a thousandth of a percent.

    Examples
    --------
    >>> [_percent(rate) for rate in (None, 0.0, 0.00031, 0.0456, 0.19)]
    ['-', '0%', '0.031%', '4.56%', '19%']
    """
    return "-" if rate is None else f"{rate * 100:.3g}%"


def _metrics(metrics: Metrics, calibration: Calibration) -> str:
    facts = [
        ("pairs", f"{metrics.targets:,} targets, {metrics.non_targets:,} non-targets"),
        ("EER", f"{metrics.eer:.3%} (convex hull {metrics.eer_hull:.3%})"),
        *((f"minDCF, {cost.name}", f"{cost.normalised:.4f}") for cost in metrics.min_dcf),
        *((f"FNMR at FMR {rate.asked:g}", _rate_at(rate.fnmr, rate.supported)) for rate in metrics.fnmr_at_fmr),
        ("best F1, prior 0.01", f"{metrics.best_f1.f1:.4f}"),
        ("AUC", f"{metrics.auc:.6f}"),
    ]
    if calibration.llr is not None:
        facts.append(
            ("Cllr of the ratios", f"{calibration.llr.cllr:.4f} bits (at best {calibration.llr.min_cllr:.4f})")
        )
    return _facts(facts)


def _rate_at(fnmr: float, supported: bool) -> str:
    return f"{fnmr:.2%}" if supported else "not supported by so few pairs"


def _basis(calibration: Calibration) -> list[tuple[str, str]]:
    basis = calibration.basis
    unknown = basis.utterances_without_session
    sessions = f" ({unknown:,} recordings name no session)" if unknown else ""
    left_out = ", ".join(f"{count:,} {why}" for why, count in basis.left_out.items() if count)
    return [
        ("speakers", f"{basis.speakers:,}"),
        ("recordings", f"{basis.utterances:,}"),
        ("target pairs", f"{basis.targets:,} of {basis.targets_available:,}"),
        ("non-target pairs", f"{basis.non_targets:,} of {basis.non_targets_available:,}"),
        ("non-targets a target", f"{basis.ratio_reached:.4g} ({basis.ratio_asked:g} asked for)"),
        ("target pairs of one session", f"{basis.same_session_targets:,}{sessions}"),
        ("speakers with a capped number of pairs", f"{basis.speakers_capped:,}"),
        ("left out", left_out or "nothing"),
        ("seed", f"{basis.seed} ({basis.generator})"),
        ("model", calibration.model),
        ("fingerprint", calibration.fingerprint),
        ("made at", calibration.made_at),
    ]


def _search(search: SearchCalibration) -> list[tuple[str, str]]:
    facts = [
        ("threshold", f"{search.threshold:.4f}"),
        ("FPIR asked for", f"{search.fpir_asked:g}"),
        ("gallery", f"{search.gallery_size:,} speakers"),
        ("FPIR there", f"{_percent(search.fpir.rate)} ({_percent(search.fpir.low)} to {_percent(search.fpir.high)})"),
        ("searches for strangers", f"{search.fpir.searches:,}, by {search.fpir.speakers:,} speakers"),
    ]
    if search.fnir is not None:
        interval = f"{_percent(search.fnir.low)} to {_percent(search.fnir.high)}"
        facts.append(("FNIR there", f"{_percent(search.fnir.rate)} ({interval})"))
    row = search.row
    if row.pairs_fpir is not None and search.pairs_name is not None:
        facts.append((f"FPIR with {search.pairs_name}, the threshold for pairs", _percent(row.pairs_fpir)))
    return [*facts, ("seed", str(search.seed)), ("fingerprint", search.fingerprint), ("made at", search.made_at)]


def _galleries(search: SearchCalibration) -> str:
    asked = f"FPIR {search.fpir_asked:g}"
    heads = ["gallery", "FPIR", "FNIR", f"threshold for {asked} there", "FNIR at that"]
    if search.pairs_name is not None:
        heads.append(f"FPIR with {search.pairs_name}")
    rows = []
    for row in search.table:
        cells = [
            _number(row.gallery_size, f"{row.gallery_size:,}"),
            _number(row.fpir.rate, _percent(row.fpir.rate), (row.fpir.low, row.fpir.high)),
            _number(None, "-") if row.fnir is None else _number(row.fnir.rate, _percent(row.fnir.rate)),
            _number(row.own_threshold, f"{row.own_threshold:.4f}"),
            _number(row.own_fnir, _percent(row.own_fnir)),
        ]
        if search.pairs_name is not None:
            cells.append(_number(row.pairs_fpir, _percent(row.pairs_fpir)))
        chosen = " class=chosen" if row.gallery_size == search.gallery_size else ""
        rows.append(f"<tr{chosen}>{''.join(cells)}</tr>")
    head = "".join(f"<th class=number>{escape(name)}</th>" for name in heads)
    table = f'<table id="galleries"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(f"<tr><th scope=row>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f'<div class="wide"><table>{body}</table></div>'


def _warnings(evidence: Evidence, metrics: Metrics) -> str:
    calibration = evidence.calibration
    where = "" if calibration.held_out is None else ", where it was placed"
    texts = [f"{point.name}{where}: {point.note}" for point in calibration.points if point.note]
    if calibration.held_out_note:
        texts.append(calibration.held_out_note)
    if calibration.basis.utterances_without_session == calibration.basis.utterances:
        texts.append("the manifest names no sessions: pairs of one session may be among the targets, and they flatter")
    texts += metrics.warnings
    if evidence.search is not None and evidence.search.note:
        texts.append(f"search: {evidence.search.note}")
    if not texts:
        return ""
    items = "".join(f"<li>{escape(text)}</li>" for text in dict.fromkeys(texts))
    return f'<h2>Mind</h2><ul id="warnings">{items}</ul>'


def _figure(picture: Picture) -> str:
    source = base64.b64encode(picture.png).decode("ascii")
    return (
        f"<h2>{escape(picture.title)}</h2>"
        f'<figure><img alt="{escape(picture.alt)}" src="data:image/png;base64,{source}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )
