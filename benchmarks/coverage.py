"""How often the speaker bootstrap's 90% intervals hold the truth, on simulated speakers whose truth is known.

    python benchmarks/coverage.py [--repetitions 1000]

A population has speakers with a mean direction and a spread around it. In the even one they differ in nothing else;
in the uneven one some vary much (goats: often missed) and some lie near a direction of many (wolves and lambs: often
mistaken), by heavy-tailed amounts. The truth is that of forty thousand speakers. A repetition draws speakers afresh,
3 to 9 utterances each, takes all pairs, and asks for intervals at two thresholds fixed beforehand, with true FMR 1% and
0.1%. Beside it stands what drawing trials as if they were independent gives (Clopper-Pearson). Ends with 1 when the
coverage of EER, FMR or FNMR leaves 85-97%. Figures in brackets are not judged: the minimum cost, which is
too good of few trials, and an FMR that fewer than 30 false accepts are expected for.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from vecsv.calibration.bootstrap import Interval, speaker_bootstrap
from vecsv.calibration.corners import corner_counts
from vecsv.calibration.metrics import eer, min_dcf
from vecsv.calibration.operating_points import rate_interval

DIMENSIONS = 24
FALSE_MATCH_RATES = (0.01, 0.001)
SPEAKERS = (20, 40, 100)
BETWEEN = (0.85, 0.97)
# The population is looked at in groups, all pairs of each.
_GROUPS, _GROUP = 8, 5000
# A minimum over few trials is too good, which no resampling knows of; it is printed and not judged.
_UNJUDGED = "minDCF"
# A rate of which fewer false accepts than these are expected (rule of 30) has intervals that are too wide: errors come
# whole. It is printed in brackets and not judged.
_FEWEST_ERRORS = 30
_MEAN_UTTERANCES = 6


@dataclass(frozen=True)
class Population:
    """How simulated speakers differ: share of their own variance, of the common direction, of the spreads."""

    name: str
    noise: float
    pull: float
    spread: float

    def draw(self, random: np.random.Generator, speakers: int, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors of new speakers and whose they are."""
        means = random.standard_normal((speakers, DIMENSIONS))
        means[:, 0] += self.pull * random.gamma(1.0, 1.0, speakers) * np.sqrt(DIMENSIONS)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        width = self.noise * np.exp(random.normal(0.0, self.spread, speakers)) / np.sqrt(DIMENSIONS)
        codes = np.repeat(np.arange(speakers), counts)
        vectors = means[codes] + width[codes, None] * random.standard_normal((codes.size, DIMENSIONS))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors.astype(np.float32), codes


POPULATIONS = (Population("even", 0.9, 0.0, 0.0), Population("uneven", 0.9, 0.25, 0.35))


@dataclass(frozen=True)
class Truth:
    """Figures of a population, at thresholds placed for two false match rates."""

    thresholds: tuple[float, ...]
    eer: float
    min_dcf: float
    fnmr: tuple[float, ...]


def truth_of(population: Population) -> Truth:
    """Look at very many speakers: two utterances of each for the targets, all pairs of groups for the non-targets."""
    random = np.random.default_rng(2024)
    targets, tails, total = [], [], 0
    for _ in range(_GROUPS):
        vectors, codes = population.draw(random, _GROUP, np.full(_GROUP, 2))
        targets.append(np.einsum("ij,ij->i", vectors[::2], vectors[1::2]))
        one = vectors[::2]
        for start in range(0, _GROUP, 1000):
            scores = one[start : start + 1000] @ one.T
            scores = scores[np.triu_indices(len(scores), start + 1, _GROUP)]
            total += scores.size
            # A histogram would round the thresholds; the upper part is all that is needed of so many.
            tails.append(scores[scores > np.quantile(scores[:100_000], 0.7)])
        del codes
    found = np.sort(np.concatenate(targets))
    tail = np.sort(np.concatenate(tails))
    # What lies below is below every threshold of interest: only its number matters.
    non_targets = np.concatenate([np.full(total - tail.size, -1, np.float32), tail])
    thresholds = tuple(float(non_targets[-int(rate * total)]) for rate in FALSE_MATCH_RATES)
    counts = corner_counts(found, non_targets)
    fnmr = tuple(float(np.searchsorted(found, np.float32(at)) / found.size) for at in thresholds)
    return Truth(thresholds, eer(counts), min_dcf(counts, 0.01).normalised, fnmr)


