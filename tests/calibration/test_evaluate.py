from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calibration.reference import joined, roc, trials
from tests.calibration.test_metrics import GOLDEN_SETS
from vecsv.calibration.counts import error_counts
from vecsv.calibration.evaluate import Metrics, evaluate, evaluate_counts
from vecsv.calibration.metrics import actual_dcf, bayes_threshold
from vecsv.errors import CalibrationError

Trials = tuple[list[float], list[float]]
EXACT = {"rel": 0, "abs": 1e-12}


@pytest.mark.parametrize("name", GOLDEN_SETS)
def test_golden_set_comes_out_exactly(golden: dict[str, Any], name: str) -> None:
    content = golden["sets"][name]
    expected = content["reference"]
    values, labels = joined(content["tar"], content["non"])
    found = evaluate(values, labels, llr=True, prior=Fraction(len(content["tar"]), values.size))
    assert found.eer == pytest.approx(float(Fraction(expected["eer_interp_exact"])), **EXACT)
    assert found.eer_hull == pytest.approx(float(Fraction(expected["eer_rocch_exact"])), **EXACT)
    assert found.auc == pytest.approx(float(Fraction(expected["auc_exact"])), **EXACT)
    assert found.min_cllr == pytest.approx(expected["min_cllr"], **EXACT)
    assert found.cllr == pytest.approx(expected["cllr_if_scores_were_natural_log_LLR"], **EXACT)
    for ours, theirs in (("p=0.01", ""), ("p=0.001", ""), ("p=0.05", ""), ("sre08", "p=0.01 cmiss=10 cfa=1 (SRE08)")):
        cost = expected["mindcf"][theirs or f"{ours} cmiss=1 cfa=1"]
        point = found.cost(ours)
        assert point.raw == pytest.approx(cost["raw"], **EXACT)
        assert point.normalised == pytest.approx(cost["norm"], **EXACT)
        assert (point.fmr, point.fnmr) == pytest.approx((cost["FAR"], cost["FRR"]), **EXACT)
        accepted = values >= np.float32(point.threshold)
        assert np.array_equal(accepted, values >= float(cost["threshold"]))
    f1 = expected["best_f1"]
    assert found.best_f1.f1 == pytest.approx(float(Fraction(f1["exact"])), **EXACT)
    assert (found.best_f1.precision, found.best_f1.recall) == pytest.approx((f1["precision"], f1["recall"]), **EXACT)


def test_golden_costs_of_likelihood_ratios_come_out_exactly(golden: dict[str, Any]) -> None:
    content = golden["sets"]["S10_llr"]
    values, labels = joined(content["tar"], content["non"])
    found = evaluate(values, labels, llr=True)
    counts = error_counts(values, labels)
    for name, expected in content["reference"]["actdcf"].items():
        prior = float(name.removeprefix("p="))
        assert bayes_threshold(prior) == pytest.approx(expected["threshold"], **EXACT)
        place = counts.index_of(bayes_threshold(prior))
        assert actual_dcf(counts, place, prior) == pytest.approx((expected["raw"], expected["norm"]), **EXACT)
        if found.act_dcf is not None and name in found.act_dcf:
            assert found.act_dcf[name] == pytest.approx(expected["norm"], **EXACT)
    assert set(found.act_dcf or {}) == {point.name for point in found.min_dcf}


@given(trials)
def test_metrics_of_scores_are_those_of_their_counts(pair: Trials) -> None:
    targets, non_targets = pair
    values, labels = joined(targets, non_targets * 9, np.float32)
    for one, other in zip(
        _figures(evaluate(values, labels)), _figures(evaluate_counts(error_counts(values, labels))), strict=True
    ):
        assert one == (pytest.approx(other, rel=0, abs=1e-12) if isinstance(other, float) else other)


def _figures(metrics: Metrics) -> list[Any]:
    """All the figures, one after the other."""

    def walk(value: Any) -> list[Any]:
        if isinstance(value, dict):
            return [item for key in value for item in walk(value[key])]
        if isinstance(value, list):
            return [item for one in value for item in walk(one)]
        return [value]

    return walk(metrics.to_json())


@given(trials, st.randoms(use_true_random=False))
def test_metrics_do_not_depend_on_the_order_of_trials(pair: Trials, random: Any) -> None:
    values, labels = joined(*pair, np.float32)
    order = list(range(values.size))
    random.shuffle(order)
    assert evaluate(values, labels, llr=True).to_json() == evaluate(values[order], labels[order], llr=True).to_json()


