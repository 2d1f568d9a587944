from __future__ import annotations

import numpy as np
import pytest

from vecsv.calibration import allpairs
from vecsv.calibration.bootstrap import speaker_bootstrap
from vecsv.calibration.evaluate import evaluate
from vecsv.calibration.histograms import ScoreHistograms
from vecsv.errors import CalibrationError

THRESHOLDS = (0.3, 0.5)


def _simulated(count: int, speakers: int, dim: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    codes = random.integers(0, speakers, count)
    vectors = random.standard_normal((speakers, dim))[codes] + random.standard_normal((count, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), codes


def _brute_force(vectors: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    first, second = np.triu_indices(len(codes), 1)
    scores = np.array([vectors[i] @ vectors[j] for i, j in zip(first, second, strict=True)], dtype=np.float32)
    return codes[first], codes[second], scores, codes[first] == codes[second]


@pytest.fixture(params=[1024, 7])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of many rows, and of so few that speakers lie across them."""
    monkeypatch.setattr(allpairs, "_ROWS", request.param)
    monkeypatch.setattr(allpairs, "_COLUMNS", 4 * request.param + 1)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("speakers", [2, 9, 60])
def test_exact_scores_are_those_of_every_pair(speakers: int) -> None:
    vectors, codes = _simulated(90, speakers)
    _, _, scores, labels = _brute_force(vectors, codes)
    targets, non_targets = allpairs.exact(vectors, codes)
    assert np.allclose(np.sort(targets), np.sort(scores[labels]), rtol=0, atol=1e-6)
    assert np.allclose(np.sort(non_targets), np.sort(scores[~labels]), rtol=0, atol=1e-6)
    assert targets.dtype == non_targets.dtype == np.float32


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("workers", [1, 3])
def test_histogram_counts_every_pair_once(workers: int) -> None:
    vectors, codes = _simulated(90, 9)
    # Multiples of 1/256 in a few dimensions have inner products that float32 holds exactly.
    vectors = np.round(vectors[:, :4] * 100).astype(np.float32) / 256
    _, _, scores, labels = _brute_force(vectors, codes)
    found = allpairs.histogram(vectors, codes, workers=workers)
    expected = ScoreHistograms.empty().add(scores, labels)
    for name in ("targets", "non_targets", "highest_non_targets"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.usefixtures("rows")
def test_reduced_pairs_give_the_intervals_of_the_listed_trials() -> None:
    vectors, codes = _simulated(90, 9)
    vectors = np.round(vectors[:, :4] * 100).astype(np.float32) / 256
    first, second, scores, labels = _brute_force(vectors, codes)
    metrics, intervals = allpairs.evaluate_all_pairs(vectors, codes, thresholds=THRESHOLDS, replicates=50)
    listed = speaker_bootstrap(first, second, scores, labels, thresholds=THRESHOLDS, replicates=50)
    assert metrics == evaluate(scores, labels)
    ours, theirs = (
        [[one.value, one.low, one.high] for one in (found.eer, found.min_dcf, *found.fmr, *found.fnmr)]
        for found in (intervals, listed)
    )
    assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-9)
    assert intervals.speakers == 9


def test_names_of_speakers_may_be_anything_that_sorts() -> None:
    vectors, codes = _simulated(60, 6)
    by_name = allpairs.exact(vectors, np.array([f"speaker {9 - code}" for code in codes]))
    by_code = allpairs.exact(vectors, codes)
    for one, other in zip(by_name, by_code, strict=True):
        assert np.allclose(np.sort(one), np.sort(other), rtol=0, atol=1e-6)


def test_progress_ends_with_all_blocks() -> None:
    seen: list[tuple[int, int]] = []
    allpairs.histogram(*_simulated(60, 6), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == len(seen)


@pytest.mark.parametrize("function", [allpairs.exact, allpairs.histogram, allpairs.evaluate_all_pairs])
def test_what_has_not_both_kinds_of_pair_is_an_error(function: object) -> None:
    vectors, _ = _simulated(4, 2)
    assert callable(function)
    with pytest.raises(CalibrationError, match="0 targets and 6 non-targets"):
        function(vectors, np.arange(4))
    with pytest.raises(CalibrationError, match="6 targets and 0 non-targets"):
        function(vectors, np.zeros(4))


def test_an_embedding_that_is_not_finite_is_an_error_that_names_it() -> None:
    vectors, codes = _simulated(40, 4)
    vectors[17, 3] = np.nan
    with pytest.raises(CalibrationError, match="utterance 17: 1 embeddings are not finite"):
        allpairs.exact(vectors, codes)


def test_speakers_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(CalibrationError, match="do not go with"):
        allpairs.exact(_simulated(40, 4)[0], np.arange(39))
