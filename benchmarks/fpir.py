"""Do search thresholds keep their false positive identification rate for people who were not there when they were made?

    python benchmarks/fpir.py [SPEECH_FOLDER]

Simulated: thousands of speakers, some like many others, some unlike themselves. A threshold is made on some of them
and tried on as many fresh ones, in galleries of the same size. Real, where a folder with ``train.tsv`` and ``dev.tsv``
is given: cuts of 4 s, speakers split into halves at random again and again; the threshold is made on one half, as
`vecsv calibrate --search` makes it, and tried on the other. Beside it stands what the threshold for pairs (FMR 1% on
the same half) lets through.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

import vecsv
from vecsv.calibration.counts import error_counts, reported_threshold, threshold_at_fmr
from vecsv.calibration.open_set import false_negatives, false_positives, search_rate, threshold_at_fpir
from vecsv.calibration.search_run import SearchSettings
from vecsv.calibration.search_scores import search_scores
from vecsv.calibration.utterances import Utterances, read_utterances
from vecsv.manifest import ManifestRow, read_manifest
from vecsv.store.reader import Snapshot

CUT_S = 4.0
SHORTEST_S = 3.0
CUTS = 4
FMR = 0.01
PAIRS = 500_000


@dataclass(frozen=True)
class Outcome:
    """One threshold, made on some speakers and tried on others."""

    promised: tuple[float, float]
    fpir: float
    fnir: float
    pairs_fpir: float
    false_alarm: NDArray[np.float64]
    searches: NDArray[np.float64]


def tried(made_on: Utterances, fresh: Utterances, size: int, fpir: float, people: int, seed: int) -> Outcome:
    """Make a threshold on one set of speakers and search the other set for its own, left out."""
    scores = search_scores(made_on, [size], seed=seed, probes_per_speaker=50)
    threshold = threshold_at_fpir(scores.stranger[:, 0], fpir)
    rate = search_rate(false_positives(scores.stranger[:, 0], threshold), scores.speakers, scores.closest[:, 0])
    found = search_scores(fresh, [size], seed=seed + 1, probes_per_speaker=50)
    alarms = false_positives(found.stranger[:, 0], threshold)
    names = np.unique(fresh.speakers)[found.speakers]
    mated = found.mated
    return Outcome(
        promised=(rate.low, rate.high),
        fpir=float(alarms.mean()),
        fnir=float(false_negatives(found.mate[mated], found.rival[mated, 0], threshold).mean()),
        pairs_fpir=float(false_positives(found.stranger[:, 0], pairs_threshold(made_on, seed)).mean()),
        false_alarm=np.bincount(names, weights=alarms, minlength=people).astype(np.float64),
        searches=np.bincount(names, minlength=people).astype(np.float64),
    )


def pairs_threshold(utterances: Utterances, seed: int) -> float:
    """Threshold at the FMR, on random pairs of different recordings."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(len(utterances.speakers), size=(2, PAIRS))
    apart = utterances.recordings[first] != utterances.recordings[second]
    first, second = first[apart], second[apart]
    scores = np.einsum("ij,ij->i", utterances.vectors[first], utterances.vectors[second])
    counts = error_counts(scores, utterances.speakers[first] == utterances.speakers[second])
    return reported_threshold(counts, threshold_at_fmr(counts, FMR))


def simulated(speakers: int, utterances: int, rng: np.random.Generator, dim: int = 64) -> Utterances:
    """Speakers in kindreds of more and less likeness, whose utterances scatter more and less."""
    kindred = np.random.default_rng(0).standard_normal((60, dim))
    likeness = rng.beta(2, 5, speakers)[:, None]
    means = likeness * kindred[rng.integers(60, size=speakers)] + (1 - likeness) * rng.standard_normal((speakers, dim))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    scatter = np.repeat(rng.lognormal(np.log(0.5), 0.35, speakers), utterances)[:, None]
    vectors = np.repeat(means, utterances, axis=0)
    vectors = vectors + scatter * rng.standard_normal(vectors.shape) / np.sqrt(dim)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    count = len(vectors)
    return Utterances(
        row_ids=np.arange(count),
        vectors=vectors.astype(np.float32),
        speakers=np.repeat(np.arange(speakers), utterances),
        sessions=np.full(count, -1),
        recordings=np.arange(count),
        start_s=np.zeros(count),
        end_s=np.full(count, np.inf),
    )


def of_speakers(utterances: Utterances, chosen: NDArray[np.int64]) -> Utterances:
    """The utterances of some speakers."""
    rows = np.isin(utterances.speakers, chosen)
    return replace(utterances, **{field.name: getattr(utterances, field.name)[rows] for field in fields(Utterances)})


