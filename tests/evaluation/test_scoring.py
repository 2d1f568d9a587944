from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.conftest import Embedded, all_pairs
from tests.fixtures.embedders import SpectralEmbedder
from vecsv.errors import FingerprintMismatchError, TrialListError
from vecsv.evaluation.scoring import ScoredList, score_list
from vecsv.evaluation.trials import read_trials, write_trials
from vecsv.models.protocol import Prepared
from vecsv.query.verify import score_sides

ONE, TWO = "speaker-000/000.wav", "speaker-001/003.wav"


class Counting(SpectralEmbedder):
    """Counts the recordings it embeds."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        self.embedded = 0

    def embed(self, prepared: Sequence[Prepared]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        self.embedded += len(prepared)
        return super().embed(prepared)


def no_embedder() -> SpectralEmbedder:
    raise AssertionError("the store has everything")


def score(folder: Path, text: str, **options: Path | None) -> ScoredList:
    (folder / "trials.txt").write_text(text)
    return score_list(read_trials(folder / "trials.txt"), SpectralEmbedder, **({"root": folder} | options))


def test_scores_are_those_of_every_pair_by_itself(corpus: Path, embedded: Embedded, tmp_path: Path) -> None:
    trials, expected = all_pairs(embedded)
    write_trials(trials, tmp_path / "trials.txt")
    model = Counting()
    scored = score_list(read_trials(tmp_path / "trials.txt"), lambda: model, root=corpus)
    np.testing.assert_allclose(scored.trials.scores, expected, atol=1e-6)
    assert scored.trials.scores.dtype == np.float32
    assert scored.trials.labels.tolist() == [label for label, _, _ in trials]
    assert (scored.failed, scored.left_out, scored.recordings, scored.from_store) == ((), 0, 24, 0)
    assert model.embedded == 24


def test_a_recording_in_both_columns_is_one_side(corpus: Path, tmp_path: Path) -> None:
    scored = score(tmp_path, f"1 {ONE} {ONE}\n0 {TWO} {ONE}\n", root=corpus)
    assert [side.name for side in scored.trials.sides] == [ONE, TWO]
    assert (scored.trials.first.tolist(), scored.trials.second.tolist()) == ([0, 1], [0, 0])
    assert scored.trials.scores[0] == pytest.approx(1, abs=1e-6)


def test_what_the_store_has_is_not_embedded_again(
    corpus: Path, store: Path, embedded: Embedded, tmp_path: Path
) -> None:
    write_trials(all_pairs(embedded)[0], tmp_path / "trials.txt")
    trials = read_trials(tmp_path / "trials.txt")
    cached = score_list(trials, no_embedder, root=corpus, store=store)
    fresh = score_list(trials, SpectralEmbedder, root=corpus)
    np.testing.assert_array_equal(cached.trials.scores, fresh.trials.scores)
    assert (cached.from_store, cached.recordings) == (24, 24)
    assert (cached.model, cached.fingerprint) == ("spectral", SpectralEmbedder().fingerprint)


def test_what_the_store_lacks_is_embedded(corpus: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "new.wav").write_bytes((corpus / TWO).read_bytes())
    model = Counting()
    (tmp_path / "trials.txt").write_text(f"1 {ONE} speaker-000/001.wav\n0 {ONE} {tmp_path}/new.wav\n")
    scored = score_list(read_trials(tmp_path / "trials.txt"), lambda: model, root=corpus, store=store)
    assert (model.embedded, scored.from_store, scored.recordings) == (1, 2, 3)


def test_a_store_of_another_model_is_refused(corpus: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "trials.txt").write_text(f"1 {ONE} {tmp_path}/new.wav\n")
    (tmp_path / "new.wav").write_bytes((corpus / TWO).read_bytes())
    with pytest.raises(FingerprintMismatchError):
        score_list(read_trials(tmp_path / "trials.txt"), lambda: SpectralEmbedder(1), root=corpus, store=store)


@pytest.mark.parametrize("cached", [True, False])
def test_a_model_scores_the_mean_over_its_recordings(
    corpus: Path, store: Path, embedded: Embedded, tmp_path: Path, cached: bool
) -> None:
    enrolled = {"ann": [ONE, "speaker-000/001.wav", "speaker-000/002.wav"], "bob": ["speaker-001/000.wav"]}
    lines = [f"{corpus}/{path}\t{name}\t{path}" for name, paths in enrolled.items() for path in paths]
    (tmp_path / "enrol.tsv").write_text("path\tspeaker\tutt_id\n" + "\n".join(lines) + "\n")
    text = f"ann speaker-000/003.wav target\nann {TWO} nontarget\nbob {TWO} target\n"
    scored = score(tmp_path, text, root=corpus, enrol=tmp_path / "enrol.tsv", store=store if cached else None)
    expected = [
        score_sides(np.stack([embedded[path] for path in enrolled[model]]), embedded[test][None])
        for model, test in (("ann", "speaker-000/003.wav"), ("ann", TWO), ("bob", TWO))
    ]
    np.testing.assert_array_equal(scored.trials.scores, np.float32(expected))
    assert scored.recordings == 6


def test_a_model_and_a_test_of_one_name_are_two_sides(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "enrol.tsv").write_text(f"{corpus}/{TWO}\t{ONE}\n")
    scored = score(tmp_path, f"{ONE} {ONE} nontarget\n", root=corpus, enrol=tmp_path / "enrol.tsv")
    assert scored.trials.scores[0] < 0.99
    assert len(scored.trials.sides) == 2


def test_a_model_knows_what_its_recordings_have_in_common(corpus: Path, tmp_path: Path) -> None:
    rows = [f"{corpus}/speaker-000/00{take}.wav\tann\t{device}\tquiet" for take, device in ((0, "a"), (1, "b"))]
    (tmp_path / "enrol.tsv").write_text("path\tspeaker\tdevice\troom\n" + "\n".join(rows) + "\n")
    scored = score(tmp_path, f"ann {TWO} 0\n", root=corpus, enrol=tmp_path / "enrol.tsv")
    model = scored.trials.sides[-1]
    assert (model.name, model.speaker, model.columns) == ("ann", None, {"speaker": "ann", "room": "quiet"})


def test_a_model_without_a_recording_is_an_error(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "enrol.tsv").write_text(f"{corpus}/{ONE}\tann\n")
    with pytest.raises(TrialListError, match=r"enrol\.tsv: no recording of the model 'bob'"):
        score(tmp_path, f"ann {ONE} 1\nbob {TWO} 1\n", root=corpus, enrol=tmp_path / "enrol.tsv")


def test_trials_of_a_recording_that_fails_are_left_out_and_counted(corpus: Path, tmp_path: Path) -> None:
    pairs = [
        (ONE, "speaker-000/001.wav"),
        (ONE, "absent.wav"),
        ("absent.wav",) * 2,
        (ONE, TWO),
        ("gone.wav", "absent.wav"),
    ]
    text = "".join(f"0 {one} {other}\n" for one, other in pairs)
    scored = score(tmp_path, text, root=corpus)
    assert scored.lines.tolist() == [1, 4]
    assert scored.left_out == 3
    assert [(side.name, side.trials) for side in scored.failed] == [("absent.wav", 3), ("gone.wav", 1)]
    assert "absent.wav" in scored.failed[0].reason


def test_a_model_of_which_one_recording_fails_is_left_out(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "enrol.tsv").write_text(f"{corpus}/{ONE}\tann\nabsent.wav\tann\n{corpus}/{ONE}\tbob\n")
    text = f"ann {TWO} 0\nann {ONE} 1\nbob {ONE} 1\n"
    scored = score(tmp_path, text, root=corpus, enrol=tmp_path / "enrol.tsv")
    assert scored.lines.tolist() == [3]
    assert [(side.name, side.trials) for side in scored.failed] == [("absent.wav", 2)]


def test_where_everything_fails_the_error_gives_a_reason(tmp_path: Path) -> None:
    with pytest.raises(TrialListError, match=r"no trial is left, all 1 lack an embedding.*absent\.wav"):
        score(tmp_path, "1 absent.wav gone.wav\n")


def test_progress_counts_recordings(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "trials.txt").write_text(f"1 {ONE} {TWO}\n")
    told: list[tuple[int, int]] = []
    score_list(
        read_trials(tmp_path / "trials.txt"),
        SpectralEmbedder,
        root=corpus,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(2, 2)]
