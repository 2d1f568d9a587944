"""Making a report of a store's calibration: figures drawn, the page written, all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vecsv.calibration.counts import error_counts
from vecsv.calibration.evaluate import Metrics, evaluate
from vecsv.durable import write_bytes, write_text
from vecsv.errors import UsageError
from vecsv.report.evidence import Evidence, read_evidence
from vecsv.report.figures import det_figure, errors_figure, reliability_figure, scores_figure
from vecsv.report.gallery import gallery_figure
from vecsv.report.page import Picture, page

PAGE = "report.html"
FIGURES = ("errors.png", "det.png", "scores.png", "llr.png", "gallery.png")


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes
    ----------
    page : Path
        The HTML file; it holds its figures.
    figures : tuple of Path
        The same figures as PNG files.
    """

    page: Path
    figures: tuple[Path, ...]


def write_report(folder: Path, out: Path) -> Report:
    """Write a report of the calibration in force.

    Parameters
    ----------
    folder : Path
        The store.
    out : Path
        Folder for ``report.html`` and its PNG files; made if need be. Files of an earlier report are replaced.

    Raises
    ------
    CalibrationError
        When the store has no calibration, or one taken over without its pairs.
    MissingDependencyError
        When matplotlib is not installed.
    UsageError
        When `out` is not a folder.
    """
    if out.exists() and not out.is_dir():
        raise UsageError("is not a folder", where=str(out))
    evidence = read_evidence(folder)
    metrics = evaluate(evidence.scores, evidence.labels)
    pictures = list(_pictures(evidence, metrics))
    text = page(evidence, metrics, pictures)
    for picture in pictures:
        write_bytes(out / picture.file, picture.png)
    for name in set(FIGURES) - {picture.file for picture in pictures}:
        # Of an earlier report on a calibration that had more to show.
        (out / name).unlink(missing_ok=True)
    write_text(out / PAGE, text)
    return Report(out / PAGE, tuple(out / picture.file for picture in pictures))


def _pictures(evidence: Evidence, metrics: Metrics) -> Iterable[Picture]:
    calibration = evidence.calibration
    counts = error_counts(evidence.scores, evidence.labels)
    points = [(point.name, point.threshold) for point in calibration.points]
    chosen = calibration.point()
    yield Picture(
        FIGURES[0],
        "Errors against the threshold",
        f"Curves of FMR, FNMR, detection cost, precision, recall and F1 against the threshold, with {len(points)} "
        "chosen thresholds marked.",
        "A higher threshold lets fewer strangers through (FMR) and refuses more of the right people (FNMR). Dotted "
        "lines are the thresholds of the table, the one in force in bold; dots are the figures there. Precision and F1 "
        "are for one target in a hundred.",
        errors_figure(counts, points, calibration.in_force),
    )
    yield Picture(
        FIGURES[1],
        "Detection error trade-off",
        f"FNMR against FMR on probit axes; the equal error rate is {metrics.eer:.2%}.",
        "Both errors against each other; closer to the lower left is better. Left of and below the dotted lines "
        "there are fewer than 30 errors: the curve is rough there.",
        det_figure(counts, points, metrics.eer),
    )
    yield Picture(
        FIGURES[2],
        "Scores",
        f"Histograms of the scores of {metrics.targets:,} targets and {metrics.non_targets:,} non-targets, and the "
        f"threshold in force at {chosen.threshold:.4f}.",
        "Each histogram has area 1, so that the few targets can be seen beside the many non-targets.",
        scores_figure(evidence.scores, evidence.labels, (chosen.name, chosen.threshold)),
    )
    if evidence.ratios is not None and calibration.llr is not None:
        yield Picture(
            FIGURES[3],
            "Reliability of the likelihood ratios",
            "Observed against computed log-likelihood ratios in bins, beside the diagonal.",
            "A ratio of 3 should be seen where targets are e^3 times as frequent as non-targets, as shares of their "
            f"kinds: then the bins lie on the diagonal. Cllr {calibration.llr.cllr:.4f} bits, "
            f"{calibration.llr.min_cllr:.4f} at best.",
            reliability_figure(evidence.ratios, evidence.labels),
        )
    if evidence.search is not None:
        yield Picture(
            FIGURES[4],
            "Searches among many",
            f"FPIR and FNIR against the number of speakers in the gallery, for the search threshold "
            f"{evidence.search.threshold:.4f}.",
            "Share of searches for strangers that return somebody (FPIR), and of searches for people who are there "
            "that miss them (FNIR). Bars: 90%, by speakers. False alarms grow with the gallery: a threshold for "
            "pairs is none for searches.",
            gallery_figure(evidence.search),
        )
