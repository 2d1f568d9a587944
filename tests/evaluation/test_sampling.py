from pathlib import Path

import pytest

from tests.evaluation.conftest import SPEAKERS, UTTERANCES, speaker_of
from vecsv.errors import CalibrationError, UsageError
from vecsv.evaluation import sampling
from vecsv.evaluation.sampling import SampleSettings, draw_from_manifest, draw_from_store
from vecsv.manifest import BadRow

RECORDINGS = SPEAKERS * UTTERANCES
TARGETS = SPEAKERS * UTTERANCES * (UTTERANCES - 1) // 2


def fail(row: BadRow) -> None:
    raise AssertionError(row)


def test_labels_say_whether_the_speaker_is_the_same_and_no_pair_comes_twice(corpus: Path) -> None:
    drawn = draw_from_manifest(corpus / "train.tsv", SampleSettings(ratio=3), beside=corpus, left_out=fail)
    listed = list(drawn.listed())
    assert all(label == (speaker_of(one) == speaker_of(other)) for label, one, other in listed)
    assert len({frozenset(pair) for _, *pair in listed}) == len(listed) == 4 * TARGETS
    assert all((corpus / name).is_file() for _, *pair in listed for name in pair)


def test_all_pairs_are_all_pairs(corpus: Path) -> None:
    settings = SampleSettings(ratio=1, per_speaker=1, all_pairs=True)
    drawn = draw_from_manifest(corpus / "train.tsv", settings, beside=corpus, left_out=fail)
    assert len({frozenset(pair) for _, *pair in drawn.listed()}) == RECORDINGS * (RECORDINGS - 1) // 2
    assert drawn.pairs.targets.taken == TARGETS


def test_ratio_and_pairs_per_speaker_are_kept_to(corpus: Path) -> None:
    settings = SampleSettings(ratio=5, per_speaker=2)
    drawn = draw_from_manifest(corpus / "train.tsv", settings, beside=corpus, left_out=fail)
    assert (drawn.pairs.targets.taken, drawn.pairs.non_targets.taken) == (2 * SPEAKERS, 10 * SPEAKERS)


def test_equal_seeds_draw_equal_trials_and_others_do_not(corpus: Path) -> None:
    def draw(seed: int) -> list[tuple[bool, str, str]]:
        settings = SampleSettings(ratio=2, seed=seed)
        return list(draw_from_manifest(corpus / "train.tsv", settings, beside=corpus, left_out=fail).listed())

    assert draw(3) == draw(3)
    assert draw(3) != draw(4)


def test_a_store_gives_the_trials_of_its_manifest(corpus: Path, store: Path) -> None:
    settings = SampleSettings(ratio=2, seed=1)
    of_manifest = draw_from_manifest(corpus / "train.tsv", settings, beside=corpus, left_out=fail)
    assert list(draw_from_store(store, settings).listed()) == list(of_manifest.listed())


def test_a_list_elsewhere_names_the_recordings_from_there(corpus: Path, tmp_path: Path) -> None:
    drawn = draw_from_manifest(corpus / "train.tsv", SampleSettings(ratio=1), beside=tmp_path, left_out=fail)
    assert all((tmp_path / name).resolve().is_relative_to(corpus) for name in drawn.names)
    assert all((tmp_path / name).is_file() for name in drawn.names)


def test_cuts_go_by_their_ids_and_overlapping_ones_are_no_pair(tmp_path: Path) -> None:
    manifest = tmp_path / "cuts.tsv"
    cuts = [("a", 0, 2), ("a", 1, 3), ("a", 3, 4), ("b", 0, 2)]
    rows = [f"{speaker}.wav\t{speaker}\t{start}\t{end}" for speaker, start, end in cuts]
    manifest.write_text("path\tspeaker\tstart_s\tend_s\n" + "\n".join(rows) + "\n")
    drawn = draw_from_manifest(manifest, SampleSettings(all_pairs=True), beside=tmp_path, left_out=fail)
    assert {frozenset(pair) for label, *pair in drawn.listed() if label} == {
        frozenset({"a.wav#t=0,2", "a.wav#t=3,4"}),
        frozenset({"a.wav#t=1,3", "a.wav#t=3,4"}),
    }


def test_cross_session_leaves_pairs_of_one_session_out(corpus: Path) -> None:
    settings = SampleSettings(all_pairs=True, cross_session=True)
    drawn = draw_from_manifest(corpus / "train.tsv", settings, beside=corpus, left_out=fail)
    # Of four recordings the first three are one session: three pairs of it with the fourth are left.
    assert drawn.pairs.targets.taken == 3 * SPEAKERS


def test_rows_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("a/1.wav\ta\na/2.wav\ta\nalone\nb/1.wav\tb\n")
    told: list[int] = []
    settings = SampleSettings()
    draw_from_manifest(tmp_path / "train.tsv", settings, beside=tmp_path, left_out=lambda row: told.append(row.line))
    assert told == [3]


@pytest.mark.parametrize("rows", ["a.wav\tann\nb.wav\tann\n", "a.wav\tann\nb.wav\tbob\n"])
def test_one_speaker_or_one_utterance_each_is_an_error_that_names_the_manifest(tmp_path: Path, rows: str) -> None:
    (tmp_path / "train.tsv").write_text(rows)
    with pytest.raises(CalibrationError, match=r"train\.tsv: there is no"):
        draw_from_manifest(tmp_path / "train.tsv", SampleSettings(), beside=tmp_path, left_out=fail)


def test_more_pairs_than_a_list_can_hold_are_refused(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MOST_PAIRS", 100)
    with pytest.raises(UsageError, match=r"24 recordings give 276 pairs, and at most 100"):
        draw_from_manifest(corpus / "train.tsv", SampleSettings(all_pairs=True), beside=corpus, left_out=fail)
