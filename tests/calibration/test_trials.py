from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.store.rows import embedded, make_store, unit_vectors
from vecsv.calibration.llr import LOG_SPEECH, SNR
from vecsv.calibration.trials import Trials, score_pairs, sides_of
from vecsv.store.reader import Snapshot


def trials(first: list[int], second: list[int]) -> Trials:
    count = len(first)
    no, scores = np.zeros(count, np.bool_), np.linspace(0, 1, count, dtype=np.float32)
    return Trials(np.array(first), np.array(second), no, no, np.arange(count) % 2 == 1, scores)


def test_trials_survive_a_table() -> None:
    one = trials([0, 1, 2], [3, 4, 5])
    two = Trials.from_table(one.to_table())
    assert all(np.array_equal(value, vars(two)[name]) for name, value in vars(one).items())


def test_a_list_from_before_there_were_halves_holds_nothing_out() -> None:
    table = trials([0, 1, 2], [3, 4, 5]).to_table().drop_columns(["held_out"])
    assert not Trials.from_table(table).held_out.any()


def test_chosen_trials_keep_their_order() -> None:
    chosen = trials([0, 1, 2], [3, 4, 5]).where(np.array([True, False, True]))
    assert (chosen.first_row_id.tolist(), chosen.second_row_id.tolist()) == ([0, 2], [3, 5])
    assert not chosen.undivided().held_out.any()


def test_sides_are_those_of_the_rows_and_the_poorer_quality_counts(tmp_path: Path) -> None:
    qualities = [("ann", "a", 4.0, 20.0), ("bob", None, 2.0, 10.0), ("ann", "b", 8.0, None), ("cyd", "a", 1.0, 30.0)]
    rows = [
        embedded(number, speaker, session=session, speech_s=speech, snr_db=snr)
        for number, (speaker, session, speech, snr) in enumerate(qualities)
    ]
    make_store(tmp_path, rows)
    sides = sides_of(trials([0, 0, 0], [1, 2, 3]), Snapshot.open(tmp_path))
    assert (sides.first_speaker == sides.second_speaker).tolist() == [False, True, False]
    assert sides.sessions_known.tolist() == [False, True, True]
    assert sides.quality[LOG_SPEECH].tolist() == pytest.approx([math.log(2), math.log(4), 0])
    assert sides.quality[SNR].tolist() == pytest.approx([10, math.nan, 20], nan_ok=True)


def test_scores_are_inner_products_whatever_the_number_of_pairs() -> None:
    vectors = unit_vectors(400)
    first, second = np.triu_indices(400, 1)
    seen: list[tuple[int, int]] = []
    scores = score_pairs(vectors, first, second, progress=lambda done, total: seen.append((done, total)))
    assert scores.dtype == np.float32
    assert np.allclose(scores, (vectors @ vectors.T)[first, second], atol=1e-6)
    assert seen[-1] == (first.size, first.size)
