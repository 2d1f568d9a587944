from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calibration import reference
from tests.calibration.reference import counted, joined, priors, roc, trials
from vecsv.calibration.counts import error_counts, nearest_rates
from vecsv.calibration.metrics import auc, best_f1, cllr, eer, eer_hull, min_cllr, min_dcf, precision_recall_f1
from vecsv.errors import CalibrationError, UsageError

Trials = tuple[list[float], list[float]]

# Worked by hand. Targets, non-targets; EER, EER on the hull, AUC; minimum DCF at 0.01 and best F1 at 0.5, each with its
# threshold.
HALF = Fraction(1, 2)
BY_HAND = {
    "perfect": ([3, 4], [1, 2], 0, 0, 1, (0, 3), (1, 3)),
    "inverted": ([1, 2], [3, 4], 1, HALF, 0, (1, math.inf), (Fraction(2, 3), 1)),
    "constant": ([5, 5, 5], [5], HALF, HALF, HALF, (1, math.inf), (Fraction(2, 3), 5)),
    # At 2: FMR 1/2, FNMR 0; at 3: FMR 0, FNMR 1/3. The lines cross where 1/2 - x = 2x/3, x = 3/10: FNMR 2/3 * 3/10.
    "one tie": ([2, 3, 3], [1, 2], Fraction(1, 5), Fraction(1, 5), Fraction(11, 12), (Fraction(1, 3), 3), None),
    # FMR and FNMR: 1, 0 at 1; 2/3, 0 at 2; 2/3, 1/3 at 3; 1/3, 1/3 at 5. The hull goes straight from (2/3, 0) to
    # (0, 1/3) at 6, so it has 2/3 - 2x = x.
    "dented": (
        [2, 6, 7],
        [1, 3, 5],
        Fraction(1, 3),
        Fraction(2, 9),
        Fraction(7, 9),
        (Fraction(1, 3), 6),
        (Fraction(4, 5), 6),
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_sets_worked_by_hand_come_out_exactly(name: str) -> None:
    targets, non_targets, rate, hull_rate, area, (cost, at_cost), f1 = BY_HAND[name]
    counts = counted(targets, non_targets)
    assert eer(counts) == float(rate)
    assert eer_hull(counts) == pytest.approx(float(hull_rate), abs=1e-15)
    assert auc(counts) == float(area)
    best = min_dcf(counts, 0.01)
    assert (best.normalised, best.threshold) == (float(cost), at_cost)
    if f1 is not None:
        found = best_f1(counts, 0.5)
        assert (found.f1, found.threshold) == (float(f1[0]), f1[1])


@given(trials)
def test_eer_is_the_exact_crossing_of_the_curve(pair: Trials) -> None:
    assert eer(counted(*pair)) == float(reference.crossing(roc(*pair)))


@given(trials)
def test_eer_hull_is_the_crossing_of_the_convex_hull(pair: Trials) -> None:
    expected = reference.crossing(reference.hull(roc(*pair)))
    assert eer_hull(counted(*pair)) == pytest.approx(float(expected), abs=1e-14)


@given(trials)
def test_eer_hull_exceeds_neither_eer_nor_a_half(pair: Trials) -> None:
    counts = counted(*pair)
    assert 0 <= eer_hull(counts) <= min(eer(counts), 0.5) + 1e-15


@given(trials)
def test_auc_is_the_share_of_pairs_in_order(pair: Trials) -> None:
    assert auc(counted(*pair)) == float(reference.area(*pair))


@given(trials, priors, st.sampled_from([1, 10, Fraction(1, 3)]), st.sampled_from([1, 7]))
def test_min_dcf_is_the_lowest_cost_at_the_highest_threshold(
    pair: Trials, prior: Fraction, c_miss: Fraction, c_fa: Fraction
) -> None:
    best = min_dcf(counted(*pair), prior, c_miss, c_fa)
    raw, threshold = reference.lowest_cost(roc(*pair), prior, Fraction(c_miss), Fraction(c_fa))
    normaliser = min(c_miss * prior, c_fa * (1 - prior))
    assert (best.raw, best.threshold) == (float(raw), threshold)
    assert best.normalised == float(raw / normaliser) <= 1


@given(trials, priors)
def test_best_f1_is_the_highest_f1_at_the_highest_threshold(pair: Trials, prior: Fraction) -> None:
    best = best_f1(counted(*pair), prior)
    f1, threshold, precision, recall = reference.highest_f1(roc(*pair), prior)
    assert (best.f1, best.threshold, best.precision, best.recall) == (
        float(f1),
        threshold,
        float(precision),
        float(recall),
    )


@given(trials, priors)
def test_precision_recall_and_f1_at_the_best_threshold_are_those_reported(pair: Trials, prior: Fraction) -> None:
    counts = counted(*pair)
    best = best_f1(counts, prior)
    assert precision_recall_f1(counts, best.index, prior) == (best.precision, best.recall, best.f1)


def test_best_f1_sees_a_tie_that_floating_point_breaks() -> None:
    # At 2 precision is 3/4 and recall 1, at 3 precision is 1 and recall 3/4.
    best = best_f1(counted([2, 3, 5, 6], [1, 1, 2]), 0.5)
    assert (best.f1, best.threshold) == (6 / 7, 3)


def test_nothing_accepted_has_no_precision_and_an_f1_of_nothing() -> None:
    counts = counted([0.5], [0.25])
    assert precision_recall_f1(counts, counts.thresholds.size - 1, 0.01) == (None, 0.0, 0.0)


@given(trials, priors)
def test_metrics_do_not_change_under_a_growing_map_of_the_scores(pair: Trials, prior: Fraction) -> None:
    before = counted(*pair)
    after = counted(*([math.exp(3 * score) - 7 for score in kind] for kind in pair))
    for metric in (eer, eer_hull, auc, min_cllr, nearest_rates):
        assert metric(before) == metric(after)
    assert min_dcf(before, prior).index == min_dcf(after, prior).index
    assert best_f1(before, prior).index == best_f1(after, prior).index


@given(trials, priors)
def test_metrics_of_swapped_classes_and_negated_scores_are_the_same(pair: Trials, prior: Fraction) -> None:
    targets, non_targets = pair
    counts = counted(targets, non_targets)
    swapped = counted([-score for score in non_targets], [-score for score in targets])
    assert eer(counts) == pytest.approx(eer(swapped), abs=1e-15)
    assert eer_hull(counts) == pytest.approx(eer_hull(swapped), abs=1e-14)
    assert auc(counts) == auc(swapped)
    assert min_cllr(counts) == pytest.approx(min_cllr(swapped), abs=1e-12)
    assert min_dcf(counts, prior).raw == min_dcf(swapped, 1 - prior).raw


@given(trials)
def test_auc_of_swapped_labels_is_the_complement(pair: Trials) -> None:
    targets, non_targets = pair
    assert auc(counted(targets, non_targets)) == pytest.approx(1 - auc(counted(non_targets, targets)), abs=1e-15)


@given(trials)
def test_min_cllr_is_a_number_of_bits_up_to_one(pair: Trials) -> None:
    assert 0 <= min_cllr(counted(*pair)) <= 1 + 1e-12


@given(trials)
def test_no_offset_or_scale_of_scores_beats_min_cllr(pair: Trials) -> None:
    floor = min_cllr(counted(*pair))
    values, labels = joined(*pair)
    for scale in (0.0, 1.0, 5.0):
        for offset in (-1.0, 0.0, 1.0):
            assert cllr(scale * values + offset, labels) >= floor - 1e-12


def test_cllr_of_certain_and_right_ratios_is_nothing_and_of_wrong_ones_grows_linearly() -> None:
    labels = np.array([True, False])
    assert cllr([800.0, -800.0], labels) == 0
    assert cllr([-800.0, 800.0], labels) == pytest.approx(800 / math.log(2))


def test_cllr_refuses_what_error_counts_refuses() -> None:
    with pytest.raises(CalibrationError, match="trial 1"):
        cllr([0.5, math.nan], np.array([True, False]))


@pytest.mark.parametrize("arguments", [(0,), (1,), (0.5, 0), (0.5, 1, -1)])
def test_parameters_out_of_range_are_an_error(arguments: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="must be above 0"):
        min_dcf(counted([0.5], [0.25]), *arguments)


@pytest.mark.parametrize("seed", range(4))
def test_curve_and_area_agree_with_scikit_learn_on_sets_with_ties(seed: int) -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    random = np.random.default_rng(seed)
    labels = random.random(3000) < 0.1
    values = np.round(random.normal(labels * 1.5, 1.0), 1 + seed % 3).astype(np.float32)
    counts = error_counts(values, labels)
    fpr, tpr, thresholds = roc_curve(labels, values, drop_intermediate=False)
    assert np.array_equal(thresholds, counts.thresholds[::-1])
    assert np.allclose(fpr, counts.fmr[::-1], rtol=0, atol=1e-15)
    assert np.allclose(1 - tpr, counts.fnmr[::-1], rtol=0, atol=1e-15)
    assert auc(counts) == pytest.approx(roc_auc_score(labels, values), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_random_scores_agree_with_the_definitions(seed: int) -> None:
    random = np.random.default_rng(seed)
    targets, non_targets = random.normal(1.5, 1, 60).tolist(), random.normal(0, 1, 90).tolist()
    counts, vertices = counted(targets, non_targets), roc(targets, non_targets)
    assert eer(counts) == float(reference.crossing(vertices))
    assert eer_hull(counts) == pytest.approx(float(reference.crossing(reference.hull(vertices))), abs=1e-14)
    for prior in (Fraction(1, 100), Fraction(1, 2)):
        raw, threshold = reference.lowest_cost(vertices, prior, Fraction(1), Fraction(1))
        assert (min_dcf(counts, prior).raw, min_dcf(counts, prior).threshold) == (float(raw), threshold)
        assert best_f1(counts, prior).f1 == float(reference.highest_f1(vertices, prior)[0])


def _golden_cost(key: str) -> tuple[float | Fraction, float]:
    """Prior and cost of a miss out of a key such as ``p=0.01 cmiss=10 cfa=1 (SRE08)``."""
    if key.startswith("empirical prior "):
        return Fraction(key.removeprefix("empirical prior ")), 1
    members = dict(part.split("=") for part in key.split() if "=" in part)
    assert members["cfa"] == "1"
    return float(members["p"]), float(members["cmiss"])


GOLDEN_SETS = [
    "S1_separable",
    "S2_inverted",
    "S3_all_equal",
    "S4_ties_at_crossing",
    "S5_tiny_1v1",
    "S8_unbalanced_4v40",
    "S10_llr",
    "S11_subgrid",
]


def test_every_golden_set_is_looked_at(golden: dict[str, Any]) -> None:
    assert list(golden["sets"]) == GOLDEN_SETS


@pytest.mark.parametrize("name", GOLDEN_SETS)
def test_golden_set_comes_out_exactly(golden: dict[str, Any], name: str) -> None:
    content = golden["sets"][name]
    expected = content["reference"]
    values, labels = joined(content["tar"], content["non"])
    counts = error_counts(values, labels)
    exactly = {"rel": 0, "abs": 1e-12}
    assert eer(counts) == pytest.approx(float(Fraction(expected["eer_interp_exact"])), **exactly)
    assert eer_hull(counts) == pytest.approx(float(Fraction(expected["eer_rocch_exact"])), **exactly)
    assert auc(counts) == pytest.approx(float(Fraction(expected["auc_exact"])), **exactly)
    assert min_cllr(counts) == pytest.approx(expected["min_cllr"], **exactly)
    assert cllr(values, labels) == pytest.approx(expected["cllr_if_scores_were_natural_log_LLR"], **exactly)
    nearest = nearest_rates(counts)
    assert (counts.fmr[nearest] + counts.fnmr[nearest]) / 2 == pytest.approx(expected["eer_nearest_mean"], **exactly)

    vertices = expected["roc_points[thr,FAR,FRR] accept s>=thr"]
    if isinstance(vertices, list):
        ours = np.column_stack([counts.thresholds, counts.fmr, counts.fnmr])
        assert np.array_equal(ours, np.array(vertices, dtype=np.float64))

    f1, best = expected["best_f1"], best_f1(counts, Fraction(counts.targets, counts.targets + counts.non_targets))
    assert best.f1 == pytest.approx(float(Fraction(f1["exact"])), **exactly)
    assert best.threshold == f1["threshold"]
    assert (best.precision, best.recall) == pytest.approx((f1["precision"], f1["recall"]), **exactly)

    for key, cost in expected["mindcf"].items():
        found = min_dcf(counts, *_golden_cost(key))
        assert found.raw == pytest.approx(cost["raw"], **exactly), key
        assert found.normalised == pytest.approx(cost["norm"], **exactly), key
        assert found.threshold == float(cost["threshold"]), key


def test_golden_large_set_comes_out_exactly(golden: dict[str, Any]) -> None:
    expected = golden["large"]["L1_gaussian"]["reference"]
    random = np.random.RandomState(20240)
    values = np.concatenate([random.normal(2.5, 1, 2000), random.normal(0, 1, 198_000)])
    labels = np.arange(values.size) < 2000
    counts = error_counts(values, labels)
    assert eer(counts) == pytest.approx(expected["eer_interp"], abs=1e-12)
    for prior, normalised in expected["minDCF_norm"].items():
        assert min_dcf(counts, float(prior)).normalised == pytest.approx(normalised, abs=1e-12)
    assert best_f1(counts, 0.01).f1 == pytest.approx(expected["best_f1"], abs=1e-12)
    others = golden["large"]["L1_gaussian"]["implementations"]
    assert eer_hull(counts) == pytest.approx(others["PyBOSARIS eer"], abs=1e-12)
    assert min_cllr(counts) == pytest.approx(others["PYLLR min_cllr"], abs=1e-12)
    assert auc(counts) == pytest.approx(others["sklearn roc_auc_score"], abs=1e-12)
    ratios = 2.5 * values - 2.5**2 / 2
    assert cllr(ratios, labels) == pytest.approx(expected["cllr_of_llr_d_times_s_minus_d_over_2"], abs=1e-12)
