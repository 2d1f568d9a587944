import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.calibration import reference
from tests.evaluation.conftest import SPEAKERS, Embedded, all_pairs
from tests.fixtures.embedders import SpectralEmbedder
from tests.store.rows import DIM, make_store
from tests.store.rows import embedded as embedded_row
from vecsv.calibration.bootstrap import speaker_bootstrap
from vecsv.calibration.evaluate import evaluate
from vecsv.calibration.trials import score_pairs
from vecsv.embedding.run import embed_manifest
from vecsv.errors import CalibrationError, StoreError, TrialListError, UsageError
from vecsv.evaluation import run, sampling, unlisted
from vecsv.evaluation.run import ListInputs, evaluate_list, evaluate_store
from vecsv.evaluation.sampling import SampleSettings
from vecsv.evaluation.trials import write_trials

ALL = SampleSettings(all_pairs=True)


def no_embedder() -> SpectralEmbedder:
    raise AssertionError("the store has everything")


@pytest.fixture
def listed(embedded: Embedded, tmp_path: Path) -> Path:
    write_trials(all_pairs(embedded)[0], tmp_path / "trials.txt")
    return tmp_path / "trials.txt"


def test_all_pairs_of_a_store_give_the_figures_of_every_pair_scored_by_itself(store: Path, embedded: Embedded) -> None:
    trials, scores = all_pairs(embedded)
    labels = np.array([label for label, _, _ in trials])
    found = evaluate_store(store, ALL)
    scored = found.listed_trials()
    by_names = {
        frozenset({scored.sides[one].name, scored.sides[other].name}): score
        for one, other, score in zip(scored.first, scored.second, scored.scores, strict=True)
    }
    assert len(by_names) == len(trials)
    np.testing.assert_allclose([by_names[frozenset(pair)] for _, *pair in trials], scores, atol=1e-6)
    vertices = reference.roc(scored.scores[scored.labels].tolist(), scored.scores[~scored.labels].tolist())
    assert found.metrics.eer == float(reference.crossing(vertices))
    assert found.metrics.eer_hull == float(reference.crossing(reference.hull(vertices)))
    cost, _ = reference.lowest_cost(vertices, Fraction(1, 100), Fraction(1), Fraction(1))
    assert found.metrics.cost("p=0.01").normalised == float(cost * 100)
    assert (found.metrics.targets, found.metrics.non_targets) == (labels.sum(), (~labels).sum())


def test_a_list_of_all_pairs_gives_what_the_store_gives(corpus: Path, store: Path, listed: Path) -> None:
    of_store = evaluate_store(store, ALL)
    of_list = evaluate_list(ListInputs(listed, root=corpus), SpectralEmbedder)
    assert of_list.metrics.eer == pytest.approx(of_store.metrics.eer, abs=1e-9)
    assert of_list.metrics.min_cllr == pytest.approx(of_store.metrics.min_cllr, abs=1e-6)
    assert (of_list.model, of_list.fingerprint) == (of_store.model, of_store.fingerprint)
    # Who speaks follows from the targets alone.
    assert of_list.basis.speakers == of_store.basis.speakers == SPEAKERS


def test_the_sample_of_a_store_is_scored_as_calibration_scores_it(store: Path) -> None:
    found = evaluate_store(store, SampleSettings(ratio=2, seed=5))
    assert found.metrics == evaluate(found.listed_trials().scores, found.listed_trials().labels)
    assert found.metrics.non_targets == 2 * found.metrics.targets
    sample = found.basis.sample
    assert sample is not None
    assert (sample["ratio_asked"], sample["ratio_reached"], sample["seed"]) == (2, 2.0, 5)
    assert (sample["targets_available"], sample["same_session_targets"]) == (36, 18)
    pairs = found.listed_trials().first, found.listed_trials().second
    vectors = np.stack([found_vector(store, side.name) for side in found.listed_trials().sides])
    np.testing.assert_array_equal(found.listed_trials().scores, score_pairs(vectors, *pairs))


