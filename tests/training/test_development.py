from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.calibration.reference import crossing, lowest_cost, roc
from tests.fixtures import sounds
from tests.fixtures.embedders import SpectralEmbedder
from vecsv.arrays import Waveform
from vecsv.audio.activity import Activity, detect
from vecsv.audio.decode import Clip, read
from vecsv.calibration.metrics import eer
from vecsv.embedding.recordings import embed_all
from vecsv.errors import AudioError, TrainingError
from vecsv.models.protocol import Prepared
from vecsv.training.data.classes import Classes
from vecsv.training.data.recordings import Corpus, Recording
from vecsv.training.specs import DevelopmentSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = pytest.importorskip("torch")

from vecsv.training.development import Development, held_out_accuracy, pair_counts
from vecsv.training.excerpts import Share, beginning, middle, repeated, samples_of, thinned

RATE = 16000


def write(folder: Path, name: str, speaker: str, wave: Waveform, rate: int = RATE) -> Recording:
    path = sounds.write(folder / name, wave, rate)
    return Recording(name, path, None, speaker, rate, 0, wave.size, rate < RATE)


@pytest.fixture
def voices(tmp_path: Path) -> Corpus:
    """Five speakers of three recordings each, of lengths that differ, by noise that is louder in their own band."""
    recordings = []
    for speaker in range(5):
        for number, seconds in enumerate((1.0, 1.3, 1.0 + 0.1 * speaker)):
            wave = sounds.noise(seconds, rms=0.1, seed=10 * speaker + number)
            wave += sounds.tone(seconds, hertz=400.0 + 40 * speaker, level=0.016)
            recordings.append(write(tmp_path, f"{speaker}-{number}.wav", f"speaker {speaker}", wave))
    return Corpus.of(recordings)


def embed(waves: Tensor) -> Tensor:
    """Energies of narrow bands in the last half second: a poor model, so that there are errors to count."""
    power = torch.fft.rfft(waves[:, -8000:], n=8000).abs()[:, 180:300]
    return power.reshape(len(waves), 12, 10).mean(dim=2) - power.mean(dim=1, keepdim=True)


def brute_force(corpus: Corpus, embed: Callable[[Tensor], Tensor], crop_s: float | None) -> tuple[float, float]:
    """EER and normalised minDCF of all pairs, one recording and one pair at a time."""
    vectors = []
    for recording in corpus.recordings:
        wave = read(Clip(recording.path))[: None if crop_s is None else round(crop_s * RATE)]
        vector = embed(torch.from_numpy(wave)[None])[0].double().numpy()
        vectors.append((vector / np.linalg.norm(vector)).astype(np.float32))
    kinds: tuple[list[float], list[float]] = [], []
    for one, other in combinations(range(len(vectors)), 2):
        same = corpus.recordings[one].speaker == corpus.recordings[other].speaker
        kinds[0 if same else 1].append(float(vectors[one] @ vectors[other]))
    vertices = roc(*kinds)
    cost, _ = lowest_cost(vertices, Fraction(1, 100), Fraction(1), Fraction(1))
    return float(crossing(vertices)), float(cost * 100)


@pytest.mark.parametrize("crop_s", [None, 0.7])
def test_scores_are_those_of_all_pairs_taken_one_by_one(voices: Corpus, crop_s: float | None) -> None:
    scores = Development(voices, DevelopmentSpec(crop_s=crop_s), sample_rate=RATE).measure(embed)
    expected, min_dcf = brute_force(voices, embed, crop_s)
    assert 0.0 < expected < 0.5
    assert scores.eer == pytest.approx(expected, abs=1e-12)
    assert scores.min_dcf == pytest.approx(min_dcf, abs=1e-12)
    assert (scores.targets, scores.non_targets, scores.recordings, scores.speakers) == (15, 90, 15, 5)