def simulation(repetitions: int) -> None:
    """Thresholds for FPIR 1% on 3,000 simulated speakers, tried on 3,000 others."""
    print(f"simulated: made on 3,000 speakers of 3 utterances, tried on 3,000 fresh ones, {repetitions} times; FPIR 1%")
    for size in (300, 1000, 2999):
        rng = np.random.default_rng(size)
        outcomes = [
            tried(simulated(3000, 3, rng), simulated(3000, 3, rng), size, 0.01, 3000, seed)
            for seed in range(repetitions)
        ]
        rates = np.array([one.fpir for one in outcomes])
        held = np.mean([one.promised[0] <= one.fpir <= one.promised[1] for one in outcomes])
        print(
            f"  gallery {size:5,d}: FPIR on fresh speakers mean {rates.mean():.2%}, {rates.min():.2%} to "
            f"{rates.max():.2%} (within its 90% interval {held:.0%}); "
            f"FNIR {np.mean([one.fnir for one in outcomes]):.1%};"
            f" threshold for pairs (FMR 1%): FPIR {np.mean([one.pairs_fpir for one in outcomes]):.1%}",
            flush=True,
        )


def write_cuts(speech: Path, manifest: Path) -> None:
    """List cuts of 4 s, not overlapping and from one recording four at most, of all recordings of at least 3 s."""
    lines = ["path\tspeaker\tstart_s\tend_s"]
    for name in ("train.tsv", "dev.tsv"):
        for row in read_manifest(speech / name):
            if not isinstance(row, ManifestRow):
                continue
            seconds = soundfile.info(row.path).duration
            starts = np.arange(CUTS) * CUT_S
            lines += [
                f"{row.path.resolve()}\t{row.speaker}\t{start}\t{min(start + CUT_S, seconds):.3f}"
                for start in starts[starts + SHORTEST_S <= seconds]
            ]
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")


def real(speech: Path, splits: int) -> None:
    """Thresholds made on one random half of the speakers and tried on the other, again and again."""
    with tempfile.TemporaryDirectory() as scratch:
        store = vecsv.Store(Path(scratch) / "store")
        write_cuts(speech, Path(scratch) / "cuts.tsv")
        store.embed(Path(scratch) / "cuts.tsv")
        utterances = read_utterances(Snapshot.open(store.folder))
        people = len(np.unique(utterances.speakers))
        size = people // 2 - 1
        print(f"real: {len(utterances.speakers):,} cuts of {CUT_S:g} s by {people} speakers, {splits} random halves")
        for fpir in (0.05, 0.1):
            rng = np.random.default_rng(1)
            outcomes = []
            for seed in range(splits):
                order = rng.permutation(people)
                one, other = (of_speakers(utterances, part) for part in (order[: people // 2], order[people // 2 :]))
                outcomes.append(tried(one, other, size, fpir, people, 2 * seed))
            report(outcomes, fpir, size)
        store.calibrate()
        for fpir in (0.05, 0.01, 0.0005):
            try:
                made = store.calibrate_search(SearchSettings(fpir=fpir))
                beside = f"threshold for pairs in force: FPIR {made.row.pairs_fpir:.1%}"
                print(f"  whole store, gallery {made.gallery_size}, FPIR {fpir:g}: {made.note}; {beside}")
            except vecsv.VecsvError as error:
                print(f"  whole store, FPIR {fpir:g}: error: {error.what}")


def report(outcomes: list[Outcome], fpir: float, size: int) -> None:
    """Print the mean over the splits, with a 90% bootstrap interval by speaker."""
    alarms = np.sum([one.false_alarm for one in outcomes], axis=0)
    searches = np.sum([one.searches for one in outcomes], axis=0)
    weights = np.random.default_rng(2).multinomial(len(alarms), np.full(len(alarms), 1 / len(alarms)), 2000)
    low, high = np.quantile((weights @ alarms) / (weights @ searches), (0.05, 0.95))
    rates = np.array([one.fpir for one in outcomes])
    held = np.mean([one.promised[0] <= one.fpir <= one.promised[1] for one in outcomes])
    print(
        f"  FPIR {fpir:.0%} asked for, gallery {size}: mean {rates.mean():.2%} (90% interval by speaker {low:.2%} to "
        f"{high:.2%}; single splits {np.quantile(rates, 0.05):.2%} to {np.quantile(rates, 0.95):.2%}, within their own "
        f"90% interval {held:.0%}); FNIR {np.mean([one.fnir for one in outcomes]):.1%}, flattered by mates that are "
        f"cuts of the same recording; threshold for pairs (FMR 1%): "
        f"FPIR {np.mean([one.pairs_fpir for one in outcomes]):.1%}",
        flush=True,
    )


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description="Measure the FPIR of search thresholds on fresh speakers.")
    parser.add_argument("speech", type=Path, nargs="?", help="folder with train.tsv and dev.tsv and their recordings")
    parser.add_argument("--repetitions", type=int, default=10, help="of each simulation")
    parser.add_argument("--splits", type=int, default=200, help="of the real speakers")
    chosen = parser.parse_args()
    simulation(chosen.repetitions)
    if chosen.speech is not None:
        real(chosen.speech, chosen.splits)


if __name__ == "__main__":
    main()
