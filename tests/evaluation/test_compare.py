from pathlib import Path

import numpy as np
import pytest

from vecsv.calibration.bootstrap import paired_bootstrap
from vecsv.calibration.evaluate import evaluate
from vecsv.errors import TrialListError
from vecsv.evaluation.compare import Comparison, compare_runs
from vecsv.evaluation.record import Basis, Evaluation
from vecsv.evaluation.runs import write_run
from vecsv.evaluation.scoring import ScoredTrials, Side

SPEAKERS, UTTERANCES = 30, 4


def keep(folder: Path, *, apart: float, kept: slice = slice(None), flip: int | None = None, noise: int = 0) -> Path:
    """Keep a made-up system's scores: `apart` is how far targets lie above non-targets, in standard deviations."""
    speakers = np.arange(SPEAKERS * UTTERANCES) // UTTERANCES
    first, second = (side[kept] for side in np.triu_indices(speakers.size, 1))
    labels = speakers[first] == speakers[second]
    # The hard pairs are the same for every system.
    scores = np.random.default_rng(7).normal(0, 0.1, 10_000)[:7140][kept] + 0.1 * apart * labels
    scores = (scores + np.random.default_rng(noise).normal(0, 0.02, scores.size)).astype(np.float32)
    if flip is not None:
        labels = labels.copy()
        labels[flip] = ~labels[flip]
    sides = tuple(Side(f"{at}.wav", None, {}) for at in range(speakers.size))
    trials = ScoredTrials(sides, first, second, labels, scores)
    basis = Basis("made up", "", len(sides), SPEAKERS, 0, 0, None)
    metrics = evaluate(scores, labels)
    write_run(folder, Evaluation("model", "0" * 64, basis, trials, speakers, metrics, None, (), (), ()))
    return folder


def difference(found: Comparison, name: str) -> tuple[float, float, float, float | None, float | None, str | None]:
    (one,) = (one for one in found.differences if one.name == name)
    return one.first, one.second, one.difference, one.low, one.high, one.better


def test_the_better_system_is_named_with_the_interval_of_the_difference(tmp_path: Path) -> None:
    good, bad = keep(tmp_path / "good", apart=3.0), keep(tmp_path / "bad", apart=1.5, noise=1)
    for runs, better in (((good, bad), "first"), ((bad, good), "second")):
        found = compare_runs(*runs)
        first, second, apart, low, high, named = difference(found, "eer")
        assert low is not None and high is not None
        assert apart == second - first
        assert low < apart < high
        assert named == better
        assert found.speakers == SPEAKERS


def test_figures_and_intervals_are_those_of_the_kept_scores(tmp_path: Path) -> None:
    one, two = keep(tmp_path / "one", apart=2), keep(tmp_path / "two", apart=2.2, noise=1)
    found = compare_runs(one, two, seed=3)
    from vecsv.evaluation.runs import read_run

    runs = read_run(one), read_run(two)
    metrics = [evaluate(run.scores, run.labels) for run in runs]
    expected = paired_bootstrap(
        runs[0].enrol_speakers, runs[0].test_speakers, runs[0].scores, runs[1].scores, runs[0].labels, seed=3
    )
    assert difference(found, "eer")[:5] == (
        metrics[0].eer,
        metrics[1].eer,
        metrics[1].eer - metrics[0].eer,
        expected.eer.low,
        expected.eer.high,
    )
    assert difference(found, "min-dcf p=0.01")[3:5] == (expected.min_dcf.low, expected.min_dcf.high)
    assert difference(found, "fnmr at fmr 0.01")[0] == metrics[0].fnmr_at_fmr[0].fnmr
    assert difference(found, "1 - auc")[2:] == (metrics[0].auc - metrics[1].auc, None, None, None)


def test_a_system_is_not_told_apart_from_itself(tmp_path: Path) -> None:
    found = compare_runs(keep(tmp_path / "one", apart=2), keep(tmp_path / "two", apart=2))
    assert {one.difference for one in found.differences} == {0.0}
    assert difference(found, "eer")[5] == difference(found, "min-dcf p=0.01")[5] == "neither"


def test_a_missing_trial_is_named(tmp_path: Path) -> None:
    one, two = keep(tmp_path / "one", apart=2), keep(tmp_path / "two", apart=2, kept=slice(5, None))
    with pytest.raises(
        TrialListError, match=r"one: .* trial 1 is '0\.wav' against '1\.wav' \(target\) here and '0\.wav'"
    ):
        compare_runs(one, two)
    shorter = keep(tmp_path / "shorter", apart=2, kept=slice(7000))
    with pytest.raises(TrialListError, match=r"trial 7001 is .* here and missing there"):
        compare_runs(one, shorter)


def test_another_label_is_another_trial(tmp_path: Path) -> None:
    one, two = keep(tmp_path / "one", apart=2), keep(tmp_path / "two", apart=2, flip=100)
    with pytest.raises(TrialListError, match=r"trial 101 is .*\(non-target\) here and .*\(target\) there"):
        compare_runs(one, two)