def test_a_perfect_impostor_is_as_dear_as_targets_are_rare(voices: Corpus) -> None:
    # At a target prior of 0.01, one of 102 non-targets costs 99 / 102: with any miss, more than accepting nothing.
    double = replace(voices.recordings[0], speaker="speaker 1", utt_id="double")
    scores = Development(Corpus.of([*voices.recordings, double]), DevelopmentSpec(), sample_rate=RATE).measure(embed)
    assert (scores.targets, scores.non_targets) == (18, 102)
    assert scores.eer < 0.3
    assert scores.min_dcf == 1.0


def test_the_crop_decides_what_the_network_hears(voices: Corpus) -> None:
    heard: list[tuple[int, ...]] = []

    def listening(waves: Tensor) -> Tensor:
        heard.append(tuple(waves.shape))
        return embed(waves)

    Development(voices, DevelopmentSpec(crop_s=0.5), sample_rate=RATE).measure(listening)
    assert heard == [(15, 8000)]
    heard.clear()
    Development(voices, DevelopmentSpec(), sample_rate=RATE).measure(listening)
    assert sorted(heard) == [(1, 17600), (1, 19200), (1, 22400), (6, 16000), (6, 20800)]


def test_no_gradient_is_asked_for(voices: Corpus) -> None:
    weight = torch.ones(1, requires_grad=True)
    seen: list[bool] = []

    def learning(waves: Tensor) -> Tensor:
        result = embed(waves) * weight
        seen.append(result.requires_grad)
        return result

    Development(voices, DevelopmentSpec(), sample_rate=RATE).measure(learning)
    assert seen
    assert not any(seen)


def test_measuring_twice_gives_the_same(voices: Corpus) -> None:
    development = Development(voices, DevelopmentSpec(crop_s=0.9, most_recordings=9), sample_rate=RATE, seed=4)
    assert development.measure(embed) == development.measure(embed)


@pytest.mark.parametrize("world", [2, 9])
def test_every_process_gets_what_one_alone_gets(voices: Corpus, world: int) -> None:
    development = Development(voices, DevelopmentSpec(), sample_rate=RATE, block_s=1.2)
    embedded: list[int] = []

    def counting(waves: Tensor) -> Tensor:
        embedded.append(len(waves))
        return embed(waves)

    alone = development.measure(embed)
    results = together(world, lambda share: development.measure(counting, share))
    assert results == [alone] * world
    # Six of nine recordings over 1.2 s are two blocks, each with a call of its own where it holds speech.
    assert sum(embedded) <= 15 + 9 + world


def together(world: int, work: Callable[[Share], object]) -> list[object]:
    """Several processes as threads: each waits for the others' parts and gets their sum."""
    parts: dict[int, Tensor] = {}
    barrier = threading.Barrier(world, timeout=60)

    def share(rank: int) -> Share:
        def add(part: Tensor) -> Tensor:
            parts[rank] = part
            barrier.wait()
            total = torch.stack([parts[one] for one in range(world)]).sum(dim=0)
            barrier.wait()
            return total

        return Share(rank, world, add)

    with ThreadPoolExecutor(world) as executor:
        return list(executor.map(lambda rank: work(share(rank)), range(world)))


class Refusing(SpectralEmbedder):
    """Refuses blocks without speech, as the encoders of `vecsv.models` do."""

    def prepare(self, waveform: Waveform, activity: Activity | None = None) -> Prepared:
        if not (detect(waveform) if activity is None else activity).kept().any():
            raise AudioError("no-speech", "no speech was found in it")
        return super().prepare(waveform, activity)


