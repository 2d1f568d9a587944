from __future__ import annotations

import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecsv.errors import TrainingError
from vecsv.training.curve import curve_svg
from vecsv.training.history import EpochRecord, best_epoch, read_history
from vecsv.training.records import CURVE_FILE, RunRecords

FIRST = EpochRecord(
    epoch=0,
    step=10,
    loss=4.5,
    accuracy=0.125,
    learning_rate=1e-3,
    margin=0.1,
    crops_per_second=85.5,
    loader_wait_part=0.02,
    seconds=12.5,
    dev_eer=0.105,
    dev_min_dcf=0.75,
    held_out_accuracy=0.25,
)


# Nothing but the text files: a picture takes a second.
PLAIN: dict[str, Any] = {"tensorboard": False, "picture": False}


def record(epoch: int, **changes: Any) -> EpochRecord:
    return replace(FIRST, epoch=epoch, step=10 * (epoch + 1), **changes)


def written(folder: Path, epochs: int, *, picture: bool = False) -> None:
    """A run of some epochs."""
    with RunRecords(folder, tensorboard=False, picture=picture) as records:
        for epoch in range(epochs):
            records.epoch(record(epoch))


class TestHistory:
    def test_is_a_line_for_each_epoch(self, tmp_path: Path) -> None:
        written(tmp_path, 2)
        first, second = (tmp_path / "history.jsonl").read_text().splitlines()
        assert json.loads(first) == {
            "epoch": 0,
            "step": 10,
            "loss": 4.5,
            "accuracy": 0.125,
            "learning_rate": 0.001,
            "margin": 0.1,
            "crops_per_second": 85.5,
            "loader_wait_part": 0.02,
            "seconds": 12.5,
            "dev_eer": 0.105,
            "dev_min_dcf": 0.75,
            "held_out_accuracy": 0.25,
        }
        assert json.loads(second)["epoch"] == 1

    @given(
        st.builds(
            EpochRecord,
            st.integers(0, 10**6),
            st.integers(0, 10**9),
            *[st.floats(allow_nan=False, allow_infinity=False)] * 7,
            *[st.none() | st.floats(0, 1)] * 3,
        )
    )
    def test_gives_back_what_went_in(self, one: EpochRecord) -> None:
        assert EpochRecord.from_json(json.loads(json.dumps(one.to_json(), allow_nan=False))) == one

    def test_a_loss_that_is_no_number_is_null(self) -> None:
        values = record(0, loss=math.nan, dev_eer=None).to_json()
        assert (values["loss"], values["dev_eer"]) == (None, None)
        back = EpochRecord.from_json(values)
        assert math.isnan(back.loss)
        assert back.dev_eer is None

    def test_resuming_goes_on_behind_what_is_there(self, tmp_path: Path) -> None:
        written(tmp_path, 2)
        with RunRecords(tmp_path, resume=True, epoch=2, step=20, **PLAIN) as records:
            assert [one.epoch for one in records.history] == [0, 1]
            records.epoch(record(2))
        assert [one.epoch for one in read_history(tmp_path)] == [0, 1, 2]

    def test_resuming_takes_back_epochs_that_are_trained_again(self, tmp_path: Path) -> None:
        written(tmp_path, 4)
        with RunRecords(tmp_path, resume=True, epoch=2, step=20, **PLAIN) as records:
            records.epoch(record(2, loss=1.0))
        assert [(one.epoch, one.loss) for one in read_history(tmp_path)] == [(0, 4.5), (1, 4.5), (2, 1.0)]

    def test_a_line_that_was_cut_off_by_a_kill_is_no_epoch(self, tmp_path: Path) -> None:
        written(tmp_path, 3)
        path = tmp_path / "history.jsonl"
        path.write_bytes(path.read_bytes()[:-30])
        assert [one.epoch for one in read_history(tmp_path)] == [0, 1]
        with RunRecords(tmp_path, resume=True, epoch=2, step=20, **PLAIN) as records:
            records.epoch(record(2))
        assert [one.epoch for one in read_history(tmp_path)] == [0, 1, 2]

    @pytest.mark.parametrize("line", ["{", '{"epoch": 0}', "[]", "3", '{"epoch": "x"}'])
    def test_a_line_that_is_no_record_is_named(self, tmp_path: Path, line: str) -> None:
        written(tmp_path, 1)
        with (tmp_path / "history.jsonl").open("a") as file:
            file.write(line + "\n")
        with pytest.raises(TrainingError, match=r"history\.jsonl, line 2: is no record"):
            read_history(tmp_path)

    def test_a_run_that_is_not_resumed_leaves_the_last_one_alone(self, tmp_path: Path) -> None:
        written(tmp_path, 1)
        with pytest.raises(TrainingError, match="holds the records of a run already"):
            RunRecords(tmp_path)
        assert len(read_history(tmp_path)) == 1

    def test_an_epoch_is_noted_once(self, tmp_path: Path) -> None:
        with RunRecords(tmp_path, **PLAIN) as records:
            records.epoch(record(1))
            for epoch in (0, 1):
                with pytest.raises(ValueError, match=f"epoch {epoch} after epoch 1"):
                    records.epoch(record(epoch))

    def test_missing_epochs_are_said(self, tmp_path: Path) -> None:
        written(tmp_path, 1)
        said: list[str] = []
        RunRecords(tmp_path, resume=True, epoch=3, step=30, on_message=said.append, **PLAIN).close()
        assert "records of 2 earlier epochs are missing" in said