def found_vector(store: Path, utt_id: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    from vecsv.store.reader import Snapshot

    table = Snapshot.open(store).table(["utt_id", "embedding"])
    place = table.column("utt_id").to_pylist().index(utt_id)
    return np.array(table.column("embedding")[place].as_py(), np.float32)


def test_intervals_draw_the_speakers_again(store: Path) -> None:
    found = evaluate_store(store, SampleSettings(seed=2))
    trials = found.listed_trials()
    speakers = found.speakers[trials.first], found.speakers[trials.second]
    assert found.intervals == speaker_bootstrap(*speakers, trials.scores, trials.labels, seed=2)
    assert found.intervals is not None
    assert found.intervals.speakers == SPEAKERS
    assert found.intervals.eer.low <= found.metrics.eer <= found.intervals.eer.high


def test_two_speakers_give_figures_without_intervals_and_the_reason(corpus: Path, tmp_path: Path) -> None:
    lines = [f"1 {corpus}/speaker-00{who}/000.wav {corpus}/speaker-00{who}/001.wav" for who in (0, 1)]
    (tmp_path / "trials.txt").write_text(
        "\n".join([*lines, f"0 {corpus}/speaker-000/000.wav {corpus}/speaker-001/000.wav\n"])
    )
    found = evaluate_list(ListInputs(tmp_path / "trials.txt"), SpectralEmbedder)
    assert (found.intervals, found.basis.speakers) == (None, 2)
    assert any("no intervals" in warning for warning in found.warnings)


def test_a_list_takes_columns_from_the_manifest_and_from_the_store(corpus: Path, store: Path, listed: Path) -> None:
    manifest = ListInputs(listed, manifest=corpus / "train.tsv", root=corpus)
    of_manifest = evaluate_list(manifest, SpectralEmbedder, by=["device"])
    of_store = evaluate_list(ListInputs(listed, root=corpus), no_embedder, store=store, by=["device"])
    assert of_manifest.breakdowns == of_store.breakdowns
    assert [(part.value, part.kind) for part in of_store.breakdowns[0].parts] == [
        ("headset", "same"),
        ("phone", "same"),
        (None, "mixed"),
    ]


def test_a_store_breaks_down_by_several_columns_at_the_threshold_of_the_whole(store: Path) -> None:
    found = evaluate_store(store, ALL, by=["device", "noise", "speaker"])
    assert [breakdown.column for breakdown in found.breakdowns] == ["device", "noise", "speaker"]
    threshold = found.metrics.fnmr_at_fmr[0].threshold
    assert {breakdown.threshold for breakdown in found.breakdowns} == {threshold}
    device = found.breakdowns[0]
    accepts = sum(round((part.fmr or 0) * part.non_targets) for part in device.parts)
    assert accepts == int((found.listed_trials().scores[~found.listed_trials().labels] >= np.float32(threshold)).sum())


def test_the_document_is_plain_json_without_names(store: Path) -> None:
    document = evaluate_store(store, by=["device"]).to_json()
    text = json.dumps(document, allow_nan=False)
    assert set(document) == {
        "model", "fingerprint", "basis", "metrics", "intervals", "by", "failures", "warnings",
    }  # fmt: skip
    assert "speaker-000" not in text


def test_equal_trials_have_equal_digests_whatever_the_scores(corpus: Path, listed: Path, tmp_path: Path) -> None:
    one = evaluate_list(ListInputs(listed, root=corpus), SpectralEmbedder)
    two = evaluate_list(ListInputs(listed, root=corpus), lambda: SpectralEmbedder(1))
    assert one.basis.trials_sha256 == two.basis.trials_sha256
    assert not np.array_equal(one.listed_trials().scores, two.listed_trials().scores)
    (tmp_path / "less.txt").write_text("".join(listed.read_text().splitlines(keepends=True)[:-1]))
    less = evaluate_list(ListInputs(tmp_path / "less.txt", root=corpus), SpectralEmbedder)
    assert less.basis.trials_sha256 != one.basis.trials_sha256


def test_what_makes_a_list_flatter_is_said(corpus: Path, listed: Path) -> None:
    name = "speaker-000/000.wav"
    listed.write_text(f"1 {name} {name}\n" + listed.read_text() + f"0 {name} speaker-001/000.wav\n")
    warnings = " ".join(evaluate_list(ListInputs(listed, root=corpus), SpectralEmbedder).warnings)
    assert "1 trials compare a recording with itself (the first in line 1)" in warnings
    assert "1 trials stand in the list more than once" in warnings


def test_labels_that_contradict_each_other_are_said_and_those_against_the_manifest_refused(
    corpus: Path, listed: Path
) -> None:
    lines = listed.read_text().splitlines()
    wrong = next(at for at, line in enumerate(lines) if line.startswith("1"))
    listed.write_text("\n".join([*lines[:wrong], "0" + lines[wrong][1:], *lines[wrong + 1 :]]) + "\n")
    found = evaluate_list(ListInputs(listed, root=corpus), SpectralEmbedder)
    assert any(f"the first in line {wrong + 1})" in warning for warning in found.warnings)
    with pytest.raises(TrialListError, match=f"line {wrong + 1}: the label says two speakers"):
        evaluate_list(ListInputs(listed, manifest=corpus / "train.tsv", root=corpus), SpectralEmbedder)


def test_trials_of_one_kind_are_an_error_that_names_the_list(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "trials.txt").write_text("1 speaker-000/000.wav speaker-000/001.wav\n")
    with pytest.raises(CalibrationError, match=r"trials\.txt: 1 targets and 0 non-targets"):
        evaluate_list(ListInputs(tmp_path / "trials.txt", root=corpus), SpectralEmbedder)


def test_a_store_of_one_speaker_or_none_is_an_error(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store"):
        evaluate_store(tmp_path / "absent")
    (tmp_path / "one.tsv").write_text("".join(f"{corpus}/speaker-000/00{take}.wav\tann\n" for take in range(3)))
    embed_manifest(tmp_path / "one.tsv", tmp_path / "one", SpectralEmbedder())
    with pytest.raises(CalibrationError, match="no non-target pair"):
        evaluate_store(tmp_path / "one")
    (tmp_path / "each.tsv").write_text("".join(f"{corpus}/speaker-00{who}/000.wav\t{who}\n" for who in range(3)))
    embed_manifest(tmp_path / "each.tsv", tmp_path / "each", SpectralEmbedder())
    with pytest.raises(CalibrationError, match="no target pair"):
        evaluate_store(tmp_path / "each")


def test_all_pairs_too_many_for_a_list_are_counted_and_give_the_same_figures(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = evaluate_store(store, ALL)
    monkeypatch.setattr(run, "MOST_PAIRS", 100)
    counted = evaluate_store(store, ALL)
    assert counted.trials is None
    assert counted.metrics.eer == pytest.approx(listed.metrics.eer, abs=1e-9)
    assert counted.intervals is not None and listed.intervals is not None
    assert counted.intervals.eer.high == pytest.approx(listed.intervals.eer.high, abs=1e-6)
    assert counted.basis.sample is not None and listed.basis.sample is not None
    for count, expected in (("same_session_targets", 18), ("utterances_without_session", 0)):
        assert counted.basis.sample[count] == listed.basis.sample[count] == expected
    monkeypatch.setattr(unlisted, "EXACT_PAIRS", 100)
    binned = evaluate_store(store, ALL)
    assert (binned.metrics.targets, binned.metrics.non_targets) == (36, 240)
    assert binned.metrics.eer == pytest.approx(listed.metrics.eer, abs=1e-2)
    assert binned.intervals is None
    assert "no intervals" in binned.warnings[0]


def test_what_takes_a_list_is_refused_where_there_is_none(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (run, sampling):
        monkeypatch.setattr(module, "MOST_PAIRS", 100)
    with pytest.raises(UsageError, match="at most 100 can be listed"):
        evaluate_store(store, ALL, by=["device"])
    with pytest.raises(UsageError, match="at most 100 can be listed"):
        evaluate_store(store, ALL, keep_trials=True)
    with pytest.raises(UsageError, match="counted and not listed"):
        evaluate_store(store, ALL).listed_trials()


def test_overlapping_cuts_cannot_be_left_out_of_what_is_not_listed(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        f"{corpus}/speaker-00{who}/000.wav\t{who}\t{start}\t{start + 0.6}" for who in range(3) for start in (0, 0.3)
    ]
    (tmp_path / "cuts.tsv").write_text("path\tspeaker\tstart_s\tend_s\n" + "\n".join(rows) + "\n")
    embed_manifest(tmp_path / "cuts.tsv", tmp_path / "cuts", SpectralEmbedder())
    monkeypatch.setattr(run, "MOST_PAIRS", 3)
    with pytest.raises(UsageError, match="3 pairs are overlapping cuts"):
        evaluate_store(tmp_path / "cuts", ALL)


def test_a_broken_embedding_is_named_by_the_first_pair_it_spoils(tmp_path: Path) -> None:
    rows = [embedded_row(number, f"speaker-{number % 3}") for number in range(9)]
    rows[4] = embedded_row(4, "speaker-1", embedding=np.full(DIM, np.nan, np.float32))
    make_store(tmp_path / "store", rows)
    with pytest.raises(CalibrationError, match="the first is that of 'utt-4'"):
        evaluate_store(tmp_path / "store")
    (tmp_path / "trials.txt").write_text("1 utt-0 utt-3\n0 utt-0 utt-4\n0 utt-4 utt-2\n")
    with pytest.raises(CalibrationError, match=r"trials\.txt: 2 of 3 scores .* that of utt-0 against utt-4"):
        evaluate_list(ListInputs(tmp_path / "trials.txt"), no_embedder, store=tmp_path / "store")
