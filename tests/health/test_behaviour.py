"""Each check passes a sound model and catches the fault it is for."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.embedders import SpectralEmbedder
from vecsv.arrays import Vectors, Waveform
from vecsv.audio.activity import Activity, detect
from vecsv.errors import AudioError
from vecsv.health import behaviour
from vecsv.models.protocol import Prepared


class Leaky(SpectralEmbedder):
    """A little of the batch's mean is in every row: what padding does."""

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        vectors = super().embed(prepared)
        mixed = vectors + np.float32(0.02) * vectors.mean(axis=0)
        return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


class Jumbled(SpectralEmbedder):
    """Gives the rows of a batch back in the wrong order."""

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        return super().embed(prepared)[::-1]


class Forgetful(SpectralEmbedder):
    """Says the same of everybody."""

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        return np.tile(super().embed(prepared[:1]) * 0 + np.float32(self.dim**-0.5), (len(prepared), 1))


class Brittle(SpectralEmbedder):
    """Cannot take long recordings."""

    def prepare(self, waveform: Waveform, activity: Activity | None = None) -> Prepared:
        if waveform.size > 20 * 16000:
            raise AudioError("too-long", "the network takes 20 s")
        return super().prepare(waveform, activity)


class Lost(SpectralEmbedder):
    """Divides by zero somewhere."""

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        return super().embed(prepared) * np.float32(np.nan)


class LevelBound(SpectralEmbedder):
    """Takes loudness for a trait of the voice, and an offset too."""

    def prepare(self, waveform: Waveform, activity: Activity | None = None) -> Prepared:
        prepared = super().prepare(waveform, activity)
        features = prepared.features.copy()
        features[:, 0] += 4000 * np.float32(np.abs(waveform.mean()))
        features[:, 5] += 20 * np.float32(np.log(np.abs(waveform).max()) + 1)
        return Prepared(features, prepared.seconds)


class Greedy(SpectralEmbedder):
    """Finds speech in everything."""

    def prepare(self, waveform: Waveform, activity: Activity | None = None) -> Prepared:
        return super().prepare(np.random.default_rng(0).standard_normal(waveform.size).astype(np.float32), activity)


class Racing(SpectralEmbedder):
    """Keeps its work in a place that all threads share."""

    def __init__(self) -> None:
        super().__init__()
        self._shared: list[Prepared] = []
        self._barrier = threading.Barrier(8)

    def embed(self, prepared: Sequence[Prepared]) -> Vectors:
        self._shared = list(prepared)
        if threading.current_thread() is not threading.main_thread():
            self._barrier.wait(timeout=60)
        return super().embed(self._shared)


class Attentive(SpectralEmbedder):
    """Refuses what the voice activity detector takes for no speech, as every shipped family does."""

    def prepare(self, waveform: Waveform, activity: Activity | None = None) -> Prepared:
        if not (detect(waveform) if activity is None else activity).kept().any():
            raise AudioError("no-speech", "no speech was found in it")
        return super().prepare(waveform, activity)


SOUND = Attentive()


def test_a_sound_model_passes_every_check(tmp_path: Path) -> None:
    findings = [
        behaviour.batch_invariance(SOUND),
        behaviour.thread_safety(SOUND),
        behaviour.length_sweep(SOUND, tmp_path / "lengths", (0.3, 1.0, 3.0)),
        behaviour.gain_sensitivity(SOUND),
        behaviour.refusals(SOUND, tmp_path / "silences"),
        behaviour.not_collapsed(SOUND),
    ]
    assert {finding.check: finding.measured for finding in findings if finding.outcome != "pass"} == {}


@pytest.mark.parametrize("model", [Leaky(), Jumbled()])
def test_a_model_whose_batch_matters_fails(model: SpectralEmbedder) -> None:
    finding = behaviour.batch_invariance(model)
    assert finding.outcome == "fail"
    assert finding.value is not None
    assert finding.value > behaviour.BATCH_LIMIT


def test_a_model_that_is_not_safe_on_threads_fails() -> None:
    assert behaviour.thread_safety(Racing()).outcome == "fail"


def test_a_length_that_cannot_be_embedded_fails_naming_it(tmp_path: Path) -> None:
    finding = behaviour.length_sweep(Brittle(), tmp_path, (1.0, 5.0, 30.0))
    assert (finding.outcome, finding.measured) == ("fail", "30 s: the network takes 20 s")


def test_vectors_that_are_no_numbers_fail(tmp_path: Path) -> None:
    finding = behaviour.length_sweep(Lost(), tmp_path, (1.0,))
    assert (finding.outcome, finding.measured) == ("fail", "1 s: not a unit vector")


def test_a_very_short_recording_may_be_refused_in_words(tmp_path: Path) -> None:
    finding = behaviour.length_sweep(SOUND, tmp_path, (0.1, 1.0))
    assert finding.outcome == "pass"
    assert "refused: 0.1 s (0.1 s of audio; at least 0.2 s is needed)" in finding.measured


def test_a_model_that_takes_loudness_for_a_trait_fails() -> None:
    assert behaviour.gain_sensitivity(LevelBound()).outcome == "fail"
    assert behaviour.offset_sensitivity(LevelBound()).outcome == "fail"


def test_a_model_with_measured_thresholds_is_held_to_its_own() -> None:
    class Measured(SpectralEmbedder):
        reference_calibration = {  # noqa: RUF012
            "in_force": "eer",
            "points": [{"name": "other", "threshold": 0.1}, {"name": "eer", "threshold": 0.123}],
        }

    assert behaviour.gain_sensitivity(Measured()).limit == 0.123
    assert behaviour.gain_sensitivity(SOUND).limit == behaviour.SAME_VOICE


def test_a_measured_threshold_that_rejects_everything_holds_a_model_to_nothing() -> None:
    class Rejecting(SpectralEmbedder):
        reference_calibration = {"in_force": "eer", "points": [{"name": "eer", "threshold": None}]}  # noqa: RUF012

    assert behaviour.gain_sensitivity(Rejecting()).limit == behaviour.SAME_VOICE


def test_a_model_that_embeds_clicks_fails_naming_them(tmp_path: Path) -> None:
    finding = behaviour.refusals(Greedy(), tmp_path)
    assert (finding.outcome, finding.measured) == ("fail", "embedded: clicks")


def test_a_model_that_says_the_same_of_everybody_fails() -> None:
    assert behaviour.not_collapsed(Forgetful()).outcome == "fail"


def test_speed_is_measured_and_names_the_engine() -> None:
    finding = behaviour.speed(SOUND)
    assert finding.value is not None
    assert finding.value > 0
    assert finding.measured.endswith("on numpy")


def test_distances_are_exact_where_cosines_in_float32_are_not() -> None:
    angle = 1e-4
    first = np.array([[1.0, 0.0]], np.float32)
    second = np.array([[np.cos(angle), np.sin(angle)]], np.float32)
    assert behaviour.distances(first, second)[0] == pytest.approx(angle**2 / 2, rel=1e-3)