def answers(
    population: Population, truth: Truth, speakers: int, repetitions: int, seed: int
) -> Iterator[tuple[str, float, Interval]]:
    """Name, true value and interval of every figure of every repetition."""
    for repetition in range(repetitions):
        random = np.random.default_rng([seed, speakers, repetition])
        vectors, codes = population.draw(random, speakers, random.integers(3, 10, speakers))
        first, second = np.triu_indices(codes.size, 1)
        labels = codes[first] == codes[second]
        scores = (vectors @ vectors.T)[first, second]
        found = speaker_bootstrap(
            codes[first],
            codes[second],
            scores,
            labels,
            thresholds=truth.thresholds,
            replicates=300,
            seed=repetition,
        )
        yield "EER", truth.eer, found.eer
        yield "minDCF(0.01)", truth.min_dcf, found.min_dcf
        for place, rate in enumerate(FALSE_MATCH_RATES):
            yield f"FMR at {rate:g}", rate, found.fmr[place]
            yield f"FNMR at {rate:g}", truth.fnmr[place], found.fnmr[place]
            accepted = scores >= np.float32(truth.thresholds[place])
            for name, right, kind, errors in (
                ("FMR", rate, ~labels, accepted),
                ("FNMR", truth.fnmr[place], labels, ~accepted),
            ):
                count, trials = int(np.count_nonzero(errors & kind)), int(np.count_nonzero(kind))
                low, high = rate_interval(count, trials)
                yield f"{name} at {rate:g}, trials", right, Interval(count / trials, low, high)


def _too_few(name: str, speakers: int) -> bool:
    pairs = speakers * (speakers - 1) / 2 * _MEAN_UTTERANCES**2
    return any(name == f"FMR at {rate:g}" and rate * pairs < _FEWEST_ERRORS for rate in FALSE_MATCH_RATES)


def main() -> None:
    """Measure, print, and end with 1 when a coverage is out of bounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    broken = []
    for population in POPULATIONS:
        truth = truth_of(population)
        print(f"{population.name} speakers: EER {truth.eer:.4f}, minDCF(0.01) {truth.min_dcf:.4f}, ", end="")
        print(
            ", ".join(f"FNMR {rate:.4f} at FMR {at:g}" for rate, at in zip(truth.fnmr, FALSE_MATCH_RATES, strict=True))
        )
        print(f"  {'90% interval of':24}" + "".join(f"{count:>8} speakers" for count in SPEAKERS), flush=True)
        table: dict[str, list[str]] = defaultdict(list)
        for speakers in SPEAKERS:
            held: dict[str, list[bool]] = defaultdict(list)
            for name, right, interval in answers(population, truth, speakers, given.repetitions, given.seed):
                held[name].append(interval.low <= right <= interval.high)
            for name, each in held.items():
                share = float(np.mean(each))
                judged = "trials" not in name and not name.startswith(_UNJUDGED) and not _too_few(name, speakers)
                table[name].append(f"{share:16.1%} " if judged or "trials" in name else f"{f'({share:.1%})':>17}")
                if judged and not BETWEEN[0] <= share <= BETWEEN[1]:
                    broken.append(f"{population.name}, {speakers} speakers, {name}: {share:.1%}")
        for name in sorted(table, key=lambda name: ("trials" in name, name)):
            print(f"  {name:24}" + "".join(table[name]), flush=True)
    print(f"{given.repetitions} repetitions each; bounds {BETWEEN[0]:.0%} to {BETWEEN[1]:.0%}: ", end="")
    print("; ".join(broken) or "all kept")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