@given(trials)
def test_figures_of_rates_do_not_change_under_a_growing_map(pair: Trials) -> None:
    values, labels = joined(*pair)
    one, other = evaluate(values, labels), evaluate(np.exp(3 * values) - 7, labels)
    assert (one.eer, one.eer_hull, one.auc, one.min_cllr) == (other.eer, other.eer_hull, other.auc, other.min_cllr)
    assert [point.normalised for point in one.min_dcf] == [point.normalised for point in other.min_dcf]
    assert [point.fnmr for point in one.fnmr_at_fmr] == [point.fnmr for point in other.fnmr_at_fmr]


@given(trials)
def test_bounds_hold(pair: Trials) -> None:
    found = evaluate(*joined(*pair), llr=True)
    assert found.eer_hull <= min(found.eer, 0.5) + 1e-15
    assert all(point.normalised <= 1 for point in found.min_dcf)
    assert found.act_dcf is not None
    assert all(found.act_dcf[point.name] >= point.normalised - 1e-12 for point in found.min_dcf)
    assert found.cllr is not None
    assert found.cllr >= found.min_cllr - 1e-12


@given(trials, st.sampled_from([Fraction(1, 100), Fraction(1, 2)]))
def test_best_precision_and_recall_are_the_highest_with_the_best_of_the_other(pair: Trials, prior: Fraction) -> None:
    found = evaluate(*joined(*pair), prior=prior)
    places = []
    for _, fmr, fnmr in roc(*pair):
        accepted = prior * (1 - fnmr) + (1 - prior) * fmr
        if accepted:
            places.append((prior * (1 - fnmr) / accepted, 1 - fnmr))
    best = max(places)
    assert (found.best_precision.precision, found.best_precision.recall) == (float(best[0]), float(best[1]))
    recall, precision = max((recall, precision) for precision, recall in places)
    assert (found.best_recall.recall, found.best_recall.precision) == (float(recall), float(precision))
    assert found.best_f1.f1 >= max(found.best_precision.f1, found.best_recall.f1)


def test_scores_alone_give_no_figures_for_likelihood_ratios() -> None:
    found = evaluate([0.9, 0.1], np.array([True, False]))
    assert found.cllr is None
    assert found.act_dcf is None


def test_json_has_no_infinity_and_says_which_rates_are_carried() -> None:
    text = json.dumps(evaluate([0.2, 0.7], np.array([True, False])).to_json(), allow_nan=False)
    points = json.loads(text)["fnmr_at_fmr"]
    assert [point["asked"] for point in points] == [0.01, 0.001, 0.0001]
    assert not any(point["supported"] for point in points)


def test_inverted_scores_and_few_trials_are_warned_of() -> None:
    warnings = " ".join(evaluate([0.2, 0.7], np.array([True, False])).warnings)
    assert "AUC 0.000" in warnings
    assert "only 1 target trials" in warnings
    assert "cannot show a false match rate of 0.01, 0.001, 0.0001" in warnings


def test_enough_trials_are_not_warned_of() -> None:
    random = np.random.default_rng(0)
    labels = np.arange(400_000) < 1000
    assert evaluate(random.normal(3.0 * labels).astype(np.float32), labels).warnings == ()


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, math.nan], [True, False], "trial 1: 1 of 2 scores are not finite"),
        ([0.1, 0.2], [True, True], "2 targets and 0 non-targets"),
        ([0.1, 0.2], [False, False], "0 targets and 2 non-targets"),
    ],
)
def test_what_cannot_be_evaluated_is_an_error(scores: list[float], labels: list[bool], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        evaluate(scores, np.array(labels))


@pytest.mark.parametrize("seed", range(4))
def test_area_and_curve_agree_with_scikit_learn_on_sets_with_ties(seed: int) -> None:
    from sklearn.metrics import det_curve, roc_auc_score

    random = np.random.default_rng(seed)
    labels = random.random(3000) < 0.1
    values = np.round(random.normal(labels * 1.5, 1.0), 1 + seed % 3).astype(np.float32)
    assert evaluate(values, labels).auc == pytest.approx(roc_auc_score(labels, values), abs=1e-12)
    fpr, fnr, thresholds = det_curve(labels, values)
    counts = error_counts(values, labels)
    places = np.array([counts.index_of(float(threshold)) for threshold in thresholds])
    assert np.allclose(fpr, counts.fmr[places], rtol=0, atol=1e-15)
    assert np.allclose(fnr, counts.fnmr[places], rtol=0, atol=1e-15)