class TestLog:
    def test_has_a_line_with_the_time_for_each_event(self, tmp_path: Path) -> None:
        said: list[str] = []
        with RunRecords(tmp_path, on_message=said.append, **PLAIN) as records:
            records.log("two\nlines")
            records.epoch(FIRST)
        lines = (tmp_path / "log.txt").read_text().splitlines()
        assert all(re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 ", line) for line in lines)
        assert [line.split(" ", 1)[1] for line in lines] == said
        assert said == [
            "two lines",
            "epoch 0: loss 4.5000, accuracy 12.5%, held-out accuracy 25.0%, dev EER 10.50%, minDCF 0.7500, "
            "learning rate 0.001, margin 0.1, 85.5 crops/s, 2% waiting for data, 12.5 s",
        ]

    def test_leaves_out_what_was_not_measured(self) -> None:
        text = str(record(3, dev_eer=None, dev_min_dcf=None, held_out_accuracy=None))
        assert text.startswith("epoch 3: loss 4.5000, accuracy 12.5%, learning rate")

    def test_is_gone_on_with_when_resumed(self, tmp_path: Path) -> None:
        written(tmp_path, 1)
        RunRecords(tmp_path, resume=True, epoch=1, step=14, **PLAIN).close()
        first, second = (tmp_path / "log.txt").read_text().splitlines()
        assert "epoch 0" in first
        assert second.endswith("resumed in epoch 1, after step 14")

    def test_other_processes_know_what_was_before(self, tmp_path: Path) -> None:
        written(tmp_path, 3)
        files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        with RunRecords(tmp_path, resume=True, epoch=2, step=20, writes=False) as records:
            assert [one.epoch for one in records.history] == [0, 1]
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files

    def test_other_processes_write_nothing(self, tmp_path: Path) -> None:
        said: list[str] = []

        with RunRecords(tmp_path / "run", on_message=said.append, writes=False) as records:
            records.log("something")
            records.scalars(1, {"train/loss": 1.0})
            records.epoch(FIRST)
            assert records.history == (FIRST,)
        assert not (tmp_path / "run").exists()
        assert said == []


class TestTensorBoard:
    @staticmethod
    def events(folder: Path, tag: str) -> list[tuple[int, float]]:
        accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        events = accumulator.EventAccumulator(str(folder / "tensorboard"))
        events.Reload()
        return [(one.step, round(one.value, 4)) for one in events.Scalars(tag)]

    def test_shows_each_step_once_though_a_run_was_killed_and_resumed(self, tmp_path: Path) -> None:
        pytest.importorskip("tensorboard")
        pytest.importorskip("torch")
        with RunRecords(tmp_path, picture=False) as records:
            for step in range(1, 31):
                records.scalars(step, {"train/loss": 1.0, "train/margin": None})
                if step % 10 == 0:
                    records.epoch(record(step // 10 - 1))
        with RunRecords(tmp_path, resume=True, epoch=1, step=14, picture=False) as records:
            for step in range(15, 21):
                records.scalars(step, {"train/loss": 2.0})
            records.epoch(record(1, dev_eer=0.05))
        expected = [(step, 1.0) for step in range(1, 15)] + [(step, 2.0) for step in range(15, 21)]
        assert self.events(tmp_path, "train/loss") == expected
        assert self.events(tmp_path, "dev/eer") == [(10, 0.105), (20, 0.05)]

    def test_a_machine_without_it_is_told_so_and_goes_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
        said: list[str] = []
        with RunRecords(tmp_path, on_message=said.append, picture=False) as records:
            records.scalars(1, {"train/loss": 1.0})
            records.epoch(FIRST)
        assert said[0] == "nothing is written for TensorBoard: it is not installed (pip install tensorboard)"
        assert len(read_history(tmp_path)) == 1


class TestCurve:
    def test_shows_the_whole_run_when_it_is_over_in_the_same_bytes_each_time(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        written(tmp_path, 3, picture=True)
        picture = (tmp_path / CURVE_FILE).read_bytes()
        history = [record(epoch) for epoch in range(3)]
        assert picture == curve_svg(history)
        assert picture != curve_svg(history[:2])
        assert b"<svg" in picture

    def test_is_drawn_of_what_there_is(self) -> None:
        pytest.importorskip("matplotlib")
        nothing = record(0, loss=math.nan, accuracy=math.nan, dev_eer=None, dev_min_dcf=None, held_out_accuracy=None)
        everything, empty = curve_svg([FIRST]), curve_svg([nothing])
        assert everything.count(b"not measured") == 0
        assert empty.count(b"not measured") == 4

    def test_a_machine_without_matplotlib_is_told_so_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        said: list[str] = []
        with RunRecords(tmp_path, on_message=said.append, tensorboard=False) as records:
            records.epoch(record(0))
            records.epoch(record(1))
        assert sum("matplotlib is not installed" in line for line in said) == 1
        assert not (tmp_path / CURVE_FILE).exists()

    def test_the_best_epoch_is_the_first_of_the_lowest(self) -> None:
        eers = (0.3, 0.1, 0.2, 0.1)
        assert best_epoch([record(epoch, dev_eer=eer) for epoch, eer in enumerate(eers)]) == 1

    def test_without_verification_held_out_speech_decides_and_then_the_loss(self) -> None:
        heard = [record(epoch, dev_eer=None, held_out_accuracy=part) for epoch, part in enumerate((0.2, 0.9, 0.5))]
        assert best_epoch(heard) == 1
        losses = [
            record(epoch, dev_eer=None, held_out_accuracy=None, loss=loss)
            for epoch, loss in enumerate((3.0, math.nan, 1.0))
        ]
        assert best_epoch(losses) == 2
        assert best_epoch(losses[1:2]) is None