def test_a_long_recording_is_pooled_as_a_model_bundle_does_it(tmp_path: Path) -> None:
    # Two voices, with more speech in the first blocks than in the last, and a block without any.
    first = sounds.bursts(4.0, on_s=0.9, off_s=0.2)
    last = sounds.voiced(1.0, pitch=210.0) + sounds.noise(1.0, rms=0.05)
    wave = np.concatenate([first, np.zeros(2 * RATE, np.float32), last])
    recordings = [write(tmp_path, f"{name}.wav", name[0], wave[start:]) for name, start in (("a1", 0), ("a2", 99))]
    corpus = Corpus.of([*recordings, write(tmp_path, "b.wav", "b", sounds.bursts(1.9, on_s=0.5, off_s=0.3))])
    model = Refusing(block_s=2.0)

    def spectral(waves: Tensor) -> Tensor:
        return torch.from_numpy(model.embed([model.prepare(wave) for wave in waves.numpy()]))

    development = Development(corpus, DevelopmentSpec(), sample_rate=RATE, block_s=2.0)
    vectors = embed_all(model, [Clip(recording.path) for recording in corpus.recordings])
    measured = dict(development._embedded(spectral, Share()))
    for position, expected in enumerate(vectors):
        np.testing.assert_allclose(measured[position], expected.vector, atol=2e-6)
    # Blocks that all weigh the same would give another vector.
    blocks = model.embed([model.prepare(wave[start : start + 2 * RATE]) for start in (0, 2 * RATE, 6 * RATE)])
    unweighted = blocks.sum(axis=0) / np.linalg.norm(blocks.sum(axis=0))
    assert np.abs(unweighted - vectors[0].vector).max() > 1e-2


def test_memory_is_bounded_by_the_block(tmp_path: Path) -> None:
    longest: list[int] = []

    def listening(waves: Tensor) -> Tensor:
        longest.append(waves.numel())
        return embed(waves)

    corpus = Corpus.of(
        [write(tmp_path, f"{name}.wav", name[0], sounds.bursts(5.0, level=0.2)) for name in ("a1", "a2", "b")]
    )
    Development(corpus, DevelopmentSpec(), sample_rate=RATE, block_s=1.0).measure(listening)
    assert max(longest) == RATE


def test_speech_at_another_rate_and_within_a_cut_is_what_is_heard(tmp_path: Path) -> None:
    wave = np.concatenate([sounds.tone(1.0, 8000, hertz=300.0), sounds.tone(1.0, 8000, hertz=900.0)])
    whole = write(tmp_path, "a.wav", "a", wave, 8000)
    cut = replace(whole, start=8000, utt_id="cut")
    heard: list[Tensor] = []

    def listening(waves: Tensor) -> Tensor:
        heard.append(waves)
        return embed(waves)

    corpus = Corpus.of([cut, replace(whole, stop=8000, speaker="b"), replace(cut, utt_id="again")])
    Development(corpus, DevelopmentSpec(crop_s=0.5), sample_rate=RATE).measure(listening)
    (waves,) = heard
    assert waves.shape == (3, 8000)
    loudest = torch.fft.rfft(waves).abs().argmax(dim=1) * RATE / 8000
    assert loudest.tolist() == [900.0, 300.0, 900.0]


@pytest.mark.parametrize(("speakers", "people"), [("aaa", "1 speaker"), ("abc", "3 speakers"), ("a", "1 speaker")])
def test_a_manifest_without_both_kinds_of_pair_is_refused(tmp_path: Path, speakers: str, people: str) -> None:
    recordings = [Recording(f"{n}", tmp_path / "x.wav", None, s, RATE, 0, RATE) for n, s in enumerate(speakers)]
    with pytest.raises(TrainingError, match=f"{len(speakers)} recordings of {people}.*dev manifest"):
        Development(Corpus.of(recordings), DevelopmentSpec(), sample_rate=RATE)


def test_embeddings_that_are_no_numbers_say_that_the_training_diverged(voices: Corpus) -> None:
    development = Development(voices, DevelopmentSpec(crop_s=0.5), sample_rate=RATE)
    with pytest.raises(TrainingError, match="diverged"):
        development.measure(lambda waves: embed(waves) * float("nan"))


def test_a_network_that_says_the_same_of_everyone_is_at_chance(voices: Corpus) -> None:
    development = Development(voices, DevelopmentSpec(crop_s=0.5), sample_rate=RATE)
    for same in (torch.zeros(4), torch.ones(4)):
        scores = development.measure(lambda waves: same.expand(len(waves), 4))  # noqa: B023
        assert scores.eer == 0.5
        assert scores.min_dcf == 1.0


