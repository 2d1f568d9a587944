from __future__ import annotations

import multiprocessing
import os
import re
import signal
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures.sounds import noise, tone, write
from vecsv.arrays import Waveform
from vecsv.errors import AudioError, TrainingError
from vecsv.training.data.classes import Classes
from vecsv.training.data.crops import draw_crop
from vecsv.training.data.recordings import Corpus, read_corpus
from vecsv.training.data.sampling import EpochPlan, Example
from vecsv.training.specs import SpectrumSpec

torch = pytest.importorskip("torch")

from vecsv.training.loader import Batch, CropDataset, CropLoader, is_of_dead_worker  # noqa: E402 - needs torch

SAMPLES = 800
BATCH = 4
FACTORS = (1.0, 0.9)


@dataclass(frozen=True)
class Hiss:
    """An augmentation that draws, and as much as it likes; it fails while a file is there."""

    failing: Path

    def __call__(self, wave: Waveform, generator: np.random.Generator) -> Waveform:
        if self.failing.exists():
            raise AudioError("missing", "no such file", where="noise/1.wav")
        return wave + generator.normal(0.0, 0.01, (1 + int(generator.integers(3)), wave.size))[0].astype(np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Four speakers; one of them has a file whose sound is damaged, which its header does not tell."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    for number in range(8):
        write(folder / f"{number}.flac", noise(0.6, seed=number))
        rows.append(f"{number}.flac\tspeaker{number % 4}\n")
    damaged = folder / "5.flac"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 8 :] = bytes(len(content) - len(content) // 8)
    damaged.write_bytes(content)
    (folder / "train.tsv").write_text("".join(rows))
    return read_corpus(folder / "train.tsv", sample_rate=16000, min_s=0.5)


def classes_of(corpus: Corpus) -> Classes:
    return Classes(corpus.speakers, FACTORS)


def plan_of(corpus: Corpus, epoch: int = 0, crops: int = 30) -> EpochPlan:
    return EpochPlan(corpus, classes_of(corpus), crop_s=SAMPLES / 16000, crops=crops, seed=7, epoch=epoch)


def failing_in(corpus: Corpus) -> Path:
    """Where a file makes augmentation fail."""
    return corpus.recordings[0].path.with_name("failing")


def dataset_of(corpus: Corpus) -> CropDataset:
    hiss = Hiss(failing_in(corpus))
    return CropDataset(
        corpus, classes_of(corpus), samples=SAMPLES, sample_rate=16000, augment=hiss, spectrum=SpectrumSpec()
    )


@pytest.fixture(scope="module")
def expected(corpus: Corpus) -> list[Batch]:
    """The batches of the first epoch, made one after the other without a loader."""
    dataset, plan = dataset_of(corpus), plan_of(corpus)
    return [dataset[[plan[position] for position in range(start, start + BATCH)]] for start in range(0, 28, BATCH)]


@pytest.fixture(scope="module")
def one_worker(corpus: Corpus) -> Iterator[CropLoader]:
    with CropLoader(dataset_of(corpus), batch=BATCH, workers=1) as loader:
        yield loader


@pytest.fixture(scope="module")
def two_workers(corpus: Corpus) -> Iterator[CropLoader]:
    with CropLoader(dataset_of(corpus), batch=BATCH, workers=2) as loader:
        yield loader


def assert_same(batches: Sequence[Batch], others: Sequence[Batch]) -> None:
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        for name in ("waves", "labels", "time_masks", "band_masks"):
            assert torch.equal(getattr(batch, name), getattr(other, name)), name
        assert batch.failures == other.failures


# What is in a batch


def test_a_batch_holds_crops_labels_and_bars(corpus: Corpus, expected: list[Batch]) -> None:
    plan, classes = plan_of(corpus), classes_of(corpus)

    for number, batch in enumerate(expected):
        assert (batch.waves.shape, batch.waves.dtype) == ((BATCH, SAMPLES), torch.float32)
        assert (batch.labels.shape, batch.labels.dtype) == ((BATCH,), torch.int64)
        assert (batch.time_masks.shape, batch.time_masks.dtype) == ((BATCH, 2, 2), torch.float32)
        assert batch.band_masks.shape == (BATCH, 2, 2)
        assert len(batch) == BATCH
        assert torch.isfinite(batch.waves).all()
        if not batch.failures:
            assert batch.labels.tolist() == [plan[BATCH * number + place].label for place in range(BATCH)]
        assert 0 <= int(batch.labels.min()) <= int(batch.labels.max()) < classes.count


def test_no_two_crops_are_alike(expected: list[Batch]) -> None:
    waves = torch.cat([batch.waves for batch in expected])

    assert len({tuple(wave) for wave in waves.tolist()}) == len(waves)


def test_without_augmentation_a_batch_holds_what_draw_crop_gives(corpus: Corpus) -> None:
    plan = plan_of(corpus)
    example = next(plan[position] for position in range(len(plan)) if plan[position].recording != 5)
    dataset = CropDataset(corpus, classes_of(corpus), samples=SAMPLES, sample_rate=16000)

    batch = dataset[[example]]

    place = np.random.SeedSequence((example.seed, 0)).spawn(1)[0]
    crop = draw_crop(
        corpus.recordings[example.recording],
        samples=SAMPLES,
        sample_rate=16000,
        speed=FACTORS[example.factor],
        generator=np.random.Generator(np.random.PCG64(place)),
    )
    np.testing.assert_array_equal(batch.waves[0].numpy(), crop)
    assert batch.time_masks.shape == (1, 0, 2)


def test_augmentation_changes_neither_the_place_of_a_crop_nor_its_bars(corpus: Corpus, expected: list[Batch]) -> None:
    plan = plan_of(corpus)
    plain = CropDataset(corpus, classes_of(corpus), samples=SAMPLES, sample_rate=16000, spectrum=SpectrumSpec())

    batch = plain[[plan[position] for position in range(BATCH)]]

    assert not torch.equal(batch.waves, expected[0].waves)
    # A crop at another place would be off by the level of the recording, which is ten times that of the hiss.
    assert float((batch.waves - expected[0].waves).square().mean().sqrt()) == pytest.approx(0.01, rel=0.1)
    assert torch.equal(batch.time_masks, expected[0].time_masks)
    assert torch.equal(batch.band_masks, expected[0].band_masks)


# Order


def test_the_loader_makes_the_plans_batches_in_order(corpus: Corpus, expected: list[Batch]) -> None:
    loader = CropLoader(dataset_of(corpus), batch=BATCH)

    assert_same(list(loader.epoch(plan_of(corpus))), expected)
    # Two of thirty crops are left over.
    assert loader.batches(plan_of(corpus)) == len(expected) == 7


def test_one_worker_changes_nothing(one_worker: CropLoader, corpus: Corpus, expected: list[Batch]) -> None:
    assert_same(list(one_worker.epoch(plan_of(corpus))), expected)


def test_two_workers_change_nothing(two_workers: CropLoader, corpus: Corpus, expected: list[Batch]) -> None:
    assert_same(list(two_workers.epoch(plan_of(corpus))), expected)


def test_workers_stay_from_epoch_to_epoch(two_workers: CropLoader, corpus: Corpus) -> None:
    plain = CropLoader(dataset_of(corpus), batch=BATCH)
    children = []

    for epoch in (1, 2):
        assert_same(list(two_workers.epoch(plan_of(corpus, epoch))), list(plain.epoch(plan_of(corpus, epoch))))
        children.append({child.pid for child in multiprocessing.active_children()})

    assert children[0] == children[1]


def test_an_epoch_may_be_left_in_the_middle(two_workers: CropLoader, corpus: Corpus, expected: list[Batch]) -> None:
    left = two_workers.epoch(plan_of(corpus, epoch=3))
    next(left)
    del left

    assert_same(list(two_workers.epoch(plan_of(corpus))), expected)


@pytest.mark.parametrize("start", [0, 1, 3, 6, 7, 9])
def test_starting_later_is_skipping(two_workers: CropLoader, corpus: Corpus, expected: list[Batch], start: int) -> None:
    plain = CropLoader(dataset_of(corpus), batch=BATCH)

    assert_same(list(plain.epoch(plan_of(corpus), start=start)), expected[start:])
    assert_same(list(two_workers.epoch(plan_of(corpus), start=start)), expected[start:])


def test_what_is_skipped_is_not_read(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = CropLoader(dataset_of(corpus), batch=BATCH)
    made: list[int] = []
    make = CropDataset.__getitem__

    def counted(self: CropDataset, keys: Sequence[Example]) -> Batch:
        made.append(len(keys))
        return make(self, keys)

    monkeypatch.setattr(CropDataset, "__getitem__", counted)

    list(loader.epoch(plan_of(corpus), start=5))

    assert made == [BATCH, BATCH]


@pytest.mark.parametrize("world", [2, 4])
def test_processes_interleave_to_the_batch_of_one(corpus: Corpus, expected: list[Batch], world: int) -> None:
    shares = [
        list(CropLoader(dataset_of(corpus), batch=BATCH, rank=rank, world=world).epoch(plan_of(corpus), start=2))
        for rank in range(world)
    ]

    for batch, parts in zip(expected[2:], zip(*shares, strict=True), strict=True):
        for rank, part in enumerate(parts):
            assert torch.equal(part.waves, batch.waves[rank::world])
            assert torch.equal(part.labels, batch.labels[rank::world])
            assert torch.equal(part.time_masks, batch.time_masks[rank::world])
        assert {failure for part in parts for failure in part.failures} == set(batch.failures)


def test_a_batch_that_cannot_be_shared_evenly_is_refused(corpus: Corpus) -> None:
    with pytest.raises(TrainingError, match="a batch of 4 cannot be shared by 3 processes"):
        CropLoader(dataset_of(corpus), batch=4, world=3)


def test_nobody_elses_random_numbers_are_drawn(two_workers: CropLoader, corpus: Corpus) -> None:
    before = torch.get_rng_state(), repr(np.random.get_state())

    for loader in (two_workers, CropLoader(dataset_of(corpus), batch=BATCH)):
        list(loader.epoch(plan_of(corpus)))

    assert torch.equal(torch.get_rng_state(), before[0])
    assert repr(np.random.get_state()) == before[1]


# What goes wrong


def test_a_damaged_recording_is_told_and_replaced_by_another_one_with_its_label(
    corpus: Corpus, expected: list[Batch]
) -> None:
    plan, classes = plan_of(corpus), classes_of(corpus)
    failures = [failure for batch in expected for failure in batch.failures]

    planned = sum(plan[position].recording == 5 for position in range(28))
    assert 0 < planned <= len(failures)
    assert {number for number, _ in failures} == {5}
    assert all(reason.startswith(str(corpus.recordings[5].path)) for _, reason in failures)
    speakers = [classes.numbers[recording.speaker] for recording in corpus.recordings]
    found = [label for batch in expected for label in batch.labels.tolist()]
    stood_in = [(place, label) for place, label in enumerate(found) if plan[place].recording == 5]
    for place, label in stood_in:
        assert label in {classes.label(speaker, plan[place].factor) for speaker in speakers}
    # Anybody may stand in, not the same speaker.
    assert any(label != plan[place].label for place, label in stood_in)


def test_the_label_of_what_stands_in_is_its_own(tmp_path: Path) -> None:
    write(tmp_path / "ann.wav", tone(1.0, hertz=500.0))
    write(tmp_path / "bob.wav", tone(1.0, hertz=2000.0))
    (tmp_path / "train.tsv").write_text("ann.wav\tann\nbob.wav\tbob\n")
    corpus = read_corpus(tmp_path / "train.tsv", sample_rate=16000, min_s=0.5)
    (tmp_path / "ann.wav").unlink()
    plan = EpochPlan(corpus, Classes(corpus.speakers), crop_s=0.5, seed=0, epoch=0)

    batch = CropDataset(corpus, Classes(corpus.speakers), samples=8000, sample_rate=16000)[
        [plan[position] for position in range(len(plan))]
    ]

    assert batch.labels.tolist() == [1] * len(plan)
    spectra = np.abs(np.fft.rfft(batch.waves.numpy()))
    assert (spectra.argmax(axis=1) == 1000).all()


def test_where_nothing_can_be_decoded_one_line_says_so(one_worker: CropLoader, corpus: Corpus) -> None:
    for loader in (one_worker, CropLoader(dataset_of(corpus), batch=BATCH)):
        failing_in(corpus).touch()
        try:
            with pytest.raises(TrainingError) as caught:
                list(loader.epoch(plan_of(corpus)))
        finally:
            failing_in(corpus).unlink()

        assert str(caught.value) == (
            "10 recordings in a row cannot be decoded, the last one: noise/1.wav: no such file "
            "(are the files still where they were?)"
        )


def test_a_worker_that_dies_is_told_and_the_next_epoch_has_a_new_one(
    one_worker: CropLoader, corpus: Corpus, expected: list[Batch]
) -> None:
    others = set(multiprocessing.active_children())
    one_worker.close()
    others &= set(multiprocessing.active_children())
    batches = one_worker.epoch(plan_of(corpus, epoch=1, crops=4000))
    next(batches)
    (worker,) = set(multiprocessing.active_children()) - others
    os.kill(worker.pid or 0, signal.SIGKILL)

    # What PyTorch raises when a child ends may come out here or, by its signal handler, a line further.
    with pytest.raises((TrainingError, RuntimeError)) as caught:
        list(batches)
    assert is_of_dead_worker(caught.value) or re.fullmatch(
        r"a process that loads recordings died.*fewer --workers\)", str(caught.value)
    )

    assert not worker.is_alive()


# Cost


def test_never_is_the_whole_set_in_memory(tmp_path: Path) -> None:
    sound = noise(1.0)
    for name in ("ann", "bob"):
        write(tmp_path / f"{name}.wav", np.tile(sound, 150))
    (tmp_path / "train.tsv").write_text("ann.wav\tann\nbob.wav\tbob\n")
    held = 2 * 150 * sound.nbytes

    tracemalloc.start()
    try:
        corpus = read_corpus(tmp_path / "train.tsv", sample_rate=16000, min_s=0.5)
        dataset = CropDataset(corpus, Classes(corpus.speakers), samples=16000, sample_rate=16000)
        plan = EpochPlan(corpus, Classes(corpus.speakers), crop_s=1.0, seed=0, epoch=0)
        crops = sum(len(batch) for batch in CropLoader(dataset, batch=4).epoch(plan))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert crops == 300
    assert peak < held / 8


def test_a_batch_moves_as_a_whole(expected: list[Batch], monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[tuple[int, ...]] = []

    def pin(tensor: Any) -> Any:
        pinned.append(tuple(tensor.shape))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)

    batch = expected[0].pin_memory()
    moved = batch.to(torch.device("meta"))

    assert pinned == [(4, SAMPLES), (4,), (4, 2, 2), (4, 2, 2)]
    assert_same([batch], [expected[0]])
    assert {moved.waves.device.type, moved.labels.device.type, moved.time_masks.device.type} == {"meta"}
    assert moved.failures == batch.failures