def test_more_than_a_hundredth_undecodable_is_refused_by_name_in_every_process(voices: Corpus) -> None:
    sounds.cut_in_half(voices.recordings[3].path)
    development = Development(voices, DevelopmentSpec(), sample_rate=RATE)

    def work(share: Share) -> str:
        with pytest.raises(TrainingError, match=r"1 of 15 development recordings cannot be decoded: 1-0\.wav"):
            development.measure(embed, share)
        return "refused"

    assert together(2, work) == ["refused"] * 2


def test_a_hundredth_undecodable_is_left_out_and_named(tmp_path: Path) -> None:
    kept = write(tmp_path, "a.wav", "a", sounds.noise(0.5))
    gone = replace(kept, utt_id="gone", path=tmp_path / "gone.wav")
    recordings = [replace(kept, utt_id=f"{n}", speaker=f"{n % 5}") for n in range(99)]
    scores = Development(Corpus.of([*recordings, gone]), DevelopmentSpec(), sample_rate=RATE).measure(embed)
    assert scores.recordings == 99
    assert [name for name, _ in scores.unread] == ["gone"]
    assert "no such file" in scores.unread[0][1]


def test_so_many_pairs_that_they_are_counted_give_nearly_the_same() -> None:
    generator = np.random.default_rng(3)
    speakers = np.repeat(np.arange(30), 5)
    vectors = (generator.normal(size=(30, 16))[speakers] + generator.normal(size=(150, 16))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    exact, counted = pair_counts(vectors, speakers), pair_counts(vectors, speakers, most_exact=149)
    assert (exact.targets, exact.non_targets) == (counted.targets, counted.non_targets)
    assert 0.02 < eer(exact) < 0.4
    assert eer(counted) == pytest.approx(eer(exact), abs=1e-4)


class TestThinning:
    def test_keeps_two_of_as_many_speakers_as_can_be(self) -> None:
        speakers = np.repeat(np.arange(40), 10)
        kept = thinned(speakers, 20, seed=1)
        _, counts = np.unique(speakers[kept], return_counts=True)
        assert counts.tolist() == [2] * 10

    def test_goes_on_evenly(self) -> None:
        speakers = np.repeat(np.arange(4), [1, 3, 9, 50])
        kept = thinned(speakers, 22, seed=1)
        assert np.bincount(speakers[kept]).tolist() == [1, 3, 9, 9]

    def test_keeps_all_where_there_are_no_more(self) -> None:
        assert thinned(list("abc"), 3, seed=1).tolist() == [0, 1, 2]

    def test_depends_on_the_seed_alone(self) -> None:
        speakers = np.repeat(np.arange(40), 10)
        assert np.array_equal(thinned(speakers, 30, seed=5), thinned(speakers, 30, seed=5))
        assert not np.array_equal(thinned(speakers, 30, seed=5), thinned(speakers, 30, seed=6))

    def test_a_development_set_is_thinned(self, voices: Corpus) -> None:
        spec = DevelopmentSpec(crop_s=0.5, most_recordings=6)
        scores = Development(voices, spec, sample_rate=RATE).measure(embed)
        assert (scores.recordings, scores.speakers, scores.targets) == (6, 3, 3)


class TestExcerpts:
    recording = Recording("a", Path("a.wav"), 2, "ann", rate=8000, start=4000, stop=28_001)

    def test_the_beginning_is_at_the_recordings_start(self) -> None:
        assert beginning(self.recording, 1.5) == Clip(Path("a.wav"), 2, 0.5, 2.0)
        assert (
            beginning(self.recording, 9.0)
            == beginning(self.recording, None)
            == Clip(Path("a.wav"), 2, 0.5, 28_001 / 8000)
        )

    def test_the_middle_leaves_as_much_on_both_sides(self) -> None:
        clip = middle(self.recording, 1.0)
        assert clip.start_s is not None
        assert clip.end_s is not None
        assert (round(clip.start_s * 8000) - 4000, 28_001 - round(clip.end_s * 8000)) == (8000, 8001)
        assert samples_of(clip, RATE) == RATE
        assert middle(self.recording, 9.0) == beginning(self.recording, None)

    def test_a_short_one_is_repeated(self) -> None:
        assert repeated(np.float32([1, 2, 3]), 7).tolist() == [1, 2, 3, 1, 2, 3, 1]
        assert repeated(np.float32([1, 2, 3]), 2).tolist() == [1, 2]


class TestHeldOutAccuracy:
    @pytest.fixture
    def held_out(self, tmp_path: Path) -> list[Recording]:
        """Three speakers of one tone each; between two seconds of another speaker's, the middle second is theirs."""
        recordings = []
        for speaker in range(3):
            own, others = (sounds.tone(1.0, hertz=500.0 * (n % 3 + 1)) for n in (speaker, speaker + 1))
            wave = np.concatenate([others, own, others])
            recordings.append(write(tmp_path, f"{speaker}.wav", f"{speaker}", wave))
        return recordings

    classes = Classes(("0", "1", "2"), (1.0, 0.9), new_speakers=True)

    @staticmethod
    def correct(waves: Tensor, labels: Tensor) -> Tensor:
        """Name the speaker by the loudest tone."""
        loudest = torch.fft.rfft(waves).abs().argmax(dim=1) * RATE / waves.shape[1]
        return torch.round(loudest / 500.0).long() - 1 == labels

    def test_is_measured_in_the_middle_of_each_recording(self, held_out: list[Recording]) -> None:
        assert held_out_accuracy(self.correct, held_out, self.classes, crop_s=1.0, sample_rate=RATE) == 1.0
        assert held_out_accuracy(self.correct, held_out, self.classes, crop_s=3.0, sample_rate=RATE) == 0.0

    def test_counts_what_is_right(self, held_out: list[Recording]) -> None:
        wrong = replace(held_out[0], speaker="2")
        held_out = [*held_out, wrong]
        assert held_out_accuracy(self.correct, held_out, self.classes, crop_s=1.0, sample_rate=RATE) == 0.75

    def test_a_tail_shorter_than_a_crop_is_repeated(self, held_out: list[Recording]) -> None:
        tails = [replace(one, start=RATE, stop=RATE + RATE // 2) for one in held_out]
        shapes: list[tuple[int, ...]] = []

        def correct(waves: Tensor, labels: Tensor) -> Tensor:
            shapes.append(tuple(waves.shape))
            assert torch.equal(waves[:, : RATE // 2], waves[:, RATE // 2 : RATE])
            return self.correct(waves, labels)

        assert held_out_accuracy(correct, tails, self.classes, crop_s=1.2, sample_rate=RATE) == 1.0
        assert shapes == [(3, 19_200)]

    def test_every_process_gets_what_one_alone_gets(self, held_out: list[Recording]) -> None:
        many = [replace(one, speaker="0") for one in held_out for _ in range(50)]

        def work(share: Share) -> float:
            return held_out_accuracy(
                self.correct, many, self.classes, crop_s=1.0, sample_rate=RATE, most_recordings=149, share=share
            )

        alone = work(Share())
        assert 0.3 < alone < 0.4
        assert together(2, work) == [alone] * 2
        assert together(4, work) == [alone] * 4

    def test_without_held_out_speech_there_is_no_accuracy(self) -> None:
        with pytest.raises(TrainingError, match="no speech is held out"):
            held_out_accuracy(self.correct, [], self.classes, crop_s=1.0, sample_rate=RATE)

    def test_undecodable_ones_are_refused_by_name(self, held_out: list[Recording]) -> None:
        sounds.cut_in_half(held_out[1].path)
        with pytest.raises(TrainingError, match=r"1 of 3 held-out recordings cannot be decoded: 1\.wav"):
            held_out_accuracy(self.correct, held_out, self.classes, crop_s=1.0, sample_rate=RATE)
